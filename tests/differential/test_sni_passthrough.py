"""TLS that nobody ends on the way: a gateway routes by SNI and ALPN, and the client sees the host's certificate."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certs import Authority
from tests.support.configs import Json, address, bootstrap, cluster, file_log, typed
from tests.support.differential import Pair, Side
from tests.support.origin import Origin

NETWORK = "envoy.extensions.filters.network."
LOG = "%REQUESTED_SERVER_NAME% %UPSTREAM_CLUSTER% %RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS%"
REVIEWS = "outbound_.9080_._.reviews.default.svc.cluster.local"
RATINGS = "outbound_.9080_._.ratings.default.svc.cluster.local"


def chain(to: str, *filters: Json, **match: object) -> Json:
    proxy = typed(f"{NETWORK}tcp_proxy.v3.TcpProxy", stat_prefix="gw", cluster=to, access_log=[file_log(LOG)])
    return {"filter_chain_match": match, "filters": [*filters, {"name": "tcp", "typed_config": proxy}]}


def gateway() -> Json:
    by_name = {"name": "sni", "typed_config": typed(f"{NETWORK}sni_cluster.v3.SniCluster")}
    inspector = typed("envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector")
    listener = {
        "name": "gateway",
        "stat_prefix": "gateway",
        "address": address("{{gateway_port}}"),
        "listener_filters": [{"name": "tls", "typed_config": inspector}],
        "filter_chains": [
            chain("nowhere", by_name, server_names=["*.local"]),
            chain("second", server_names=["reviews.test"], application_protocols=["h2"]),
            chain("origin", server_names=["reviews.test"]),
        ],
    }
    clusters = [cluster("origin"), cluster("second"), cluster(REVIEWS, "{{origin_port}}")]
    return bootstrap([listener], [*clusters, cluster(RATINGS, "{{second_port}}")])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Iterator[Pair]:
    def origin(name: str) -> Origin:
        context = authority.issue(name, "reviews.test", REVIEWS, RATINGS, "x.local").server_context(
            alpn=("h2", "http/1.1")
        )
        return Origin(tls=context, take_over=lambda connection: connection.send(connection.receive().upper()))

    origins = {name: lambda name=name: origin(f"{name}.test") for name in ("origin", "second")}
    with Pair(gateway(), origins=origins, listeners=("gateway",)) as started:
        yield started


def visit(side: Side, authority: Path, name: str, alpn: list[str]) -> object:
    """Whose certificate the client saw, the protocol agreed on, and the answer; or that there was none."""
    context = ssl.create_default_context(cafile=str(authority))
    context.set_alpn_protocols(alpn)
    with socket.create_connection(("127.0.0.1", side.proxy.ports["gateway"]), 5) as raw:
        try:
            with context.wrap_socket(raw, server_hostname=name) as client:
                client.sendall(b"hello")
                names = [value for _, value in (client.getpeercert() or {})["subjectAltName"]]
                return names[0], client.selected_alpn_protocol(), client.recv(100)
        except OSError:
            return "closed"


@pytest.mark.parametrize(
    ("name", "alpn", "seen"),
    [
        ("reviews.test", ["http/1.1"], ("origin.test", "http/1.1", b"HELLO")),
        ("reviews.test", ["h2", "http/1.1"], ("second.test", "h2", b"HELLO")),
        (REVIEWS, ["http/1.1"], ("origin.test", "http/1.1", b"HELLO")),
        (RATINGS, ["istio", "h2"], ("second.test", "h2", b"HELLO")),
        ("x.local", ["h2"], "closed"),
        ("other.test", ["h2"], "closed"),
    ],
)
def test_a_gateway_routes_by_what_the_client_hello_says(
    pair: Pair, authority: Authority, name: str, alpn: list[str], seen: object
) -> None:
    logged = pair.lines_logged()
    with pair.same_stats("tcp.gw.downstream_cx_", "tls_inspector.", "listener.gateway.no_filter_chain_match"):
        assert pair.same_value("visit", lambda side: visit(side, authority.certificate, name, alpn)) == seen
        if name != "other.test":
            pair.logged_since(logged, 1)
    if name != "other.test":
        pair.same_log()
