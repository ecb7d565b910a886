"""The TCP proxy behind filters that choose its cluster or host for one connection, in Envoy and here."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from tests.support.configs import Json, address, bootstrap, cluster, file_log, typed
from tests.support.differential import Pair, Side, pair_fixture

NETWORK = "envoy.extensions.filters.network."
LOG = "%RESPONSE_FLAGS% %UPSTREAM_CLUSTER% %BYTES_RECEIVED% %BYTES_SENT% %CONNECTION_TERMINATION_DETAILS%"


def network_filter(kind: str, **fields: Any) -> Json:
    return {"name": kind.partition(".")[0], "typed_config": typed(NETWORK + kind, **fields)}


def state(**values: str) -> Json:
    return network_filter(
        "set_filter_state.v3.Config",
        on_new_connection=[
            {
                "object_key": key.replace("__", "."),
                "format_string": {"text_format_source": {"inline_string": text}},
            }
            for key, text in values.items()
        ],
    )


def listener(name: str, to: str, *filters: Json) -> Json:
    proxy = network_filter("tcp_proxy.v3.TcpProxy", stat_prefix=name, cluster=to, access_log=[file_log(LOG)])
    return {
        "name": name,
        "stat_prefix": name,
        "address": address(f"{{{{{name}_port}}}}"),
        "filter_chains": [{"filters": [*filters, proxy]}],
    }


ORIGINAL_DST = {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "2s"}
AGGREGATE = {
    "lb_policy": "CLUSTER_PROVIDED",
    "cluster_type": {
        "name": "envoy.clusters.aggregate",
        "typed_config": typed(
            "envoy.extensions.clusters.aggregate.v3.ClusterConfig", clusters=["empty", "origin"]
        ),
    },
}
TO_ORIGIN = state(envoy__network__transport_socket__original_dst_address="127.0.0.1:{{origin_port}}")
LISTENERS: dict[str, tuple[Any, ...]] = {
    "renamed": ("empty", state(envoy__tcp_proxy__cluster="origin")),
    "unknown": ("origin", state(envoy__tcp_proxy__cluster="nowhere")),
    "directed": ("original", TO_ORIGIN),
    "undirected": ("original",),
    "gathered": ("all",),
}
CLUSTERS = [
    cluster("origin", "{{origin_port}}"),
    {"name": "empty", "load_assignment": {"cluster_name": "empty"}},
    {"name": "original", **ORIGINAL_DST},
    {"name": "all", **AGGREGATE},
]
pair = pair_fixture(
    bootstrap([listener(name, *how) for name, how in LISTENERS.items()], CLUSTERS), listeners=tuple(LISTENERS)
)
REPLY = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"


@pytest.mark.parametrize(
    ("name", "served"),
    [("renamed", True), ("unknown", False), ("directed", True), ("undirected", False), ("gathered", True)],
)
def test_a_connection_goes_where_it_was_sent(pair: Pair, name: str, served: bool) -> None:
    def converse(side: Side) -> bytes:
        side.origin.script(REPLY)
        with socket.create_connection(("127.0.0.1", side.proxy.ports[name]), 5) as client:
            try:
                client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                received = b""
                while more := client.recv(1000):
                    received += more
                    if received == REPLY:
                        break
            except ConnectionError:
                pass
            return received

    before = pair.lines_logged()
    numbers = (
        "upstream_cx_total",
        "upstream_cx_none_healthy",
        "upstream_rq_total",
        "original_dst_host_invalid",
    )
    stats = [f"cluster.{one['name']}.{number}" for one in CLUSTERS for number in numbers]
    with pair.same_stats(*stats, f"tcp.{name}.downstream_cx_no_route", f"tcp.{name}.downstream_cx_total"):
        assert pair.same_value(name, converse, settle=0) == (REPLY if served else b"")
    pair.logged_since(before, 1)
    pair.same_log()
