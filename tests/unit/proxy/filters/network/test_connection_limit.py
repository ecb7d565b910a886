"""The connection_limit filter."""

from __future__ import annotations

from typing import Any

from proxy.base.address import Address
from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo, DrainState
from proxy.filters.api import ListenerFacts
from proxy.filters.network.connection_limit import FACTORY, ConnectionLimitFilter
from tests.support.listeners import (
    chain,
    compile_checked,
    compiled,
    echo,
    listener,
    network_filter,
    numbers,
    services,
)


def limit(**fields: Any) -> dict[str, Any]:
    return network_filter(
        "connection_limit.v3.ConnectionLimit", **{"stat_prefix": "cl", "max_connections": 1, **fields}
    )


def made(of: WorkerServices, **fields: Any) -> ConnectionLimitFilter:
    config = compiled(listener(chain(limit(**fields), echo()))).chains[0].filters[0].config
    gate: ConnectionLimitFilter = FACTORY.create(config, of, ListenerFacts("l", "a", "listener.l."))
    return gate


def connection() -> ConnectionInfo:
    return ConnectionInfo(1, Address("1.2.3.4", 5), Address("1.2.3.4", 6), 0.0, DrainState())


def test_a_refused_connection_counts_until_it_is_closed() -> None:
    of = services()
    gate = made(of)
    first, second = connection(), connection()
    assert gate.on_new_connection(first)
    assert not gate.on_new_connection(second)
    first.on_closed()
    assert numbers(of) == {
        "connection_limit.cl.active_connections": 1,
        "connection_limit.cl.limited_connections": 1,
    }
    assert not gate.on_new_connection(connection())
    second.on_closed()


def test_it_can_be_turned_off_at_run_time() -> None:
    of = services()
    gate = made(of, runtime_enabled={"default_value": True, "runtime_key": "cl.on"})
    of.runtime.replace({"cl.on": "false"})
    assert gate.on_new_connection(connection())
    assert gate.on_new_connection(connection())
    of.runtime.replace({})
    assert gate.on_new_connection(connection())
    assert not gate.on_new_connection(connection())


def test_two_chains_with_one_prefix_share_the_counters_and_not_the_limit() -> None:
    of = services()
    one, other = made(of), made(of)
    assert one.on_new_connection(connection())
    assert other.on_new_connection(connection())
    assert numbers(of) == {"connection_limit.cl.active_connections": 2}


def test_required_fields() -> None:
    _, problems = compile_checked(listener(chain(limit(stat_prefix="", max_connections=0), echo())))
    assert [problem.rpartition("typed_config.")[2] for problem in problems] == [
        "stat_prefix: value length must be at least 1 characters",
        "max_connections: value must be greater than or equal to 1",
    ]
