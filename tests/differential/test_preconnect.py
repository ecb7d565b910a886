"""Connections made ahead beside Envoy: how many there are after each of some requests."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from threading import Semaphore
from typing import Any, Final

import pytest

from tests.support.certs import Authority
from tests.support.client import Client, exchange
from tests.support.configs import (
    HTTP_OPTIONS,
    Json,
    bootstrap,
    cluster,
    http2_cluster,
    http_proxy,
    listener,
    route,
    typed,
)
from tests.support.differential import Pair, Side, pair_fixture, same_verdict
from tests.support.http2_origin import Http2Answer, Http2Origin, OriginStream
from tests.support.http_text import Message
from tests.support.origin import Origin, OriginConnection

ORIGINS: Final = ("first", "second", "third")
PORTS: Final = tuple(f"{{{{{name}_port}}}}" for name in ORIGINS)
OK: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
TCP_PROXY: Final = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
TLS: Final = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
NUMBERS: Final = (
    "upstream_cx_total",
    "upstream_cx_active",
    "upstream_cx_overflow",
    "upstream_rq_active",
    "upstream_rq_pending_active",
    "upstream_rq_total",
)


def ratios(upstream: float = 0, predictive: float = 0) -> Json:
    policy: Json = {}
    if upstream:
        policy["per_upstream_preconnect_ratio"] = upstream
    if predictive:
        policy["predictive_preconnect_ratio"] = predictive
    return {"preconnect_policy": policy}


def breaker(**fields: Any) -> Json:
    return {"circuit_breakers": {"thresholds": [fields]}}


def one_host(**fields: Any) -> Callable[[str], Json]:
    return lambda name: cluster(name, PORTS[0], **fields)


def three_hosts(*, weights: tuple[int, ...] = (), health: tuple[str, ...] = (), **fields: Any) -> Any:
    def make(name: str) -> Json:
        made = cluster(name, *PORTS, **fields)
        hosts = made["load_assignment"]["endpoints"][0]["lb_endpoints"]
        for host, weight in zip(hosts, weights, strict=False):
            host["load_balancing_weight"] = weight
        for host, status in zip(hosts, health, strict=False):
            host["health_status"] = status
        return made

    return make


PER_HOST: Final = {"circuit_breakers": {"per_host_thresholds": [{"max_connections": 3}]}}
CASES: Final[dict[str, Callable[[str], Json]]] = {
    "one": one_host(**ratios(1)),
    "half": one_host(**ratios(1.5)),
    "two": one_host(**ratios(2)),
    "three": one_host(**ratios(3)),
    "limited": one_host(**ratios(3), **breaker(max_connections=4)),
    "no_limit_left": one_host(**ratios(3), **breaker(max_connections=1)),
    "per_host": one_host(**ratios(3), **PER_HOST),
    "one_ahead": one_host(**ratios(predictive=2)),
    "ahead": three_hosts(**ratios(predictive=1.5)),
    "ahead_two": three_hosts(**ratios(predictive=2)),
    "ahead_three": three_hosts(**ratios(predictive=3)),
    "ahead_both": three_hosts(**ratios(2, 3)),
    "ahead_random": three_hosts(**ratios(predictive=3), lb_policy="RANDOM"),
    "ahead_least": three_hosts(**ratios(predictive=3), lb_policy="LEAST_REQUEST"),
    "ahead_weighted": three_hosts(weights=(1, 2, 4), **ratios(predictive=2)),
    "ahead_ring": three_hosts(**ratios(predictive=3), lb_policy="RING_HASH"),
    "ahead_failed": three_hosts(health=("UNHEALTHY",), **ratios(predictive=3)),
    "ahead_panic": three_hosts(health=("UNHEALTHY", "UNHEALTHY"), **ratios(2, 3)),
    "ahead_limited": three_hosts(**ratios(predictive=3), **breaker(max_connections=3)),
    "degraded": three_hosts(health=("DEGRADED",) * 3, **ratios(3)),
}
#: No host is foreseen; which of them is chosen by chance matters once connections are idle.
UNFORESEEN: Final = {"ahead_least", "ahead_ring"}
#: Which hosts come next is a matter of chance.
BY_CHANCE: Final = {"ahead_random", "ahead_weighted", "ahead_panic"}
pair = pair_fixture(
    http_proxy(
        routes=[route(name, prefix=f"/{name}/") for name in CASES],
        clusters=[make(name) for name, make in CASES.items()],
    ),
    origins=ORIGINS,
)
HTTP2_CASES: Final[dict[str, Json]] = {
    # First, since idle connections of other clusters count in Envoy.
    "ahead": ratios(predictive=2),
    "both": ratios(2, 2),
    "one": {},
    "half": ratios(1.5),
    "three": ratios(3),
}
http2_pair = pair_fixture(
    http_proxy(
        routes=[route(name, prefix=f"/{name}/") for name in HTTP2_CASES],
        clusters=[
            http2_cluster(name, http2={"max_concurrent_streams": 2}, **fields)
            for name, fields in HTTP2_CASES.items()
        ],
    ),
    origins=dict.fromkeys(HTTP2_CASES, Http2Origin),
)


def numbers(side: Side, name: str) -> dict[str, int]:
    stats = side.proxy.stats(f"cluster.{name}.")
    return {key: stats.get(f"cluster.{name}.{key}", 0) for key in NUMBERS}


def settled(side: Side, name: str, requests: int) -> dict[str, int]:
    """The numbers once that many requests run or wait, and nothing changes any more."""
    deadline = time.monotonic() + 10
    before: dict[str, int] = {}
    same = 0
    while same < 3:
        assert time.monotonic() < deadline, before
        time.sleep(0.05)
        now = numbers(side, name)
        there = now["upstream_rq_active"] + now["upstream_rq_pending_active"] == requests
        same = same + 1 if there and now == before else 0
        before = now
    return now


def story(side: Side, name: str, count: int = 5) -> list[dict[str, int]]:
    """The numbers after each of some requests that are held, after their end, and after each of three more."""
    go = Semaphore(0)

    def hold(_request: Message, _connection: Any) -> bytes:
        go.acquire(timeout=10)
        return OK

    for origin in side.origins.values():
        origin.close_connections()
        origin.script(hold)
    seen = []
    clients = [Client(side.proxy.port, timeout=15.0) for _ in range(count)]
    try:
        for number, client in enumerate(clients):
            client.send(f"GET /{name}/{number} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
            seen.append(settled(side, name, number + 1))
        go.release(100)
        for client in clients:
            assert client.read(["GET"]).status == 200
        for _ in range(3):
            assert (
                exchange(side.proxy.port, f"GET /{name}/ HTTP/1.1\r\nhost: a\r\n\r\n".encode()).status == 200
            )
            after = settled(side, name, 0)
            # How often the limit was met depends on the order in which those that waited ended.
            del after["upstream_cx_overflow"]
            seen.append(after)
    finally:
        go.release(100)
        for client in clients:
            client.close()
    return seen


def http2_story(side: Side, name: str) -> list[dict[str, int]]:
    """The numbers after each of five requests that are held, and after the one that follows them."""
    go = Semaphore(0)

    def hold(stream: OriginStream) -> None:
        go.acquire(timeout=10)
        stream.answer(Http2Answer())

    side.origins[name].script(hold)
    clients = [Client(side.proxy.port, timeout=15.0) for _ in range(5)]
    seen = []
    try:
        for number, client in enumerate(clients):
            client.send(f"GET /{name}/ HTTP/1.1\r\nhost: a\r\n\r\n".encode())
            seen.append(settled(side, name, number + 1))
        go.release(100)
        for client in clients:
            assert client.read(["GET"]).status == 200
        assert exchange(side.proxy.port, f"GET /{name}/ HTTP/1.1\r\nhost: a\r\n\r\n".encode()).status == 200
        seen.append(settled(side, name, 0))
    finally:
        go.release(100)
        for client in clients:
            client.close()
    return seen


@pytest.mark.parametrize("name", sorted(CASES.keys() - BY_CHANCE - UNFORESEEN))
def test_connections_after_each_request(pair: Pair, name: str) -> None:
    envoy, outrider = pair.both(lambda side: story(side, name))
    assert outrider == envoy


@pytest.mark.parametrize("name", sorted(UNFORESEEN))
def test_hosts_that_nobody_foresees(pair: Pair, name: str) -> None:
    envoy, outrider = pair.both(lambda side: story(side, name)[:5])
    assert outrider == envoy


@pytest.mark.parametrize("name", sorted(BY_CHANCE))
def test_hosts_that_chance_chooses(pair: Pair, name: str) -> None:
    def run(side: Side) -> float:
        held = [story(side, name)[4]["upstream_cx_active"] for _ in range(6)]
        return sum(held) / len(held)

    envoy, outrider = pair.both(run)
    assert outrider == pytest.approx(envoy, abs=0.7)


def test_streams_of_http2(http2_pair: Pair) -> None:
    def run(side: Side) -> Any:
        return {name: http2_story(side, name) for name in HTTP2_CASES}

    envoy, outrider = http2_pair.both(run)
    assert outrider == envoy


#: Name → policy, how many sessions.
TCP_CASES: Final[dict[str, Json]] = {
    "none": {},
    "half": ratios(1.5),
    "three": ratios(3),
    "ahead": ratios(predictive=2),
    "limited": {**ratios(3), **breaker(max_connections=4)},
}


def tcp_proxy(name: str) -> Json:
    filters = [
        {
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": typed(TCP_PROXY, stat_prefix=name, cluster=name),
        }
    ]
    return listener(filters, name)


def greet(connection: OriginConnection) -> None:
    """Speak first, then say again what is heard."""
    connection.send(b"hi")
    while data := connection.receive(timeout=60):
        connection.send(data)
    connection.close()


tcp_pair = pair_fixture(
    bootstrap(
        [tcp_proxy(name) for name in TCP_CASES],
        [cluster(name, PORTS[0], **fields) for name, fields in TCP_CASES.items()],
    ),
    origins={"first": lambda: Origin(take_over=greet)},
    listeners=tuple(TCP_CASES),
)


@pytest.mark.parametrize("name", TCP_CASES)
def test_sessions_of_bytes(tcp_pair: Pair, name: str) -> None:
    def run(side: Side) -> list[dict[str, int]]:
        seen: list[dict[str, int]] = []
        clients: list[socket.socket] = []
        for number in range(2 if name == "limited" else 4):
            made = socket.create_connection(("127.0.0.1", side.proxy.ports[name]), timeout=10)
            clients.append(made)
            made.sendall(b"abc")
            heard = b""
            while len(heard) < 5:
                heard += made.recv(100)
            assert heard == b"hiabc"
            seen.append(settled(side, name, number + 1))
        for left, made in enumerate(reversed(clients)):
            made.close()
            seen.append(settled(side, name, len(clients) - 1 - left))
        with socket.create_connection(("127.0.0.1", side.proxy.ports[name]), timeout=10) as made:
            assert made.recv(2) == b"hi"
            seen.append(settled(side, name, 1))
        return seen

    envoy, outrider = tcp_pair.both(run)
    assert outrider == envoy


@pytest.mark.parametrize("ratio", [1.5, 3])
def test_a_host_that_picks_http2(tmp_path_factory: Any, ratio: float) -> None:
    context = Authority(tmp_path_factory.mktemp("authority")).issue("a.test").server_context(alpn=("h2",))
    options = {HTTP_OPTIONS: typed(HTTP_OPTIONS, auto_config={})}
    made = cluster(
        "auto",
        "{{auto_port}}",
        typed_extension_protocol_options=options,
        transport_socket={"name": "tls", "typed_config": typed(TLS, common_tls_context={})},
        **ratios(ratio),
    )
    config = http_proxy(routes=[route("auto", prefix="/auto/")], clusters=[made])
    with Pair(config, origins={"auto": lambda: Http2Origin(tls=context)}) as pair:
        envoy, outrider = pair.both(lambda side: http2_story(side, "auto"))
    for one in (*envoy, *outrider):
        # Envoy counts connections anew when the host has picked.
        del one["upstream_cx_total"]
    assert outrider == envoy


@pytest.mark.parametrize("field", ["per_upstream_preconnect_ratio", "predictive_preconnect_ratio"])
@pytest.mark.parametrize("ratio", [0, 0.5, 1, 3, 3.1, -1])
def test_ratios_have_a_range(field: str, ratio: float) -> None:
    one = cluster("one", 1, preconnect_policy={field: ratio})
    accepted, refused = same_verdict({"static_resources": {"clusters": [one]}})
    assert accepted is (1 <= ratio <= 3)
    if not accepted:
        assert field in refused
