"""Retries beside Envoy: which responses and failures are tried again, how often, and what counts and log say."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.configs import cluster, file_log, http_proxy, route, virtual_host
from tests.support.differential import Pair, pair_fixture
from tests.support.origin import Answer
from tests.support.stories import TRUST

FAST = {"base_interval": "0.001s", "max_interval": "0.002s"}
LOG = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%"


def policy(on: str, **fields: Any) -> dict[str, Any]:
    return {"retry_on": on, "retry_back_off": FAST, **fields}


#: Host name → retry policy.
POLICIES: dict[str, dict[str, Any]] = {
    "5xx": policy("5xx"),
    "5xx-thrice": policy("5xx", num_retries=3),
    "gateway": policy("gateway-error", num_retries=2),
    "4xx": policy("retriable-4xx"),
    "codes": policy("retriable-status-codes", retriable_status_codes=[404, 418]),
    "headers": policy("retriable-headers", retriable_headers=[{"name": "x-again", "present_match": True}]),
    "reset": policy("reset"),
    "connect": policy("connect-failure"),
    "none": policy(""),
    "limited": policy("envoy-ratelimited"),
    "grpc": policy("unavailable,cancelled"),
    "try-timeout": policy("5xx", per_try_timeout="0.3s"),
    "no-retries": policy("5xx", num_retries=0),
    "reset-wait": policy(
        "retriable-status-codes",
        retriable_status_codes=[429],
        rate_limited_retry_back_off={"reset_headers": [{"name": "retry-after", "format": "SECONDS"}]},
    ),
}


#: Cluster and host name → thresholds.
BUDGETS: dict[str, dict[str, Any]] = {
    "budget-least": {"retry_budget": {"budget_percent": {"value": 0}, "min_retry_concurrency": 1}},
    "budget-none": {"retry_budget": {"budget_percent": {"value": 0}, "min_retry_concurrency": 0}},
    "budget-all": {"retry_budget": {"budget_percent": {"value": 100}, "min_retry_concurrency": 0}},
    "budget-some": {"retry_budget": {}},
    "budget-runtime": {},
    "budget-changed": {"retry_budget": {"min_retry_concurrency": 0}},
}
RUNTIME = {
    "circuit_breakers.budget-runtime.default.retry_budget.min_retry_concurrency": 0,
    "circuit_breakers.budget-changed.default.retry_budget.budget_percent": 100,
}


def config() -> dict[str, Any]:
    hosts = [
        virtual_host(
            [route(retry_policy=one)],
            [f"{name}.test"],
            include_request_attempt_count=True,
            include_attempt_count_in_response=True,
        )
        for name, one in POLICIES.items()
    ]
    hosts.append(virtual_host([route()], ["*"]))
    hosts += [virtual_host([route(name, retry_policy=policy("5xx"))], [f"{name}.test"]) for name in BUDGETS]
    dead = cluster("dead", "{{dead_port}}")
    hosts.append(virtual_host([route("dead", retry_policy=policy("connect-failure"))], ["dead.test"]))
    budgets = [
        cluster(
            name,
            "{{origin_port}}",
            circuit_breakers={"thresholds": [{"max_retries": 7, "track_remaining": True, **budget}]},
        )
        for name, budget in BUDGETS.items()
    ]
    return http_proxy(
        virtual_hosts=hosts,
        clusters=[cluster(), dead, *budgets],
        hcm={"access_log": [file_log(LOG)], **TRUST},
        layered_runtime={"layers": [{"name": "static", "static_layer": RUNTIME}]},
    )


pair = pair_fixture(config(), values={"dead_port": 1})


def reply(status: int, fields: str = "", body: str = "x") -> bytes:
    return f"HTTP/1.1 {status} Some\r\ncontent-length: {len(body)}\r\n{fields}\r\n{body}".encode()


OK = reply(200)
BAD = reply(503)
RESET = Answer(b"", end="reset")
CLOSED = Answer(b"", end="close")


def flags_in_order(line: str) -> str:
    """Envoy names flags in the order in which they came to it, and we in that of their numbers."""
    code, flags, rest = line.split(" ", 2)
    return f"{code} {','.join(sorted(flags.split(',')))} {rest}"


def request(host: str, fields: str = "", method: str = "GET", body: str = "") -> bytes:
    length = f"content-length: {len(body)}\r\n" if body else ""
    return f"{method} / HTTP/1.1\r\nHost: {host}.test\r\n{length}{fields}\r\n{body}".encode()


CASES: dict[str, tuple[bytes, list[Any]]] = {
    "a bad answer, then a good one": (request("5xx"), [BAD, OK]),
    "one bad answer too many": (request("5xx"), [BAD, BAD]),
    "three retries": (request("5xx-thrice"), [BAD, reply(500), reply(599), OK]),
    "what is not asked for": (request("gateway"), [reply(500), OK]),
    "a gateway error": (request("gateway"), [reply(502), reply(504), OK]),
    "a conflict": (request("4xx"), [reply(409), OK]),
    "another 4xx": (request("4xx"), [reply(404), OK]),
    "codes of the policy": (request("codes"), [reply(418), OK]),
    "codes of the request": (
        request("codes", "x-envoy-retriable-status-codes: 410,411\r\n"),
        [reply(411), OK],
    ),
    "a field of the response": (request("headers"), [reply(200, "x-again: 1\r\n"), OK]),
    "a field that is not there": (request("headers"), [reply(500), OK]),
    "a reset": (request("reset"), [RESET, OK]),
    "a close before the answer": (request("reset"), [CLOSED, OK]),
    "a reset where only 5xx are named": (request("5xx"), [RESET, OK]),
    "a reset that is not asked for": (request("4xx", method="POST", body="hello"), [RESET, OK]),
    "a limited rate": (request("limited"), [reply(429, "x-envoy-ratelimited: true\r\n"), OK]),
    "a limited rate that is not asked for": (request("5xx"), [reply(503, "x-envoy-ratelimited: 1\r\n"), OK]),
    "the request's own policy": (request("none", "x-envoy-retry-on: 5xx\r\n"), [BAD, OK]),
    "the request's own number": (
        request("5xx", "x-envoy-max-retries: 2\r\n"),
        [BAD, BAD, OK],
    ),
    "a request on a route without a policy": (
        request("any", "x-envoy-retry-on: gateway-error\r\nx-envoy-max-retries: 2\r\n"),
        [BAD, BAD, OK],
    ),
    "conditions that nobody knows": (request("none", "x-envoy-retry-on: what,ever\r\n"), [BAD, OK]),
    "a body is sent again": (request("5xx", method="POST", body="hello"), [BAD, OK]),
    "no retries": (request("no-retries"), [BAD, OK]),
    "a gRPC status": (
        request("grpc", "content-type: application/grpc\r\n", "POST", "12345"),
        [reply(200, "content-type: application/grpc\r\ngrpc-status: 14\r\n", ""), OK],
    ),
    "another gRPC status": (
        request("grpc", "content-type: application/grpc\r\n", "POST", "12345"),
        [reply(200, "content-type: application/grpc\r\ngrpc-status: 5\r\n", ""), OK],
    ),
    "gRPC conditions of the request": (
        request("none", "x-envoy-retry-grpc-on: not-this,internal\r\n", "POST", "12345"),
        [reply(200, "content-type: application/grpc\r\ngrpc-status: 13\r\n", ""), OK],
    ),
    "a host that nobody reaches": (request("dead"), [OK]),
}


@pytest.mark.parametrize("case", CASES)
def test_retries(pair: Pair, case: str) -> None:
    sent, answers = CASES[case]
    names = [f"cluster.{one}.{name}" for one in ("origin", "dead") for name in COUNTERS]
    with pair.same_stats(*names):
        pair.same(sent, answers, ignore=LEFT)
    pair.same_log(mask=flags_in_order)


#: What is left for the tries after the first depends on the clock.
LEFT = [f"upstream[{number}].field.x-envoy-expected-rq-timeout-ms" for number in range(1, 4)]
COUNTERS = (
    "upstream_rq_total",
    "upstream_rq_retry",
    "upstream_rq_retry_success",
    "upstream_rq_retry_limit_exceeded",
    "upstream_rq_retry_overflow",
    "upstream_rq_retry_backoff_exponential",
    "upstream_rq_retry_backoff_ratelimited",
    "upstream_rq_per_try_timeout",
    "upstream_rq_200",
    "upstream_rq_503",
    "upstream_rq_5xx",
    "upstream_rq_completed",
    "retry.upstream_rq_503",
    "retry.upstream_rq_5xx",
    "retry.upstream_rq_completed",
    "circuit_breakers.default.rq_retry_open",
)


def test_a_try_that_takes_too_long_is_tried_again(pair: Pair) -> None:
    with pair.same_stats(*(f"cluster.origin.{name}" for name in COUNTERS)):
        pair.same(request("try-timeout"), [Answer(OK, delay=1.5), OK], ignore=LEFT)
    pair.same_log(mask=flags_in_order)


def test_tries_that_take_too_long_end_the_request(pair: Pair) -> None:
    with pair.same_stats(*(f"cluster.origin.{name}" for name in COUNTERS)):
        pair.same(request("try-timeout"), [Answer(OK, delay=1.5), Answer(OK, delay=1.5)], ignore=LEFT)
    pair.same_log(mask=flags_in_order)


def test_a_response_may_say_when_to_come_again(pair: Pair) -> None:
    with pair.same_stats(*(f"cluster.origin.{name}" for name in COUNTERS)):
        pair.same(request("reset-wait"), [reply(429, "retry-after: 1\r\n"), OK], ignore=LEFT)
    pair.same_log(mask=flags_in_order)


def test_a_body_beyond_the_limit_is_not_kept(pair: Pair) -> None:
    body = "x" * (3 << 20)
    with pair.same_stats("cluster.origin.retry_or_shadow_abandoned", "cluster.origin.upstream_rq_retry"):
        pair.same(request("5xx", method="POST", body=body), [BAD, OK], ignore=LEFT)


@pytest.mark.parametrize("name", BUDGETS)
@pytest.mark.parametrize("answer", [BAD, RESET], ids=["answer", "reset"])
def test_retries_within_a_budget(pair: Pair, name: str, answer: Any) -> None:
    with pair.same_stats(*(f"cluster.{name}.{one}" for one in COUNTERS)):
        pair.same(request(name, method="POST", body="hello"), [answer, OK], ignore=LEFT)
    pair.same_log(mask=flags_in_order)


def test_the_gauges_of_a_budget(pair: Pair) -> None:
    def read(side: Any) -> dict[str, int]:
        return {
            one: value
            for one, value in side.proxy.stats("cluster.budget").items()
            if one.endswith(("remaining_retries", "rq_retry_open"))
        }

    pair.same_value("gauges", read)
