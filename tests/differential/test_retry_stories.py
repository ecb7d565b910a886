"""Retries beside Envoy, condition by condition, field by field: tries, replies, numbers, log."""

from __future__ import annotations

import time
from typing import Any, Final

import pytest

from tests.support.client import exchange
from tests.support.configs import Json, address, route
from tests.support.differential import Pair, Side
from tests.support.origin import Answer
from tests.support.stories import Stories, Story, flags_in_order

FAST: Final = {"base_interval": "0.001s", "max_interval": "0.001s"}
COUNTS: Final = {
    "include_request_attempt_count": True,
    "include_attempt_count_in_response": True,
    "include_is_timeout_retry_header": True,
}
GRPC: Final = "content-type: application/grpc\r\nte: trailers\r\n"


def policy(on: str = "5xx", retries: int = 1, **fields: Any) -> Json:
    return {"retry_on": on, "num_retries": retries, "retry_back_off": FAST, **fields}


def reply(status: int, fields: str = "", body: str = "x") -> bytes:
    return f"HTTP/1.1 {status} Some\r\ncontent-length: {len(body)}\r\n{fields}\r\n{body}".encode()


def request(fields: str = "", method: str = "GET", body: str = "") -> bytes:
    length = f"content-length: {len(body)}\r\n" if body else ""
    return f"{method} / HTTP/1.1\r\nHost: story.test\r\n{length}{fields}\r\n{body}".encode()


OK: Final = reply(200, body="good")
BAD: Final = reply(503, body="bad")
RESET: Final = Answer(b"", end="reset")
LATE: Final = Answer(OK, delay=2.5)


def story(
    retry: Json | None,
    answers: Any,
    send: Any = None,
    *,
    action: Json | None = None,
    top: Json | None = None,
    host: Json | None = None,
    cluster: Json | None = None,
) -> Story:
    fields = dict(action or {})
    if retry is not None:
        fields["retry_policy"] = retry
    return Story(
        request() if send is None else send,
        answers,
        [{**route("{cluster}", **fields), **(top or {})}],
        {**COUNTS, **(host or {})},
        cluster or {},
    )


def grpc(number: int) -> bytes:
    return reply(200, f"content-type: application/grpc\r\ngrpc-status: {number}\r\n", "")


def nobody_there() -> Json:
    """A cluster whose only host nobody reaches."""
    return {
        "load_assignment": {
            "cluster_name": "any",
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": address("{{dead_port}}")}}]},
            ],
        }
    }


BY_CODES: Final = policy("retriable-status-codes", retriable_status_codes=[429, 425])
RESETS: Final = {
    "reset_headers": [
        {"name": "Retry-After", "format": "SECONDS"},
        {"name": "X-Reset", "format": "UNIX_TIMESTAMP"},
    ],
    "max_interval": "2s",
}
LIMITED: Final = {**BY_CODES, "rate_limited_retry_back_off": RESETS}
WAIT: Final = reply(429, "retry-after: 1\r\n")
BIG: Final = "x" * 2000
PER_TRY: Final = policy(per_try_timeout="0.4s")
IDLE: Final = policy(per_try_idle_timeout="0.4s")

STORIES: Final[dict[str, Story]] = {
    # Conditions of failures.
    "reset-before-request, after it": story(policy("reset-before-request"), [RESET, OK]),
    "reset-before-request, nobody there": story(policy("reset-before-request"), [OK], cluster=nobody_there()),
    "reset, nobody there": story(policy("reset", 2), [OK], cluster=nobody_there()),
    "connect-failure, nobody there": story(policy("connect-failure"), [OK], cluster=nobody_there()),
    "refused-stream, nobody there": story(policy("refused-stream"), [OK], cluster=nobody_there()),
    "retriable-4xx, nobody there": story(policy("retriable-4xx"), [OK], cluster=nobody_there()),
    "gateway-error, a reset": story(policy("gateway-error"), [RESET, OK]),
    "gateway-error, garbage": story(policy("gateway-error"), [Answer(b"what\r\n\r\n", end="close"), OK]),
    "connect-failure, a reset": story(policy("connect-failure"), [RESET, OK], request(method="POST")),
    "retriable-4xx, then a reset": story(
        policy("retriable-4xx", 3), [reply(409), RESET, OK], request(method="POST")
    ),
    "a reset, then a bad answer, then a good one": story(policy(retries=3), [RESET, BAD, OK]),
    "names with spaces and capitals": story(policy(" reset , 5XX,connect-failure"), [BAD, OK]),
    "cut in the middle of the answer": story(policy("reset,5xx"), [Answer(OK[:-2], end="close"), OK]),
    "an interim answer, then a reset": story(
        policy("reset"), [Answer(b"HTTP/1.1 103 Early\r\nlink: </a>\r\n\r\n", end="close"), OK]
    ),
    "an interim answer, then a bad one": story(
        policy("5xx"), [Answer([b"HTTP/1.1 103 Early\r\nlink: </a>\r\n\r\n", BAD]), OK]
    ),
    "a bad answer, then an interim one": story(
        policy("5xx", 3), [BAD, Answer([b"HTTP/1.1 103 Early\r\nlink: </a>\r\n\r\n", BAD]), OK]
    ),
    # Conditions of gRPC, of the route and of the request.
    **{
        f"{name} ({number})": story(policy(name), [grpc(number), OK], request(GRPC, "POST", "12345"))
        for name, number in (
            ("cancelled", 1),
            ("deadline-exceeded", 4),
            ("resource-exhausted", 8),
            ("internal", 13),
            ("unavailable", 14),
            ("unavailable", 2),
        )
    },
    "gRPC conditions where none is met": story(
        policy("cancelled"), [BAD, OK], request(GRPC, "POST", "12345")
    ),
    "retry-grpc-on of the request": story(
        None,
        [grpc(8), grpc(1), OK],
        request(
            GRPC + "x-envoy-retry-grpc-on: cancelled, resource-exhausted\r\nx-envoy-max-retries: 2\r\n",
            "POST",
            "1",
        ),
    ),
    "HTTP conditions in retry-grpc-on": story(None, [BAD, OK], request("x-envoy-retry-grpc-on: 5xx\r\n")),
    "gRPC conditions in retry-on": story(
        None, [grpc(14), OK], request(GRPC + "x-envoy-retry-on: unavailable\r\n", "POST", "1")
    ),
    "a gRPC status where the request is none": story(policy("unavailable"), [grpc(14), OK]),
    # Responses that are retriable.
    "a field that fits": story(
        policy("retriable-headers", retriable_headers=[{"name": "x-a", "string_match": {"prefix": "no"}}]),
        [reply(200, "X-A: not yet\r\n"), OK],
    ),
    "a field that does not fit": story(
        policy("retriable-headers", retriable_headers=[{"name": "x-a", "string_match": {"prefix": "no"}}]),
        [reply(200, "x-a: yes\r\n"), OK],
    ),
    "a field without the condition": story(
        policy("reset", retriable_headers=[{"name": "x-a", "present_match": True}]),
        [reply(200, "x-a: 1\r\n")],
    ),
    "names of fields in the request": story(
        policy("retriable-headers"),
        [reply(200, "x-b: 1\r\n"), OK],
        request("x-envoy-retriable-header-names: X-A , X-B\r\n"),
    ),
    "names of fields without the condition": story(
        policy("5xx"), [reply(200, "x-b: 1\r\n"), OK], request("x-envoy-retriable-header-names: x-b\r\n")
    ),
    "codes of the request, some no numbers": story(
        policy("retriable-status-codes"),
        [reply(404), OK],
        request("x-envoy-retriable-status-codes: none, 404 ,-1\r\n"),
    ),
    "codes without the condition": story(
        policy("5xx"), [reply(404), OK], request("x-envoy-retriable-status-codes: 404\r\n")
    ),
    "too early": story(BY_CODES, [reply(425), OK]),
    "too early, sent as early data": story(BY_CODES, [reply(425), OK], request("early-data: 1\r\n")),
    "x-envoy-ratelimited, not asked for": story(
        policy("5xx,retriable-status-codes", retriable_status_codes=[429]),
        [reply(429, "x-envoy-ratelimited: true\r\n"), OK],
    ),
    "x-envoy-ratelimited of any status": story(
        policy("envoy-ratelimited"), [reply(200, "x-envoy-ratelimited: true\r\n"), OK]
    ),
    # For some requests only.
    "a request that may": story(
        policy(retriable_request_headers=[{"name": ":method", "string_match": {"exact": "GET"}}]), [BAD, OK]
    ),
    "a request that may not": story(
        policy(retriable_request_headers=[{"name": ":method", "string_match": {"exact": "GET"}}]),
        [BAD, OK],
        request("x-envoy-retry-on: 5xx\r\nx-envoy-max-retries: 3\r\n", "POST", "body"),
    ),
    # Numbers of retries.
    "no retries, says the request": story(
        policy(retries=3), [BAD, OK], request("x-envoy-max-retries: 0\r\n")
    ),
    "a number that is none": story(
        policy(retries=2), [BAD, BAD, OK], request("x-envoy-max-retries: many\r\n")
    ),
    "a number without a condition": story(None, [BAD, OK], request("x-envoy-max-retries: 3\r\n")),
    "one retry, where nobody says how many": story(
        {"retry_on": "5xx", "retry_back_off": FAST}, [BAD, BAD, OK]
    ),
    # Of the virtual host.
    "the policy of the virtual host": story(None, [BAD, OK], host={"retry_policy": policy()}),
    "the route's empty policy comes first": story({}, [BAD, OK], host={"retry_policy": policy()}),
    "the route's policy comes first": story(policy("reset"), [BAD, OK], host={"retry_policy": policy()}),
    # Back-off as the response says.
    "seconds": story(LIMITED, [WAIT, OK]),
    "a moment": story(LIMITED, lambda seen, _: _moment(seen, 2)),
    "a moment that has passed": story(LIMITED, lambda seen, _: _moment(seen, -5)),
    "seconds beyond the limit": story(LIMITED, [reply(429, "retry-after: 3\r\n"), OK]),
    "the first beyond the limit, the second within": story(LIMITED, lambda seen, _: _moment(seen, 2, "9")),
    "no seconds at all": story(LIMITED, [reply(429, "retry-after: 0\r\n"), OK]),
    "seconds that are none": story(LIMITED, [reply(429, "retry-after: soon\r\n"), OK]),
    "seconds of a reset": story(
        {**policy("reset"), "rate_limited_retry_back_off": RESETS}, [RESET, OK], request(method="POST")
    ),
    # Limits of tries.
    "the limit of a try, from the request": story(
        policy(), [LATE, OK], request("x-envoy-upstream-rq-per-try-timeout-ms: 400\r\n")
    ),
    "a limit of a try over that of the request": story(
        policy(per_try_timeout="2s"), [LATE, OK], action={"timeout": "0.8s"}
    ),
    "a limit of a try where the request has none": story(PER_TRY, [LATE, OK], action={"timeout": "0s"}),
    "two tries too slow": story(PER_TRY, [LATE, LATE, OK]),
    "a try too slow, then a bad answer": story({**PER_TRY, "num_retries": 3}, [LATE, BAD, OK]),
    "a try too slow that may not be repeated": story({**PER_TRY, "retry_on": "retriable-4xx"}, [LATE, OK]),
    "a try too slow without a condition": story({"per_try_timeout": "0.4s"}, [LATE, OK]),
    "a slow try of gRPC": story(PER_TRY, [LATE, LATE], request(GRPC, "POST", "1")),
    "nothing comes": story(IDLE, [LATE, OK]),
    "nothing more comes": story(IDLE, [Answer([OK[:-2], OK[-2:]], pause=2.0), OK]),
    "it comes slowly": story(IDLE, [Answer([OK[:-3], OK[-3:-2], OK[-2:]], pause=0.2), OK]),
    "no answer in time": story(policy(), [LATE], action={"timeout": "0.4s"}),
    "no answer in time, and 204 is wanted": story(
        policy(),
        [LATE],
        request("x-envoy-upstream-rq-timeout-alt-response: 1\r\nx-envoy-upstream-rq-timeout-ms: 400\r\n"),
    ),
    "no try in time, and 204 is wanted": story(
        PER_TRY, [LATE, LATE], request("x-envoy-upstream-rq-timeout-alt-response: anything\r\n")
    ),
    "204 is wanted without any retries": story(
        None, [LATE], request("x-envoy-upstream-rq-timeout-alt-response: 1\r\n"), action={"timeout": "0.4s"}
    ),
    "the time is up between two tries": story(LIMITED, [WAIT, OK], action={"timeout": "0.5s"}),
    "the time is up in the second try": story(policy(), [BAD, LATE], action={"timeout": "0.5s"}),
    "grpc-timeout for a try": story(
        {**PER_TRY, "num_retries": 2},
        [grpc(0), OK],
        request(GRPC + "grpc-timeout: 5S\r\n", "POST", "1"),
        action={"max_grpc_timeout": "10s"},
    ),
    # Bodies.
    "a body within the limit of the route": story(
        policy(), [BAD, OK], request(method="POST", body=BIG), top={"per_request_buffer_limit_bytes": 2000}
    ),
    "a body beyond the limit of the route": story(
        policy(), [BAD, OK], request(method="POST", body=BIG), top={"per_request_buffer_limit_bytes": 1999}
    ),
    "a body beyond the limit of the virtual host": story(
        policy(), [BAD, OK], request(method="POST", body=BIG), host={"per_request_buffer_limit_bytes": 1999}
    ),
    "a body within the route's limit, beyond the host's": story(
        policy(),
        [BAD, OK],
        request(method="POST", body=BIG),
        host={"request_body_buffer_limit": 10},
        top={"request_body_buffer_limit": 4000},
    ),
    "a body beyond the newer limit": story(
        policy(), [BAD, OK], request(method="POST", body=BIG), top={"request_body_buffer_limit": 1000}
    ),
    "a body beyond the limit, between two tries": story(
        LIMITED,
        lambda _, connection: WAIT,
        [request("content-length: 2000\r\n", "POST") + b"x" * 500, b"y" * 700, b"z" * 800],
        top={"per_request_buffer_limit_bytes": 1000},
    ),
    "a chunked body with trailers": story(
        policy(),
        [BAD, OK],
        request("transfer-encoding: chunked\r\ntrailer: x-t\r\n", "POST")
        + b"5\r\nhello\r\n0\r\nx-t: 1\r\n\r\n",
    ),
    # The numbers of tries.
    "attempts without a policy": story(None, [BAD, OK]),
    "attempts in our own answer": story(policy(retries=2), [RESET], request(method="POST")),
}


def _moment(seen: Any, later: int, seconds: str = "no") -> bytes:
    """The first answer names a moment `later` seconds from now, or those of `seconds` first."""
    if seen.get("x-envoy-attempt-count") != "1":
        return OK
    return reply(429, f"x-reset: {int(time.time()) + later}\r\nretry-after: {seconds}\r\n")


COUNTERS: Final = (
    "upstream_rq_total",
    "upstream_rq_retry",
    "upstream_rq_per_try",
    "upstream_rq_timeout",
    "upstream_rq_rx_reset",
    "upstream_rq_tx_reset",
    "upstream_rq_active",
    "upstream_rq_2",
    "upstream_rq_4",
    "upstream_rq_5",
    "upstream_rq_completed",
    "upstream_rq_max_duration",
    "retry",
    "circuit_breakers.default.rq_retry_open",
)


stories = Stories(
    STORIES,
    counters=COUNTERS,
    log="%REQ(:AUTHORITY)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    "%UPSTREAM_REQUEST_ATTEMPT_COUNT% %BYTES_SENT% %BYTES_RECEIVED%",
    mask=flags_in_order,
    layered_runtime={"layers": [{"name": "admin", "admin_layer": {}}]},
)
pair, told = stories.pair, stories.told


@pytest.mark.parametrize("title", STORIES)
def test_retries(pair: Pair, told: Any, title: str) -> None:
    one = stories.same(pair, told, title)
    if title.startswith("no answer in time, and 204"):
        assert one.reply.status == 204  # else the fields of the request were not heard at all


def test_the_runtime_may_forbid_retries(pair: Pair, told: Any) -> None:
    del told

    def once(side: Side) -> tuple[int, int]:
        reset = f"GET / HTTP/1.1\r\nhost: {NAMED}.test\r\n\r\n".encode()
        side.origins[NAMED].script([BAD, OK])
        return exchange(side.proxy.port, reset).status, len(side.origins[NAMED].requests)

    for value, found in (("0", (503, 1)), ("100", (200, 2))):
        pair.both(lambda side, value=value: side.proxy.admin(f"/runtime_modify?{KEY}={value}", method="POST"))
        assert pair.same_value(f"with {value}", once, settle=0) == found


KEY: Final = "upstream.use_retry"
NAMED: Final = stories.name("a request that may")
