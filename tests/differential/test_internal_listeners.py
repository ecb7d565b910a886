"""Connections to internal listeners through real Envoy and ours: bytes, ends, what is passed on, failures."""

from __future__ import annotations

import copy
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.support.certs import Authority
from tests.support.configs import (
    Json,
    address,
    bootstrap,
    cluster,
    connection_manager,
    file_log,
    http2_cluster,
    route,
    typed,
    virtual_host,
)
from tests.support.differential import Pair, Side, pair_fixture, same_verdict
from tests.support.origin import Origin, OriginConnection

TCP_PROXY = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
STATE = "envoy.extensions.filters.network.set_filter_state.v3.Config"
TRANSPORT = "envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport"
RAW = {
    "name": "raw",
    "typed_config": typed("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"),
}
EXTENSION = {
    "name": "envoy.bootstrap.internal_listener",
    "typed_config": typed("envoy.extensions.bootstrap.internal_listener.v3.InternalListener"),
}
ORIGINAL_DST = {
    "name": "original_dst",
    "typed_config": typed("envoy.extensions.filters.listener.original_dst.v3.OriginalDst"),
}
OUTER_LOG = (
    "outer %RESPONSE_FLAGS% %UPSTREAM_HOST% %UPSTREAM_LOCAL_ADDRESS% %UPSTREAM_REMOTE_ADDRESS% "
    "%UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID% %UPSTREAM_TRANSPORT_FAILURE_REASON% %BYTES_SENT% %BYTES_RECEIVED% "
    "%UPSTREAM_FILTER_STATE(once:PLAIN)% %UPSTREAM_FILTER_STATE(own:PLAIN)%"
)
INNER_LOG = (
    "inner %DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% "
    "%DOWNSTREAM_DIRECT_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID% %DOWNSTREAM_LOCAL_PORT% "
    "%FILTER_STATE(once:PLAIN)% %FILTER_STATE(through:PLAIN)% %FILTER_STATE(own:PLAIN)% "
    "%DYNAMIC_METADATA(of.host)% %DYNAMIC_METADATA(of.cluster)% %DYNAMIC_METADATA(not.passed)% %BYTES_SENT%"
)


def tcp(name: str, to: str, log: str) -> Json:
    config = typed(TCP_PROXY, stat_prefix=name, cluster=to, access_log=[file_log(log)])
    return {"name": "tcp", "typed_config": config}


def state(**values: tuple[str, str]) -> Json:
    """A filter that sets keys ("_" for ".") to texts, shared with the upstream as said."""
    return {
        "name": "state",
        "typed_config": typed(
            STATE,
            on_new_connection=[
                {
                    "object_key": key,
                    "factory_key": "envoy.string",
                    "format_string": {"text_format_source": {"inline_string": text}},
                    "shared_with_upstream": sharing,
                }
                for key, (text, sharing) in values.items()
            ],
        ),
    }


SHARED = state(once=("a", "ONCE"), through=("b", "TRANSITIVE"), own=("c", "NONE"))
DESTINATIONS = state()
DESTINATIONS["typed_config"]["on_new_connection"] = [
    {
        "object_key": f"envoy.filters.listener.original_dst.{name}",
        "format_string": {"text_format_source": {"inline_string": text}},
        "shared_with_upstream": "ONCE",
    }
    for name, text in (("local_ip", "192.0.2.1:80"), ("remote_ip", "192.0.2.2:90"))
]


def outer(name: str, *filters: Json) -> Json:
    return {
        "name": name,
        "stat_prefix": name,
        "address": address(f"{{{{{name}_port}}}}"),
        "filter_chains": [{"filters": list(filters)}],
    }


def internal(name: str, *filters: Json, **fields: Any) -> Json:
    return {"name": name, "internal_listener": {}, "filter_chains": [{"filters": list(filters)}], **fields}


def to_internal(name: str, listener: str, endpoint_id: str = "", **fields: Any) -> Json:
    where = {"server_listener_name": listener}
    if endpoint_id:
        where["endpoint_id"] = endpoint_id
    made = cluster(name, 1, **fields)
    made["load_assignment"]["endpoints"][0]["lb_endpoints"] = [
        {
            "endpoint": {"address": {"envoy_internal_address": where}},
            "metadata": {"filter_metadata": {"of.host": {"x": "y", "n": 3}, "not.passed": {"a": 1}}},
        }
    ]
    return made


def transport(*sources: tuple[str, str]) -> Json:
    passed = [{"kind": {kind: {}}, "name": name} for kind, name in sources]
    return {
        "name": "internal_upstream",
        "typed_config": typed(TRANSPORT, passthrough_metadata=passed, transport_socket=RAW),
    }


PASSING = {
    "transport_socket": transport(("host", "of.host"), ("host", "missing"), ("cluster", "of.cluster")),
    "metadata": {"filter_metadata": {"of.cluster": {"z": [1, "2"]}}},
}
RESTORED = to_internal(
    "restored", "restoring", transport_socket=transport(("host", "envoy.filters.listener.original_dst"))
)
RESTORED["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["metadata"] = {
    "filter_metadata": {"envoy.filters.listener.original_dst": {"local": "[2001:db8::1]:443"}}
}
ROUTES = {"name": "r", "virtual_hosts": [virtual_host([route("http")])]}
CONFIG = bootstrap(
    [
        outer("plain", tcp("plain", "plain", OUTER_LOG)),
        outer("passing", SHARED, tcp("passing", "passing", OUTER_LOG)),
        outer("unshared", SHARED, tcp("unshared", "plain", OUTER_LOG)),
        outer("chained", SHARED, tcp("chained", "to_middle", OUTER_LOG)),
        outer("addressed", DESTINATIONS, tcp("addressed", "addressed", OUTER_LOG)),
        outer("restored", tcp("restored", "restored", OUTER_LOG)),
        outer("nowhere", tcp("nowhere", "nowhere", OUTER_LOG)),
        outer("http", connection_manager(ROUTES)),
        outer("http2", connection_manager({"name": "r", "virtual_hosts": [virtual_host([route("http2")])]})),
        internal("inner", tcp("inner", "origin", INNER_LOG)),
        internal("middle", tcp("middle", "passing", "middle %FILTER_STATE(once:PLAIN)%")),
        internal("restoring", tcp("restoring", "origin", INNER_LOG), listener_filters=[ORIGINAL_DST]),
        internal("web", connection_manager({"name": "r", "virtual_hosts": [virtual_host([route("web")])]})),
        internal("web2", connection_manager({"name": "r", "virtual_hosts": [virtual_host([route("web")])]})),
    ],
    [
        cluster(),
        cluster("web"),
        to_internal("plain", "inner", "e1"),
        to_internal("passing", "inner", "e2", **PASSING),
        to_internal("to_middle", "middle", transport_socket=transport()),
        to_internal("addressed", "restoring", transport_socket=transport()),
        RESTORED,
        to_internal("nowhere", "absent"),
        to_internal("http", "web"),
        to_internal(
            "http2",
            "web2",
            typed_extension_protocol_options=http2_cluster()["typed_extension_protocol_options"],
        ),
    ],
    bootstrap_extensions=[EXTENSION],
)
SECURED = transport(("host", "of.host"))
SECURED["typed_config"]["transport_socket"] = {
    "name": "tls",
    "typed_config": typed("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext", sni="server.test"),
}
TCP_LISTENERS = ("plain", "passing", "unshared", "chained", "addressed", "restored")

# When the listener's side closes first, Envoy's cluster hears of it before its TCP proxy has read the end.
ENDS = tuple(
    f"cluster.{name}.upstream_cx_destroy{kind}_with_active_rq"
    for name in ("plain", "passing", "to_middle", "addressed", "restored")
    for kind in ("", "_remote")
)


LARGE = 8 << 20


def answer(connection: OriginConnection, patience: float = 10.0) -> None:
    """An echo and a mark at the end, or after so many seconds without a word; for "g", a lot."""
    while data := connection.receive(patience):
        connection.send(b"x" * LARGE if data == b"g" else b"<" + data + b">")
    connection.send(b"end")


def origins() -> Json:
    return {"origin": lambda: Origin(take_over=answer), "web": Origin}


pair = pair_fixture(CONFIG, listeners=(*TCP_LISTENERS, "nowhere", "http", "http2"), origins=origins())


def same_lines(pair: Pair, count: int) -> None:
    """The last lines of the log are the same; which connection ends first is chance, and so are large sizes."""

    def lines(side: Side) -> list[str]:
        return sorted(re.sub(r" \d{6,}", " N", line) for line in side.proxy.access_log(count)[-count:])

    assert len(pair.same_value("access_log", lines)) == count


def talk(side: Side, name: str) -> bytes:
    with socket.create_connection(("127.0.0.1", side.proxy.ports[name]), 5) as client:
        client.sendall(b"hello")
        said = client.recv(100)
        client.shutdown(socket.SHUT_WR)
        while more := client.recv(100):
            said += more
        return said


@pytest.mark.parametrize("name", TCP_LISTENERS)
def test_bytes_pass_and_each_half_ends_on_its_own(pair: Pair, name: str) -> None:
    before = pair.lines_logged()
    with pair.same_stats(
        f"cluster.{name}.", f"tcp.{name}.", "tcp.inner.", "listener.envoy_internal", ignore=ENDS
    ):
        assert pair.same_value(name, lambda side: talk(side, name), settle=0) == b"<hello>end"
    count = 3 if name == "chained" else 2
    pair.logged_since(before, count)
    same_lines(pair, count)


def test_a_listener_that_is_not_there_refuses(pair: Pair) -> None:
    def outcome(side: Side) -> bytes:
        with socket.create_connection(("127.0.0.1", side.proxy.ports["nowhere"]), 5) as client:
            return client.recv(10)

    before = pair.lines_logged()
    with pair.same_stats("cluster.nowhere.", "tcp.nowhere."):
        assert pair.same_value("nowhere", outcome, settle=0) == b""
    pair.logged_since(before, 1)
    pair.same_log()


@pytest.mark.parametrize("name", ["http", "http2"])
def test_http_pools_use_internal_listeners(pair: Pair, name: str) -> None:
    head = b" / HTTP/1.1\r\nhost: a\r\n"
    with pair.same_stats(f"cluster.{name}.upstream_rq", f"cluster.{name}.upstream_cx_total"):
        for _ in range(2):
            assert pair.same(b"GET" + head + b"\r\n", listener=name).status == 200
        body = b"x" * 200_000
        length = b"content-length: %d\r\n\r\n" % len(body)
        assert pair.same(b"POST" + head + length + body, listener=name).status == 200


def test_large_bodies_wait_for_a_reader(pair: Pair) -> None:
    def read(side: Side) -> int:
        with socket.create_connection(("127.0.0.1", side.proxy.ports["plain"]), 5) as client:
            client.sendall(b"g")
            client.shutdown(socket.SHUT_WR)
            total = 0
            while data := client.recv(1 << 20):
                total += len(data)
            return total

    assert pair.same_value("size", read, settle=0) == LARGE + len(b"end")


def test_internal_connections_may_be_encrypted(tmp_path: Path) -> None:
    issued = Authority(tmp_path).issue("server.test")
    certificate = {
        "certificate_chain": {"filename": str(issued.certificate)},
        "private_key": {"filename": str(issued.key)},
    }
    secure = internal("secure", tcp("inner", "origin", INNER_LOG + " %REQUESTED_SERVER_NAME%"))
    secure["filter_chains"][0]["transport_socket"] = {
        "name": "tls",
        "typed_config": typed(
            "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            common_tls_context={"tls_certificates": [certificate]},
        ),
    }
    config = bootstrap(
        [outer("secured", tcp("secured", "secured", OUTER_LOG + " %UPSTREAM_TLS_VERSION%")), secure],
        [cluster(), to_internal("secured", "secure", transport_socket=SECURED)],
        bootstrap_extensions=[EXTENSION],
    )

    def impatient() -> Origin:
        # A client that leaves is no end for the host here: the tunnel ends when the host has had enough.
        return Origin(take_over=lambda connection: answer(connection, 2.0))

    with Pair(config, listeners=["secured"], origins={"origin": impatient}) as pair:
        before = pair.lines_logged()

        def talk_and_read(side: Side) -> int:
            with socket.create_connection(("127.0.0.1", side.proxy.ports["secured"]), 5) as client:
                client.sendall(b"hello")
                assert client.recv(100) == b"<hello>"
                client.sendall(b"g")
                total = 0
                while total < LARGE:
                    total += len(client.recv(1 << 20))
                return total

        with pair.same_stats("listener.envoy_internal_secure.ssl.handshake"):
            assert pair.same_value("size", talk_and_read, settle=0) == LARGE
        pair.logged_since(before, 2)
        same_lines(pair, 2)


def test_a_tunnel_may_begin_at_an_internal_listener() -> None:
    """The way of HBONE: the endpoint's metadata names the destination, the internal listener asks for it."""
    passing = to_internal(
        "passing", "connect", transport_socket=transport(("host", "envoy.filters.listener.original_dst"))
    )
    passing["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["metadata"] = {
        "filter_metadata": {"envoy.filters.listener.original_dst": {"local": "192.0.2.7:80"}}
    }
    tunnel = tcp("tunnel", "terminator", "%DOWNSTREAM_LOCAL_ADDRESS%")
    tunnel["typed_config"]["tunneling_config"] = {"hostname": "%DOWNSTREAM_LOCAL_ADDRESS%"}
    upgrade = {"upgrade_type": "CONNECT", "connect_config": {}}
    connect = {
        "match": {"connect_matcher": {}, "headers": [{"name": ":authority", "exact_match": "192.0.2.7:80"}]},
        "route": {"cluster": "origin", "upgrade_configs": [upgrade]},
    }
    table = {"name": "r", "virtual_hosts": [virtual_host([connect])]}
    config = bootstrap(
        [
            outer("hbone", tcp("hbone", "passing", "outer %RESPONSE_FLAGS%")),
            internal("connect", tunnel, listener_filters=[ORIGINAL_DST]),
            outer("terminator", connection_manager(table, http2_protocol_options={"allow_connect": True})),
        ],
        [cluster(), passing, http2_cluster("terminator", "{{terminator_port}}")],
        bootstrap_extensions=[EXTENSION],
    )
    listeners = ["hbone", "terminator"]
    with Pair(config, listeners=listeners, origins={"origin": origins()["origin"]}) as pair:
        assert pair.same_value("reply", lambda side: talk(side, "hbone"), settle=0) == b"<hello>end"


def listed(side: Side) -> list[str]:
    return sorted(line for line in side.proxy.admin("/listeners")[1].splitlines() if "envoy://" in line)


def test_the_admin_server_lists_internal_listeners(pair: Pair) -> None:
    assert "inner::envoy://inner/" in pair.same_value("listeners", listed)


LISTENERS = (*TCP_LISTENERS, "nowhere", "http", "http2")
PORTS = dict.fromkeys((f"{name}_port" for name in (*LISTENERS, "origin", "web", "admin")), 1)


def changed(**fields: Any) -> Json:
    """The config with other fields in the first internal listener."""
    config = copy.deepcopy(CONFIG)
    listeners = config["static_resources"]["listeners"]
    next(one for one in listeners if one["name"] == "inner").update(fields)
    return config


@pytest.mark.parametrize(
    "fields",
    [
        {"address": address(0)},
        {"additional_addresses": [{"address": address(0)}]},
        {"enable_reuse_port": True},
        {"transparent": False},
        {"freebind": True},
        {"tcp_backlog_size": 3},
        {"tcp_fast_open_queue_length": 3},
        {"connection_balance_config": {"exact_balance": {}}},
        {"socket_options": [{"level": 1, "name": 2, "int_value": 1, "state": "STATE_PREBIND"}]},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_needs_a_socket_is_refused(fields: Json) -> None:
    assert not same_verdict(changed(**fields), PORTS)[0]


def test_internal_listeners_need_the_bootstrap_extension() -> None:
    config = copy.deepcopy(CONFIG)
    del config["bootstrap_extensions"]
    assert not same_verdict(config, PORTS)[0]


def test_only_metadata_of_hosts_and_clusters_can_be_passed_on() -> None:
    config = copy.deepcopy(CONFIG)
    config["static_resources"]["clusters"][1]["transport_socket"] = transport(("route", "x"))
    assert not same_verdict(config, PORTS)[0]
