"""What happens to an accepted connection."""

from __future__ import annotations

from typing import Any

from proxy.base.response_flags import ResponseFlag
from proxy.downstream.connection import LocalCounter
from tests.support.listeners import (
    accept,
    address,
    chain,
    connect,
    direct_response,
    echo,
    listener,
    network_filter,
    numbers,
    services,
)


class _Log:
    def __init__(self) -> None:
        self.entries: list[Any] = []

    def log(self, info: Any, access_log_type: str) -> None:
        assert access_log_type == "NotSet"
        self.entries.append(info)


def test_a_connection_is_served_and_counted() -> None:
    of = services()
    transport = connect(accept(listener(per_connection_buffer_limit_bytes=5000), of))
    assert numbers(of)["listener.10.0.0.1_8000.downstream_cx_active"] == 1
    transport.feed(b"hello")
    assert transport.written == b"hello"
    assert transport.high_water == 5000
    of.timers.advance(0.25)  # type: ignore[attr-defined]
    transport.lose()
    assert numbers(of) == {
        "listener.10.0.0.1_8000.downstream_cx_total": 1,
        "listener.10.0.0.1_8000.downstream_cx_destroy": 1,
        "listener.10.0.0.1_8000.worker_2.downstream_cx_total": 1,
    }
    histograms = of.stats.groups()[0].histograms()
    assert histograms["listener.10.0.0.1_8000.downstream_cx_length_ms"].counts == {250: 1}
    assert histograms["listener.10.0.0.1_8000.connections_accepted_per_socket_event"].counts == {1: 1}


def test_the_chain_is_chosen_by_the_source() -> None:
    config = listener(
        chain(
            direct_response("near"),
            filter_chain_match={"source_prefix_ranges": [{"address_prefix": "192.0.2.0", "prefix_len": 24}]},
        ),
        chain(direct_response("far")),
    )
    acceptor = accept(config, services())
    assert connect(acceptor).written == b"near"
    assert connect(acceptor, peername=("203.0.113.1", 1)).written == b"far"


def test_a_connection_without_a_chain_is_closed_counted_and_logged() -> None:
    of = services()
    acceptor = accept(listener(chain(filter_chain_match={"destination_port": 1})), of)
    log = acceptor._access_log = _Log()
    assert connect(acceptor).aborted
    assert numbers(of) == {"listener.10.0.0.1_8000.no_filter_chain_match": 1}
    assert log.entries[0].flags == ResponseFlag.NO_ROUTE_FOUND
    assert log.entries[0].response_code_details == "filter_chain_not_found"


def test_the_listener_logs_a_connection_when_it_ends() -> None:
    acceptor = accept(listener(chain(name="c")), services())
    log = acceptor._access_log = _Log()
    transport = connect(acceptor)
    assert not log.entries
    transport.lose()
    assert log.entries[0].connection.filter_chain_name == "c"
    assert str(log.entries[0].connection.remote_address) == "192.0.2.7:40000"


def test_a_chain_without_filters_closes() -> None:
    of = services()
    transport = connect(accept({**listener(), "filter_chains": [{}]}, of))
    assert transport.aborted
    transport.lose()
    assert numbers(of)["listener.10.0.0.1_8000.downstream_cx_destroy"] == 1


def test_the_listener_s_limit_refuses_at_once() -> None:
    of = services({"envoy.resource_limits.listener.ingress.connection_limit": "1"})
    acceptor = accept(listener(), of)
    first, second = connect(acceptor), connect(acceptor)
    assert (first.aborted, second.aborted) == (False, True)
    second.lose()
    first.lose()
    assert not connect(acceptor).aborted
    assert numbers(of)["listener.10.0.0.1_8000.downstream_cx_overflow"] == 1


def test_the_global_limit_counts_other_listeners_unless_ignored() -> None:
    of = services({"overload.global_downstream_max_connections": "1"})
    total = LocalCounter()
    total.increase()
    assert connect(accept(listener(), of, total=total)).aborted
    assert numbers(of) == {"listener.10.0.0.1_8000.downstream_global_cx_overflow": 1}
    assert not connect(accept(listener(ignore_global_conn_limit=True), of, total=total)).aborted


def test_a_wildcard_listener_asks_for_the_local_address() -> None:
    acceptor = accept(listener(address=address("::", 8000, ipv4_compat=True)), services())
    log = acceptor._access_log = _Log()
    mapped = connect(
        acceptor, peername=("::ffff:192.0.2.9", 5, 0, 0), sockname=("::ffff:10.0.0.3", 8000, 0, 0)
    )
    mapped.lose()
    connection = log.entries[0].connection
    assert str(connection.remote_address) == "192.0.2.9:5"
    assert str(connection.local_address) == "10.0.0.3:8000"


def test_a_client_of_a_unix_socket_goes_by_the_listener_s_name() -> None:
    acceptor = accept(listener(address={"pipe": {"path": "/run/a.sock"}}), services())
    log = acceptor._access_log = _Log()
    connect(acceptor, peername="", sockname="/run/a.sock").lose()
    assert str(log.entries[0].connection.remote_address) == "/run/a.sock"


def test_a_gate_may_hold_a_refused_connection_for_a_while() -> None:
    of = services()
    limit = network_filter(
        "connection_limit.v3.ConnectionLimit", stat_prefix="cl", max_connections=1, delay="2s"
    )
    acceptor = accept(listener(chain(limit, echo())), of)
    served, refused, impatient = connect(acceptor), connect(acceptor), connect(acceptor)
    refused.feed(b"x")
    impatient.lose()
    assert not refused.aborted
    assert not refused.written
    of.timers.advance(2)  # type: ignore[attr-defined]
    assert refused.aborted
    assert not impatient.aborted
    refused.lose()
    served.lose()
    assert numbers(of)["connection_limit.cl.limited_connections"] == 2
    assert "connection_limit.cl.active_connections" not in numbers(of)


def test_open_connections_can_be_cut() -> None:
    acceptor = accept(listener(), services())
    gone, stays = connect(acceptor), connect(acceptor)
    gone.lose()
    acceptor.close_connections()
    assert (gone.aborted, stays.aborted) == (False, True)
