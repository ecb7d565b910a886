"""Hedging beside Envoy: a slow try goes on while another is made, and the first good answer wins."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.support.configs import Json, route
from tests.support.differential import Pair
from tests.support.origin import Answer
from tests.support.stories import HOST, Stories, Story, flags_in_order

FAST: Final = {"base_interval": "0.001s", "max_interval": "0.001s"}
LOG: Final = (
    "%REQ(:AUTHORITY)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    "%UPSTREAM_REQUEST_ATTEMPT_COUNT% %BYTES_SENT%"
)
HEDGE: Final = {"hedge_on_per_try_timeout": True}


def policy(on: str = "5xx", retries: int = 1, **fields: Any) -> Json:
    return {
        "retry_on": on,
        "num_retries": retries,
        "retry_back_off": FAST,
        "per_try_timeout": "0.4s",
        **fields,
    }


#: Host name → more of the route.
ROUTES: Final[dict[str, Json]] = {
    "once": {"retry_policy": policy(), "hedge_policy": HEDGE},
    "thrice": {"retry_policy": policy(retries=3), "hedge_policy": HEDGE},
    "timed": {"retry_policy": policy(retries=2), "hedge_policy": HEDGE, "timeout": "2s"},
    "never": {"retry_policy": policy(retries=0), "hedge_policy": HEDGE},
    "4xx": {"retry_policy": policy("retriable-4xx", retries=2), "hedge_policy": HEDGE},
    "no-conditions": {"retry_policy": policy(""), "hedge_policy": HEDGE, "timeout": "1.4s"},
    "gets-only": {
        "retry_policy": policy(
            retriable_request_headers=[{"name": ":method", "string_match": {"exact": "GET"}}]
        ),
        "hedge_policy": HEDGE,
    },
    "calm": {"retry_policy": policy()},
    "ignored": {
        "retry_policy": policy(),
        "hedge_policy": {"initial_requests": 3, "additional_request_chance": {"numerator": 100}},
    },
    "idle": {
        "retry_policy": policy(per_try_timeout="0s", per_try_idle_timeout="0.4s"),
        "hedge_policy": HEDGE,
    },
}


def reply(status: int, body: str) -> bytes:
    return f"HTTP/1.1 {status} Some\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()


def request(host: str, fields: str = "", method: str = "GET", body: str = "", path: str = "/") -> bytes:
    length = f"content-length: {len(body)}\r\n" if body else ""
    return f"{method} {path} HTTP/1.1\r\nHost: {host}.test\r\n{length}{fields}\r\n{body}".encode()


def late(status: int, delay: float = 1) -> Answer:
    return Answer(reply(status, f"late {status}"), delay=delay)


GOOD: Final = reply(200, "good")
BAD: Final = reply(503, "bad")
RESET: Final = Answer(b"", end="reset")
HEDGES: Final = "x-envoy-hedge-on-per-try-timeout: true\r\n"
CASES: Final[dict[str, tuple[bytes, list[Any]]]] = {
    "the second wins": (request("once"), [late(200), GOOD]),
    "the first wins": (request("once"), [late(200, 0.6), late(200, 2)]),
    "a quick answer": (request("once"), [GOOD]),
    "a quick bad answer is tried again": (request("once"), [BAD, GOOD]),
    "a body is sent twice": (request("once", method="POST", body="hello"), [late(200), GOOD]),
    "the second is bad, the first good": (request("once"), [late(200), BAD]),
    "the second is bad, and so is the first": (request("once"), [late(500), BAD]),
    "the first is bad while the second goes on": (request("once"), [late(500, 0.6), late(200, 1)]),
    "the second is reset, the first good": (request("once"), [late(200), RESET]),
    "the second is reset, and so is the first": (
        request("once"),
        [Answer(b"", delay=1, end="reset"), RESET],
    ),
    "the first is reset while the second goes on": (
        request("once"),
        [Answer(b"", delay=0.6, end="reset"), late(200, 1)],
    ),
    "the second is bad and tried again": (request("thrice"), [late(200), BAD, GOOD]),
    "all are slow": (request("thrice"), [late(200, 2.2), late(200, 2.2), late(200, 2.2), GOOD]),
    "nobody answers in time": (request("timed"), [late(200, 3)] * 4),
    "no retry is left": (request("never"), [late(200)]),
    "conditions that are not met": (request("4xx"), [late(200), BAD]),
    "a reset that is not to be repeated": (request("4xx"), [late(200), RESET]),
    "no conditions": (request("no-conditions"), [late(200)]),
    "no conditions, and no answer": (request("no-conditions"), [late(200, 3)]),
    "a request that may not be repeated": (request("gets-only", method="POST", body="hello"), [late(200)]),
    "the request asks for it": (request("calm", HEDGES), [late(200), GOOD]),
    "the request does not want it": (
        request("once", "x-envoy-hedge-on-per-try-timeout: false\r\n"),
        [late(200), GOOD],
    ),
    "a field that nobody knows": (
        request("once", "x-envoy-hedge-on-per-try-timeout: yes\r\n"),
        [late(200), GOOD],
    ),
    "more requests and chances do nothing": (request("ignored"), [late(200), GOOD]),
    "from the virtual host": (request("inherited"), [late(200), GOOD]),
    "not from the virtual host": (request("inherited", path="/off"), [late(200), GOOD]),
    "nothing comes for too long": (request("idle"), [late(200), GOOD]),
    "an interim answer settles it": (
        request("once"),
        [
            Answer([b"HTTP/1.1 103 Early\r\nlink: </a>\r\n\r\n", reply(200, "after")], pause=1),
            GOOD,
        ],
    ),
    "an interim answer of the second": (
        request("once"),
        [
            late(200, 1.5),
            Answer([b"HTTP/1.1 103 Early\r\nlink: </a>\r\n\r\n", reply(500, "after")], pause=0.3),
            GOOD,
        ],
    ),
}
COUNTERS: Final = (
    "upstream_rq_total",
    "upstream_rq_retry",
    "upstream_rq_retry_success",
    "upstream_rq_retry_limit_exceeded",
    "upstream_rq_retry_overflow",
    "upstream_rq_retry_backoff_exponential",
    "upstream_rq_per_try_timeout",
    "upstream_rq_per_try_idle_timeout",
    "upstream_rq_timeout",
    "upstream_rq_tx_reset",
    "upstream_rq_rx_reset",
    "upstream_rq_200",
    "upstream_rq_500",
    "upstream_rq_503",
    "upstream_rq_504",
    "upstream_rq_5xx",
    "upstream_rq_completed",
    "upstream_rq_active",
    "retry.",
)


def story(sent: bytes, answers: Any) -> Story:
    """`sent` goes to one of the `ROUTES`, or takes its policies from the virtual host."""
    name = sent.split(b"Host: ")[1].split(b".test")[0]
    sent = sent.replace(name + b".test", HOST)
    fields: Json = {
        "include_request_attempt_count": True,
        "include_attempt_count_in_response": True,
        "include_is_timeout_retry_header": True,
    }
    if name != b"inherited":
        return Story(sent, answers, [route("{cluster}", **ROUTES[name.decode()])], fields)
    routes = [route("{cluster}", prefix="/off", hedge_policy={}), route("{cluster}")]
    return Story(sent, answers, routes, {**fields, "hedge_policy": HEDGE, "retry_policy": policy()})


stories = Stories(
    {title: story(*case) for title, case in CASES.items()}, counters=COUNTERS, log=LOG, mask=flags_in_order
)
pair, told = stories.pair, stories.told


@pytest.mark.parametrize("title", CASES)
def test_hedging(pair: Pair, told: Any, title: str) -> None:
    stories.same(pair, told, title)
