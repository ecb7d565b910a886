from __future__ import annotations

from typing import Any

import pytest

from proxy.base.address import InternalAddress
from proxy.base.stream_info import TRANSITIVE
from proxy.downstream.directory import ListenerDirectory
from tests.support.listeners import (
    accept,
    chain,
    compile_checked,
    compiled,
    direct_response,
    numbers,
    services,
)
from tests.support.memory_transport import MemoryTransport


def internal(**fields: Any) -> dict[str, Any]:
    return {
        "name": "inner",
        "internal_listener": {},
        "filter_chains": [chain(direct_response("hello"))],
        **fields,
    }


def test_an_internal_listener_is_found_by_its_name_and_binds_nothing() -> None:
    config = compiled(internal())
    assert [where.address.text for where in config.addresses] == ["envoy://inner/"]
    assert not config.bind_to_port
    assert config.stat_prefix == "listener.envoy_internal_inner."
    assert compiled(internal(stat_prefix="mine")).stat_prefix == "listener.mine."


@pytest.mark.parametrize(
    "fields",
    [
        {"address": {"pipe": {"path": "/x"}}},
        {"additional_addresses": [{"address": {"pipe": {"path": "/x"}}}]},
        {"enable_reuse_port": True},
        {"enable_mptcp": True},
        {"tcp_backlog_size": 3},
        {"socket_options": [{"level": 1, "name": 2, "int_value": 1}]},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_is_for_sockets_is_refused_by_name(fields: dict[str, Any]) -> None:
    _, problems = compile_checked(internal(**fields))
    assert [problem.split(":")[0] for problem in problems] == [f"listener.{next(iter(fields))}"]


def test_a_connection_of_the_same_worker_is_served_with_what_it_was_told() -> None:
    of = services()
    acceptor = accept(internal(), of)
    directory = ListenerDirectory()
    directory.add(acceptor)
    assert directory.find_internal("inner") is acceptor
    assert directory.find_internal("other") is None
    transport = MemoryTransport()
    acceptor.accept_internal(
        transport, InternalAddress("inner", "e"), {"n": {"k": 1}}, {"s": "v"}, {"s": TRANSITIVE}
    )
    assert transport.written == b"hello"
    assert numbers(of)["listener.envoy_internal_inner.downstream_cx_total"] == 1


def test_the_limit_of_connections_holds_here_too() -> None:
    of = services({"envoy.resource_limits.listener.inner.connection_limit": "0"})
    transport = MemoryTransport()
    accept(internal(), of).accept_internal(transport, InternalAddress("inner"), {}, {}, {})
    assert transport.aborted
