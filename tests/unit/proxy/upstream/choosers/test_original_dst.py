"""ORIGINAL_DST: where the destination is looked for, and how long hosts live."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from proxy.base.address import Address
from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.runtime import Runtime
from proxy.base.stream_info import ConnectionInfo, DrainState, StreamInfo
from proxy.upstream.choosers import make_chooser
from proxy.upstream.cluster import Cluster
from tests.support.cluster_messages import compiled
from tests.support.listeners import services

WANTED = Address("1.2.3.4", 80)
KEY = "envoy.network.transport_socket.original_dst_address"


class Setup:
    """A cluster with its services."""

    def __init__(self, **lb: Any) -> None:
        self.of = services()
        config = compiled(
            type="ORIGINAL_DST",
            lb_policy="CLUSTER_PROVIDED",
            original_dst_lb_config=lb,
            cleanup_interval="10s",
        )
        self.cluster = Cluster(config, Runtime(), lambda: 0)
        lookup: Any = SimpleNamespace()
        self.cluster.choose_by_stream = make_chooser(self.cluster, lookup, self.of)

    def advance(self, seconds: float) -> None:
        self.of.timers.advance(seconds)  # type: ignore[attr-defined]


def stream(*fields: tuple[str, str], restored: bool = False) -> StreamInfo:
    connection = ConnectionInfo(1, Address("9.9.9.9", 1), WANTED, 0.0, DrainState())
    connection.local_address_restored = restored
    info = StreamInfo(connection, 0.0)
    info.request = RequestHead("GET", "/", "a", HeaderMap(fields))
    return info


def chosen(setup: Setup, info: StreamInfo) -> Address | None:
    host = setup.cluster.host_for(info)
    return None if host is None else host.address


def test_the_local_address_counts_only_if_it_was_restored() -> None:
    setup = Setup()
    assert chosen(setup, stream(restored=True)) == WANTED
    assert chosen(setup, stream()) is None
    assert setup.cluster.stats.upstream_cx_none_healthy == 1


def test_nobody_is_sent_to_the_proxy_itself() -> None:
    info = stream(restored=True)
    info.connection.destination_is_proxy = True
    assert chosen(Setup(), info) is None
    assert info.connection.termination_details == "loop"
    assert chosen(Setup(upstream_port_override=8080), info) == Address("1.2.3.4", 8080)


def test_the_order_is_filter_state_metadata_header_connection() -> None:
    setup = Setup(use_http_header=True, metadata_key={"key": "n", "path": [{"key": "k"}]})
    info = stream(("x-envoy-original-dst-host", "1.1.1.1:1"), restored=True)
    assert chosen(setup, info) == Address("1.1.1.1", 1)
    info.connection.dynamic_metadata = {"n": {"k": ["2.2.2.2:2", "x"]}}
    assert chosen(setup, info) == Address("2.2.2.2", 2)
    info.dynamic_metadata = {"n": {"k": "3.3.3.3:3"}}
    assert chosen(setup, info) == Address("3.3.3.3", 3)
    info.connection.filter_state = {KEY: Address("4.4.4.4", 4)}
    assert chosen(setup, info) == Address("4.4.4.4", 4)
    info.filter_state = {KEY: Address("5.5.5.5", 5)}
    assert chosen(setup, info) == Address("5.5.5.5", 5)


@pytest.mark.parametrize("text", ["", "a:1", "1.2.3.4", "1.2.3.4:99999", "::1:1", "1.2.3.4:1,2.2.2.2:2"])
def test_an_invalid_header_counts_and_the_connection_decides(text: str) -> None:
    setup = Setup(use_http_header=True, http_header_name="X-To")
    assert chosen(setup, stream(("x-to", text), restored=True)) == WANTED
    assert setup.cluster.stats.original_dst_host_invalid == 1


def test_the_port_may_be_replaced() -> None:
    setup = Setup(upstream_port_override=443)
    assert chosen(setup, stream(restored=True)) == Address("1.2.3.4", 443)


def test_one_destination_is_one_host() -> None:
    setup = Setup()
    first = setup.cluster.host_for(stream(restored=True))
    assert first is not None
    assert setup.cluster.host_for(stream(restored=True)) is first
    assert first.cluster is setup.cluster
    setup.advance(1)
    assert setup.cluster.hosts == (first,)


def test_a_host_that_nobody_uses_goes_with_the_second_cleanup() -> None:
    setup = Setup()
    host = setup.cluster.host_for(stream(restored=True))
    assert host is not None
    pool = SimpleNamespace(in_use=True)
    host.pools[0] = pool
    setup.advance(35)
    assert setup.cluster.hosts == (host,)
    pool.in_use = False
    setup.advance(10)
    assert not setup.cluster.hosts
    assert host.removed
    assert chosen(setup, stream(restored=True)) == WANTED


def test_a_removed_cluster_stays_as_it_is() -> None:
    setup = Setup()
    assert chosen(setup, stream(restored=True)) == WANTED
    setup.cluster.close()
    setup.advance(30)
    assert not setup.cluster.hosts
