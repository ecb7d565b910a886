"""Hedging beside Envoy: a slow try goes on while another is made, and the first good answer wins."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest

from tests.support.client import Reply, exchange
from tests.support.compare import diff_lists, diff_replies
from tests.support.configs import Json, cluster, file_log, http_proxy, route, virtual_host
from tests.support.differential import Pair, Side, pair_fixture
from tests.support.http_text import Message
from tests.support.origin import Answer

FAST: Final = {"base_interval": "0.001s", "max_interval": "0.001s"}
LOG: Final = (
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT% "
    "%UPSTREAM_CLUSTER% %BYTES_SENT%"
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
    "timed": {"retry_policy": policy(retries=3), "hedge_policy": HEDGE, "timeout": "1.4s"},
    "never": {"retry_policy": policy(retries=0), "hedge_policy": HEDGE},
    "4xx": {"retry_policy": policy("retriable-4xx", retries=2), "hedge_policy": HEDGE},
    "no-conditions": {"retry_policy": policy(""), "hedge_policy": HEDGE, "timeout": "1.4s"},
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


def flags_in_order(line: str) -> str:
    """Envoy names flags in the order in which they came to it, and we in that of their numbers."""
    code, flags, rest = line.split(" ", 2)
    return f"{code} {','.join(sorted(flags.split(',')))} {rest}"


NUMBERS: Final = {case: f"o{number}" for number, case in enumerate(CASES)}


def virtual_hosts(case: str) -> Json:
    """The virtual host of a case, which has a cluster and an origin of its own."""
    host = CASES[case][0].split(b"Host: ")[1].split(b".test")[0].decode()
    name = NUMBERS[case]
    more: Json = {}
    if host == "inherited":
        more = {"hedge_policy": HEDGE, "retry_policy": policy()}
        routes = [route(name, prefix="/off", hedge_policy={}), route(name)]
    else:
        routes = [route(name, **ROUTES[host])]
    return virtual_host(
        routes,
        [f"{name}.test"],
        include_request_attempt_count=True,
        include_attempt_count_in_response=True,
        include_is_timeout_retry_header=True,
        **more,
    )


pair = pair_fixture(
    http_proxy(
        virtual_hosts=[virtual_hosts(case) for case in CASES],
        clusters=[cluster(name) for name in NUMBERS.values()],
        hcm={"access_log": [file_log(LOG)]},
    ),
    origins=list(NUMBERS.values()),
)
#: Reply, requests at the origin, changes of the numbers of the cluster.
Found = tuple[Reply, list[Message], dict[str, int]]


def run(side: Side) -> dict[str, Found]:
    """All cases at the same time, since they mostly wait."""

    def one(case: str) -> Reply:
        sent, answers = CASES[case]
        name = NUMBERS[case]
        side.origins[name].script(answers)
        start, _, rest = sent.partition(b"Host: ")
        rest = rest.partition(b".test")[2]
        return exchange(side.proxy.port, start + b"Host: " + name.encode() + b".test" + rest, timeout=10.0)

    with ThreadPoolExecutor(len(CASES)) as pool:
        replies = dict(zip(CASES, pool.map(one, CASES), strict=True))
    stats = side.proxy.stats("cluster.o")
    found = {}
    for case, name in NUMBERS.items():
        prefix = f"cluster.{name}."
        numbers = {
            key.removeprefix(prefix): value
            for key, value in stats.items()
            if value and key.removeprefix(prefix).startswith(COUNTERS) and key.startswith(prefix)
        }
        found[case] = (replies[case], side.origins[name].requests, numbers)
    return found


@pytest.fixture(scope="module")
def found(pair: Pair) -> tuple[dict[str, Found], dict[str, Found]]:
    return pair.both(run)


@pytest.fixture(scope="module")
def logged(pair: Pair, found: Any) -> tuple[dict[str, str], dict[str, str]]:
    del found

    def read(side: Side) -> dict[str, str]:
        lines = [flags_in_order(line) for line in side.proxy.access_log(len(CASES))]
        return {line.split()[4]: line for line in lines}

    return pair.both(read)


@pytest.mark.parametrize("case", CASES)
def test_hedging(pair: Pair, found: Any, logged: Any, case: str) -> None:
    envoy, outrider = (one[case] for one in found)
    differences = diff_replies(envoy[0], outrider[0])
    differences += diff_lists("upstream", envoy[1], outrider[1])
    # What is left for the tries after the first depends on the clock.
    left = [f"upstream[{number}].field.x-envoy-expected-rq-timeout-ms" for number in range(1, 4)]
    pair.check(differences, ignore=left)
    assert envoy[2] == outrider[2]
    assert logged[0][NUMBERS[case]] == logged[1][NUMBERS[case]]
