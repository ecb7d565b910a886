"""When a stream has taken too long: of routes, connection managers, clusters and of what clients ask for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.configs import TYPE, Json, cluster, route
from tests.support.differential import Pair
from tests.support.managers import Case, get, managers_fixture, post, same_everywhere
from tests.support.origin import HELLO, Answer, Script

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
INTERNAL: Json = {
    "internal_address_config": {"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}
}
#: Half-closed answers need the client's close or this long.
QUICK: Json = {"delayed_close_timeout": "0.1s"}
MANAGERS: dict[str, Json] = {
    "plain": {**INTERNAL, **QUICK},
    "request": {"request_timeout": "0.15s", **QUICK},
    "headers": {"request_headers_timeout": "0.15s", **QUICK},
    "both": {"request_timeout": "0.25s", "request_headers_timeout": "0.1s", **QUICK},
    "idle": {"stream_idle_timeout": "0.15s", **QUICK},
    "duration": {"common_http_protocol_options": {"max_stream_duration": "0.15s"}, **QUICK},
}
SLOW = Answer(delay=0.4)
BROKEN = Answer([b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345", b"67890"], pause=0.4)
DRIP = Answer([b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", *[b"1"] * 5], pause=0.07)
ME = "X-Forwarded-For: 10.0.0.1"


def limited(path: str, **limits: str) -> Json:
    return route("origin", path, max_stream_duration=limits)


def options(**common: Any) -> Json:
    message = {
        "@type": TYPE + HTTP_OPTIONS,
        "explicit_http_config": {"http_protocol_options": {}},
        "common_http_protocol_options": common,
    }
    return {"typed_extension_protocol_options": {HTTP_OPTIONS: message}}


ROUTES = [
    route("origin", "/timeout", timeout="0.15s"),
    route("origin", "/no_timeout", timeout="0s"),
    route("origin", "/idle", idle_timeout="0.15s"),
    route("origin", "/never_idle", idle_timeout="0s"),
    limited("/limit", max_stream_duration="0.15s"),
    limited("/no_limit", max_stream_duration="0s"),
    route("origin", "/grpc_max", max_grpc_timeout="10s"),
    route("origin", "/grpc_any", max_grpc_timeout="0s"),
    route("origin", "/grpc_cap", max_grpc_timeout="0.15s"),
    route("origin", "/grpc_less", max_grpc_timeout="10s", grpc_timeout_offset="0.1s"),
    limited("/header_max", grpc_timeout_header_max="10s"),
    limited("/header_cap", grpc_timeout_header_max="0.15s"),
    limited("/header_less", grpc_timeout_header_max="10s", grpc_timeout_header_offset="0.1s"),
    route("short", "/cluster"),
    route("origin", "/"),
]
CLUSTERS = [cluster(), cluster("short", "{{origin_port}}", **options(max_stream_duration="0.15s"))]

pair = managers_fixture(MANAGERS, routes=ROUTES, clusters=CLUSTERS)


def half(path: str) -> bytes:
    """A request whose body does not come."""
    return f"POST {path} HTTP/1.1\r\nHost: example.com\r\nContent-Length: 10\r\n\r\n12345".encode()


def check(pair: Pair, *cases: tuple[str, bytes, Script], ignore: tuple[str, ...] = ()) -> None:
    prefixes = {f"http.{manager}.downstream_rq_" for manager, _, _ in cases}
    names = [
        *(
            prefix + name
            for prefix in prefixes
            for name in ("idle_timeout", "max_duration_reached", "timeout")
        ),
        *(f"{prefix}header_timeout" for prefix in prefixes),
        "cluster.origin.upstream_rq_timeout",
        "cluster.origin.upstream_rq_504",
        "cluster.origin.upstream_rq_max_duration_reached",
        "cluster.short.upstream_rq_max_duration_reached",
    ]
    with pair.same_stats(*names, ignore=ignore):
        same_everywhere(pair, list(cases), timeout=2.0)


def test_the_route_s_timeout(pair: Pair) -> None:
    check(
        pair,
        ("plain", get("/timeout"), SLOW),
        ("plain", get("/timeout"), BROKEN),
        ("plain", get("/timeout"), DRIP),
        ("plain", post("/timeout", b"abc"), SLOW),
        ("plain", get("/no_timeout"), SLOW),
        ("idle", get("/timeout"), SLOW),
    )


@pytest.mark.parametrize("value", ["150", "0", "abc", "", "-1"])
def test_the_client_s_timeout(pair: Pair, value: str) -> None:
    field = f"X-Envoy-Upstream-Rq-Timeout-Ms: {value}"
    check(pair, ("plain", get("/", ME, field), SLOW), ("plain", get("/timeout", field), SLOW))


def test_the_client_s_limit_of_the_upstream_stream(pair: Pair) -> None:
    field = "X-Envoy-Upstream-Stream-Duration-Ms: 150"
    check(
        pair,
        ("plain", get("/", ME, field), SLOW),
        ("plain", get("/", field), SLOW),
        ("plain", get("/cluster", ME, field.replace("150", "0")), SLOW),
    )


def test_the_route_s_idle_timeout(pair: Pair) -> None:
    check(
        pair,
        ("plain", get("/idle"), SLOW),
        ("plain", get("/idle"), BROKEN),
        ("plain", get("/idle"), DRIP),
        ("plain", half("/idle"), HELLO),
        ("idle", get("/never_idle"), SLOW),
    )


def test_the_stream_idle_timeout(pair: Pair) -> None:
    check(
        pair,
        ("idle", get("/"), SLOW),
        ("idle", get("/"), BROKEN),
        ("idle", get("/"), DRIP),
        ("idle", half("/"), HELLO),
    )


@pytest.mark.parametrize(
    ("manager", "path"),
    [("plain", "/limit"), ("plain", "/cluster"), ("duration", "/"), ("duration", "/no_limit")],
)
def test_the_longest_that_a_stream_may_take(pair: Pair, manager: str, path: str) -> None:
    answers: list[Script] = [SLOW, BROKEN, DRIP]
    cases: list[Case] = [(manager, get(path), answer) for answer in answers]
    if path != "/no_limit":
        cases.append((manager, half(path), HELLO))
    check(pair, *cases)


@pytest.mark.parametrize("path", ["/grpc_max", "/grpc_any", "/grpc_cap", "/grpc_less", "/"])
def test_grpc_timeout_as_the_route_s_timeout(pair: Pair, path: str) -> None:
    grpc = get(path, "Content-Type: application/grpc", "Grpc-Timeout: 150m")
    check(pair, ("plain", grpc, SLOW), ("plain", grpc.replace(b"/grpc\r\n", b"/json\r\n"), SLOW))


@pytest.mark.parametrize("path", [one["match"]["prefix"] for one in ROUTES])
def test_what_the_upstream_hears_of_timeouts(pair: Pair, path: str) -> None:
    waits = ["", "150m", "150000u", "5S", "1H", "x", "123456789m"]
    kind = "Content-Type: application/grpc"
    cases: list[Case] = [
        ("plain", get(path, kind, *own, *([f"Grpc-Timeout: {wait}"] if wait else [])), HELLO)
        for wait in waits
        for own in ([], [ME, "X-Envoy-Upstream-Rq-Timeout-Ms: 300"])
    ]
    check(pair, *cases)


@pytest.mark.parametrize("path", ["/header_max", "/header_cap", "/header_less"])
def test_grpc_timeout_as_the_longest_that_a_stream_may_take(pair: Pair, path: str) -> None:
    grpc = get(path, "Content-Type: application/grpc", "Grpc-Timeout: 150000000n")
    check(pair, ("plain", grpc, SLOW), ("plain", grpc.replace(b"/grpc\r\n", b"/json\r\n"), SLOW))


@pytest.mark.parametrize("manager", ["request", "headers", "both"])
def test_slow_requests(pair: Pair, manager: str) -> None:
    sent = [b"GET / HTTP/1.1\r\nHo", b"G"] + ([half("/")] if manager != "headers" else [])
    check(pair, *((manager, data, HELLO) for data in sent), (manager, get("/"), SLOW))
