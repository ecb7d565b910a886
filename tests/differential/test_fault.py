"""The fault filter: delays, aborts and slow responses, by config, field, runtime and route, with stats and logs."""

from __future__ import annotations

import socket
import time
from typing import Any, Final

import pytest

from tests.support.client import Client, exchange
from tests.support.configs import ROUTER, TYPE, Json, cluster, route, typed
from tests.support.differential import Pair, Side
from tests.support.managers import Case, get, managers_fixture, post, same_everywhere
from tests.support.origin import HELLO

FAULT: Final = "envoy.extensions.filters.http.fault.v3.HTTPFault"
NAME: Final = "envoy.filters.http.fault"
ROUTER_FILTER: Final = {"name": "router", "typed_config": typed(ROUTER)}
ALL: Final = {"numerator": 100}
NONE: Final = {"numerator": 0}
LOG: Final = (
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_SENT% %UPSTREAM_CLUSTER% "
    f"%DYNAMIC_METADATA({NAME})% %RESP(GRPC-STATUS)%"
)


def fault(**fields: Any) -> Json:
    return typed(FAULT, **fields)


def delay(milliseconds: int = 60, percentage: Json = ALL) -> Json:
    return {"fixed_delay": f"{milliseconds / 1000}s", "percentage": percentage}


def abort(status: int = 503, percentage: Json = ALL) -> Json:
    return {"http_status": status, "percentage": percentage}


def manager(**fields: Any) -> Json:
    return {"http_filters": [{"name": NAME, "typed_config": fault(**fields)}, ROUTER_FILTER]}


def with_fault(one: Json, **fields: Any) -> Json:
    return {**one, "typed_per_filter_config": {NAME: fault(**fields)}}


OFF: Final = {NAME: {"@type": f"{TYPE}envoy.config.route.v3.FilterConfig", "disabled": True}}
WEIGHTED: Final = {
    "match": {"prefix": "/weighted"},
    "route": {
        "weighted_clusters": {
            "clusters": [
                {"name": "origin", "weight": 1, "typed_per_filter_config": {NAME: fault(abort=abort(418))}},
                {"name": "origin", "weight": 0},
            ]
        }
    },
}
ROUTES: Final = [
    with_fault(route(prefix="/teapot"), abort=abort(418), filter_metadata={"why": "tea"}),
    with_fault(route(prefix="/none")),
    {**route(prefix="/off"), "typed_per_filter_config": OFF},
    WEIGHTED,
    with_fault(route(prefix="/both"), delay=delay(), abort=abort(429)),
    with_fault(route(prefix="/quick", timeout="0.3s"), delay=delay(400)),
    with_fault(route(prefix="/direct"), abort=abort(418))
    | {"direct_response": {"status": 204}, "route": None},
    route(prefix="/timeout", timeout="0.2s"),
    route(cluster="other", prefix="/other"),
    route(prefix="/"),
]
for _one in ROUTES:
    if _one.get("route", 0) is None:
        del _one["route"]
BY_HEADER: Final = {
    "delay": {"header_delay": {}, "percentage": ALL},
    "abort": {"header_abort": {}, "percentage": ALL},
    "response_rate_limit": {"header_limit": {}, "percentage": ALL},
}
MANAGERS: Final[dict[str, Json]] = {
    "idle": manager(),
    "delay": manager(delay=delay()),
    "abort": manager(abort=abort(), filter_metadata={"a": 1}),
    "grpc": manager(abort={"grpc_status": 5, "percentage": ALL}),
    "never": manager(delay=delay(percentage=NONE), abort=abort(percentage=NONE)),
    "header": manager(**BY_HEADER),
    "rate": manager(response_rate_limit={"fixed_limit": {"limit_kbps": 100}, "percentage": ALL}),
    "cluster": manager(abort=abort(), upstream_cluster="other"),
    "nodes": manager(abort=abort(), downstream_nodes=["one", "two"]),
    "matching": manager(
        abort=abort(), headers=[{"name": "x-f", "string_match": {"exact": "1"}}, {"name": "x-g"}]
    ),
    "limited": manager(delay=delay(), abort=abort(), max_active_faults=0),
    "keys": manager(
        delay=delay(percentage=NONE),
        abort=abort(percentage=NONE),
        delay_percent_runtime="my.delay",
        delay_duration_runtime="my.duration",
        abort_percent_runtime="my.abort",
        abort_http_status_runtime="my.status",
    ),
    "quiet": manager(delay=delay(), abort=abort(), disable_downstream_cluster_stats=True),
    "half": manager(abort=abort(418, {"numerator": 50})),
    "tenth": manager(
        delay=delay(1, {"numerator": 1000, "denominator": "TEN_THOUSAND"}),
        abort=abort(418, {"numerator": 100_000, "denominator": "MILLION"}),
    ),
    "runtime": manager(abort=abort(418, NONE), abort_percent_runtime="my.part"),
    "asked": manager(abort={"header_abort": {}, "percentage": {"numerator": 50}}),
    "one": manager(delay={"header_delay": {}, "percentage": ALL}, max_active_faults=1),
    "mapped": {
        **manager(abort=abort()),
        "local_reply_config": {"body_format": {"text_format": "%LOCAL_REPLY_BODY% %RESPONSE_FLAGS%"}},
    },
}
RUNTIME: Final = {
    "my.part": 25,
    "my.delay": 100,
    "my.duration": 50,
    "my.abort": 100,
    "my.status": 507,
    "fault.http.caller.abort.abort_percent": 100,
    "fault.http.caller.abort.http_status": 555,
    "fault.http.caller.delay.fixed_delay_percent": 0,
}

pair = managers_fixture(
    MANAGERS,
    routes=ROUTES,
    clusters=[cluster(), cluster("other")],
    origins=("origin", "other"),
    log=LOG,
    layered_runtime={"layers": [{"name": "static", "static_layer": RUNTIME}]},
)
GRPC: Final = get("/a.B/C", "content-type: application/grpc", "te: trailers", method="POST")
CASES: Final = {
    "idle": [get()],
    "delay": [get(), post("/", b"body")],
    "abort": [get(), post("/", b"body"), GRPC, get(method="HEAD")],
    "grpc": [get(), GRPC],
    "never": [get(), get("/", "x-envoy-downstream-service-cluster: caller")],
    "header": [
        get(),
        get("/", "x-envoy-fault-delay-request: 30"),
        get("/", "x-envoy-fault-delay-request: -3", "x-envoy-fault-abort-request: 199"),
        get("/", "x-envoy-fault-delay-request: x", "x-envoy-fault-abort-request: 599"),
        get("/", "x-envoy-fault-abort-request: 404", "x-envoy-fault-abort-grpc-request: 3"),
        get("/", "x-envoy-fault-abort-grpc-request: 3"),
        get("/", "x-envoy-fault-abort-grpc-request: 3", "content-type: application/grpc"),
        get("/", "x-envoy-fault-abort-request: 404", "x-envoy-fault-abort-request: 405"),
        get("/", "x-envoy-fault-abort-request: 404", "x-envoy-fault-abort-request-percentage: 0"),
        get("/", "x-envoy-fault-abort-request: 404", "x-envoy-fault-abort-request-percentage: 900"),
        get("/", "x-envoy-fault-abort-request: 404", "x-envoy-fault-abort-request-percentage: -1"),
        get("/", "x-envoy-fault-delay-request: 30", "x-envoy-fault-delay-request-percentage: 0"),
        get("/", "x-envoy-fault-throughput-response: 0"),
        get("/", "x-envoy-fault-throughput-response: 10"),
        get("/", "x-envoy-fault-throughput-response: 5", "x-envoy-fault-throughput-response-percentage: 0"),
        get("/", "x-envoy-fault-throughput-response: 9", "x-envoy-fault-abort-request: 400"),
    ],
    "rate": [get(), post("/", b"body")],
    "cluster": [get(), get("/other")],
    "nodes": [
        get(),
        get("/", "x-envoy-downstream-service-node: one"),
        get("/", "x-envoy-downstream-service-node: three"),
    ],
    "matching": [get("/", "x-f: 1"), get("/", "x-f: 1", "x-g: 2"), get("/", "x-f: 2", "x-g: 2")],
    "limited": [get()],
    "keys": [get(), get("/", "x-envoy-downstream-service-cluster: other")],
    "quiet": [get("/", "x-envoy-downstream-service-cluster: caller")],
    "mapped": [get()],
}
BY_ROUTE: Final = ("/teapot", "/none", "/off", "/weighted", "/both", "/quick", "/direct", "/nowhere")


@pytest.mark.parametrize("name", CASES)
def test_faults_of_the_filter(pair: Pair, name: str) -> None:
    with pair.same_stats(f"http.{name}.fault.", f"http.{name}.downstream_rq_"):
        same_everywhere(pair, [(name, request, HELLO) for request in CASES[name]])


@pytest.mark.parametrize("name", ["idle", "abort", "delay"])
def test_faults_of_routes(pair: Pair, name: str) -> None:
    cases: list[Case] = [(name, get(path), HELLO) for path in BY_ROUTE]
    with pair.same_stats(f"http.{name}.fault."):
        same_everywhere(pair, cases)


def test_a_caller_is_counted_and_has_keys_of_its_own(pair: Pair) -> None:
    field = "x-envoy-downstream-service-cluster: "
    with pair.same_stats("http.delay.fault.", "http.abort.fault."):
        same_everywhere(
            pair,
            [
                (name, get("/", field + caller), HELLO)
                for name in ("delay", "abort")
                for caller in ("caller", "somebody", "")
            ],
        )


def test_a_delay_does_not_count_against_the_timeout_of_the_route(pair: Pair) -> None:
    slow = get("/timeout", "x-envoy-fault-delay-request: 400")
    outcomes = same_everywhere(pair, [("header", slow, HELLO)])
    assert outcomes[0].status == 200


def test_a_client_that_leaves_during_a_delay_frees_its_place(pair: Pair) -> None:
    request = get("/", "x-envoy-fault-delay-request: 60000")

    def leave(side: Any) -> int:
        with socket.create_connection(("127.0.0.1", side.proxy.ports["header"]), timeout=10) as client:
            client.sendall(request)
            _wait_for(side, 1)
        _wait_for(side, 0)
        return 0

    pair.same_value("active faults", leave, settle=0)


def _wait_for(side: Any, active: int, name: str = "header") -> None:
    end = time.monotonic() + 10
    while side.proxy.stats().get(f"http.{name}.fault.active_faults") != active:
        assert time.monotonic() < end
        time.sleep(0.02)


#: Manager → the requests that are sent, and the share of them that is aborted.
SHARES: Final = {
    "half": (get(), 0.5),
    "tenth": (get(), 0.1),
    "runtime": (get(), 0.25),
    "asked": (get("/", "x-envoy-fault-abort-request: 418"), 0.5),
    "asked less": (
        get("/", "x-envoy-fault-abort-request: 418", "x-envoy-fault-abort-request-percentage: 20"),
        0.2,
    ),
}
REQUESTS: Final = 300


@pytest.mark.parametrize("title", SHARES)
def test_a_part_of_the_requests_is_at_fault(pair: Pair, title: str) -> None:
    request, share = SHARES[title]
    name = title.split(maxsplit=1)[0]

    def run(side: Side) -> tuple[int, int]:
        before = faults(side, name)
        side.origins["origin"].script(HELLO)
        with Client(side.proxy.ports[name], timeout=30.0) as client:
            statuses = [client.request(request).status for _ in range(REQUESTS)]
        assert {*statuses} == {200, 418}
        return statuses.count(418), faults(side, name) - before

    deviation = (share * (1 - share) * REQUESTS) ** 0.5
    for aborted, counted in pair.both(run):
        assert aborted == counted
        assert abs(aborted - share * REQUESTS) < 5 * deviation


def faults(side: Side, name: str) -> int:
    return side.proxy.stats(f"http.{name}.fault.").get(f"http.{name}.fault.aborts_injected", 0)


def test_no_more_faults_at_once_than_may_be(pair: Pair) -> None:
    slow = get("/", "x-envoy-fault-delay-request: 60000")

    def run(side: Side) -> tuple[int, dict[str, int]]:
        side.origins["origin"].script(HELLO)
        port = side.proxy.ports["one"]
        with socket.create_connection(("127.0.0.1", port), timeout=10) as held:
            held.sendall(slow)
            _wait_for(side, 1, "one")
            status = exchange(port, slow).status
            stats = side.proxy.stats("http.one.fault.")
        _wait_for(side, 0, "one")
        return status, stats

    status, stats = pair.same_value("while one is held", run, settle=0)
    assert status == 200
    assert stats["http.one.fault.faults_overflow"] == 1


def test_a_limited_response_takes_its_time(pair: Pair) -> None:
    # 100 KiB/s, of which the first sixteenth of a second is there at once.
    body = b"x" * 30_000
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body

    def run(side: Side) -> tuple[bool, bytes, int]:
        side.origins["origin"].script(answer)
        started = time.monotonic()
        reply = exchange(side.proxy.ports["rate"], get(), timeout=10.0)
        return time.monotonic() - started > 0.2, reply.response.body, reply.status

    with pair.same_stats("http.rate.fault."):
        assert pair.same_value("a slow body", run, settle=0) == (True, body, 200)
