"""TLS that goes to the host named in the ClientHello, which is resolved by then, beside Envoy."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.differential.test_dynamic_forward_proxy import ZONE, cache, dynamic_cluster
from tests.support.certs import Authority
from tests.support.configs import Json, address, bootstrap, file_log, typed
from tests.support.differential import Pair, Side
from tests.support.dns_server import DnsServer
from tests.support.origin import Origin

NETWORK = "envoy.extensions.filters.network."
LOG = "%REQUESTED_SERVER_NAME% %UPSTREAM_CLUSTER% %RESPONSE_FLAGS% %UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"
STATE = "envoy.extensions.filters.network.set_filter_state.v3.Config"


def state(**objects: str) -> Json:
    """A filter that sets `envoy.upstream.dynamic_<name>`."""
    values = [
        {
            "object_key": f"envoy.upstream.dynamic_{name}",
            "format_string": {"text_format_source": {"inline_string": text}},
        }
        for name, text in objects.items()
    ]
    return {"name": "state", "typed_config": typed(STATE, on_new_connection=values)}


def chain(prefix: str, port: Any, *before: Json, of: Json | None = None, cluster: str = "dynamic") -> Json:
    names = typed(
        f"{NETWORK}sni_dynamic_forward_proxy.v3.FilterConfig", dns_cache_config=of or cache(), port_value=port
    )
    proxy = typed(
        f"{NETWORK}tcp_proxy.v3.TcpProxy", stat_prefix=prefix, cluster=cluster, access_log=[file_log(LOG)]
    )
    filters = [*before, {"name": "names", "typed_config": names}, {"name": "tcp", "typed_config": proxy}]
    inspector = typed("envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector")
    return {
        "name": prefix,
        "address": address(f"{{{{{prefix}_port}}}}"),
        "listener_filters": [{"name": "tls", "typed_config": inspector}],
        "filter_chains": [{"filters": filters}],
    }


LISTENERS = ("by_port", "by_state", "full")
SMALL = cache("small", max_hosts=1)
CONFIG = bootstrap(
    [
        chain("by_port", "{{origin_port}}"),
        chain("by_state", 1, state(host="c.test", port="0{{origin_port}}")),
        chain("full", "{{origin_port}}", of=SMALL, cluster="small"),
    ],
    [dynamic_cluster(), dynamic_cluster("small", of=SMALL)],
)


@pytest.fixture(scope="module")
def server() -> Iterator[DnsServer]:
    with DnsServer(dict(ZONE)) as server:
        yield server


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def pair(authority: Authority, server: DnsServer) -> Iterator[Pair]:
    def origin() -> Origin:
        context = authority.issue("a.test", "a.test", "b.test", "c.test", "d.test").server_context()
        return Origin(tls=context, take_over=lambda connection: connection.send(connection.receive().upper()))

    with Pair(
        CONFIG, origins={"origin": origin}, listeners=LISTENERS, values={"dns_port": server.port}
    ) as started:
        yield started


def visit(side: Side, listener: str, authority: Path, name: str) -> object:
    """What a client that asks for `name` hears; or that there was nobody."""
    context = ssl.create_default_context(cafile=str(authority))
    with socket.create_connection(("127.0.0.1", side.proxy.ports[listener]), 5) as raw:
        try:
            with context.wrap_socket(raw, server_hostname=name) as client:
                client.sendall(b"hello")
                return client.recv(100)
        except OSError:
            return "closed"


@pytest.mark.parametrize(
    ("listener", "name", "seen"),
    [
        ("by_port", "a.test", b"HELLO"),
        ("by_port", "b.test", b"HELLO"),
        ("by_port", "d.test", "closed"),
        ("by_state", "d.test", b"HELLO"),
    ],
)
def test_the_host_is_the_one_of_the_client_hello(
    pair: Pair, authority: Authority, listener: str, name: str, seen: object
) -> None:
    for _ in range(2):
        logged = pair.lines_logged()
        with pair.same_stats(f"tcp.{listener}.downstream_cx_", "dns_cache.names."):
            heard = pair.same_value(
                "visit", lambda side: visit(side, listener, authority.certificate, name), 0
            )
            assert heard == seen
            pair.logged_since(logged, 1)
        pair.same_log()


def test_no_place_for_a_host(pair: Pair, authority: Authority) -> None:
    with pair.same_stats("dns_cache.small."):
        for name, seen in (("a.test", b"HELLO"), ("b.test", "closed")):
            heard = pair.same_value(
                "visit", lambda side, name=name: visit(side, "full", authority.certificate, name), 0
            )
            assert heard == seen


def test_without_a_name(pair: Pair) -> None:
    def speak(side: Side) -> bytes:
        with socket.create_connection(("127.0.0.1", side.proxy.ports["by_port"]), 5) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            try:
                return client.recv(100)
            except OSError:
                return b""

    assert pair.same_value("answer", speak, 0) == b""
