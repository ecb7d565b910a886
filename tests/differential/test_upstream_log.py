"""Log entries of single tries (`upstream_log` of the router) beside Envoy's."""

from __future__ import annotations

import re
import time
from typing import Any, Final, NamedTuple

import pytest

from tests.support.client import Client, exchange
from tests.support.configs import ROUTER, Json, cluster, file_log, http_proxy, route, typed
from tests.support.differential import Pair, Side, pair_fixture, same_verdict
from tests.support.origin import Answer
from tests.support.stories import TRUST

FAST: Final = {"base_interval": "0.001s", "max_interval": "0.002s"}
OPERATORS: Final = (
    "%REQ(:PATH)% %ACCESS_LOG_TYPE% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% "
    "attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT% host=%UPSTREAM_HOST% cluster=%UPSTREAM_CLUSTER% "
    "received=%BYTES_RECEIVED% sent=%BYTES_SENT% begin=%START_TIME(%s)% duration=%DURATION% "
    "request=%REQUEST_DURATION% tx=%REQUEST_TX_DURATION% response=%RESPONSE_DURATION% "
    "response_tx=%RESPONSE_TX_DURATION% %PROTOCOL% %UPSTREAM_PROTOCOL% local=%UPSTREAM_LOCAL_ADDRESS% "
    "wire=%UPSTREAM_WIRE_BYTES_RECEIVED%,%UPSTREAM_WIRE_BYTES_SENT% "
    "headers=%UPSTREAM_HEADER_BYTES_RECEIVED%,%UPSTREAM_HEADER_BYTES_SENT% "
    "downstream=%DOWNSTREAM_WIRE_BYTES_RECEIVED% route=%ROUTE_NAME% "
    "client=%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %RESP(x-field)% id=%REQ(x-request-id)% "
    "expected=%REQ(x-envoy-expected-rq-timeout-ms)% "
    "%UPSTREAM_TRANSPORT_FAILURE_REASON% stream=%STREAM_ID%"
)


def policy(on: str = "5xx", **fields: Any) -> Json:
    return {"retry_policy": {"retry_on": on, "retry_back_off": FAST, **fields}}


def reply(status: int, fields: str = "", body: str = "x") -> bytes:
    return f"HTTP/1.1 {status} Some\r\ncontent-length: {len(body)}\r\n{fields}\r\n{body}".encode()


OK: Final = reply(200)
BAD: Final = reply(503)
RESET: Final = Answer(b"", end="reset")
HEDGE: Final = {"hedge_policy": {"hedge_on_per_try_timeout": True}}
CHUNKED: Final = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
CUT: Final = Answer(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", end="close")
PIECES: Final = Answer([b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab", b"cd"], pause=0.45)
ROUTES: Final = [
    {"name": "the-route", **route(prefix="/named")},
    route(prefix="/retry", **policy(num_retries=2)),
    route("dead", "/dead", **policy("connect-failure")),
    route(prefix="/late", timeout="0.3s"),
    route(prefix="/try", **policy(per_try_timeout="0.2s")),
    route(prefix="/idle", **policy(per_try_idle_timeout="0.2s")),
    route(prefix="/hedged", **policy(per_try_timeout="0.2s"), **HEDGE),
    route("empty", "/empty"),
    route("full", "/full"),
    route(prefix="/copied", request_mirror_policies=[{"cluster": "shadow"}]),
    {"match": {"prefix": "/direct"}, "direct_response": {"status": 200}},
    route(),
]


class Case(NamedTuple):
    """What is asked for, what the origin answers, and how many entries there are."""

    path: str
    answers: list[Any]
    entries: int
    body: str = ""


CASES: Final[dict[str, Case]] = {
    "one try": Case("/one", [reply(200, "x-field: v\r\n")], 1),
    "a body": Case("/body", [reply(200, body="hello")], 1, "12345"),
    "a chunked body": Case("/chunked", [CHUNKED], 1),
    "a named route": Case("/named", [OK], 1),
    "retries": Case("/retry", [BAD, RESET, OK], 3),
    "retries with a body": Case("/retry", [BAD, reply(503, body="x" * 1000), OK], 3, "hello"),
    "retries in vain": Case("/retry", [BAD, BAD, BAD], 3),
    "nobody there": Case("/dead", [OK], 2),
    "too late": Case("/late", [Answer(OK, delay=0.8)], 1),
    "a try too late": Case("/try", [Answer(OK, delay=0.8), OK], 2),
    "an idle try": Case("/idle", [Answer(OK, delay=0.8), OK], 2),
    "a hedged try": Case("/hedged", [Answer(OK, delay=0.8), OK], 2),
    "no hosts": Case("/empty", [OK], 0),
    "no room": Case("/full", [OK], 1),
    "no cluster": Case("/direct", [OK], 0),
    "cut off": Case("/cut", [CUT], 1),
    "no HTTP": Case("/garbage", [b"what?\r\n\r\n"], 1),
    "a copy": Case("/copied", [OK], 2),
}
#: Those of a copy are those of a client that there is not.
COPY: Final = re.compile(r"client=\S+|downstream=\d+")


def masked(line: str) -> str:
    """Without what differs from run to run."""
    line = re.sub(r"127\.0\.0\.1:\d{2,}", "HOST", line)
    line = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", line)
    line = re.sub(r"(begin|duration|request|tx|response|response_tx)=\d+", r"\1=TIME", line)
    if " UpstreamPoolReady " in line:
        # Whether the body has been read by then is a matter of time.
        line = re.sub(r"downstream=\d+", "-", line)
    if " cluster=shadow " in line:
        line = COPY.sub("-", line)
    return re.sub(r"expected=1\d{4}", "expected=LEFT", line)


def config(**options: Any) -> Json:
    router = typed(ROUTER, upstream_log=[file_log(OPERATORS)], **options)
    return http_proxy(
        routes=ROUTES,
        clusters=[
            # What is recorded of a try must not get into the way of what is logged.
            cluster(track_cluster_stats={"timeout_budgets": True, "request_response_sizes": True}),
            cluster("shadow"),
            cluster("dead", "{{dead_port}}"),
            {"name": "empty", "type": "STATIC", "connect_timeout": "1s"},
            cluster(
                "full",
                "{{origin_port}}",
                circuit_breakers={"thresholds": [{"max_pending_requests": 0}]},
            ),
        ],
        hcm={**TRUST, "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}]},
    )


pair = pair_fixture(config(), origins=("origin", "shadow"), values={"dead_port": 1})
busy_pair = pair_fixture(
    config(
        upstream_log_options={
            "flush_upstream_log_on_upstream_stream": True,
            "upstream_log_flush_interval": "0.3s",
        }
    ),
    origins=("origin", "shadow"),
    values={"dead_port": 1},
)


def ask(side: Side, path: str, answers: Any, body: str = "") -> None:
    for name, origin in side.origins.items():
        origin.script(answers if name == "origin" else OK)
    length = f"content-length: {len(body)}\r\n" if body else ""
    start = "POST" if body else "GET"
    exchange(
        side.proxy.port,
        f"{start} {path} HTTP/1.1\r\nhost: a.test\r\n{length}\r\n{body}".encode(),
        timeout=5.0,
    )


def logged(side: Side, before: int, count: int) -> list[str]:
    """In no order: tries that are over at the same time may be told of in any."""
    side.proxy.access_log(before + count)
    time.sleep(0.2)
    return sorted(masked(line) for line in side.proxy.access_log(0)[before:])


@pytest.mark.parametrize("title", CASES)
def test_entries(pair: Pair, title: str) -> None:
    case = CASES[title]

    def run(side: Side) -> list[str]:
        before = len(side.proxy.access_log(0))
        ask(side, case.path, case.answers, case.body)
        return logged(side, before, case.entries)

    assert len(pair.same_value("entries", run, settle=0)) == case.entries


def test_a_try_whose_client_leaves(pair: Pair) -> None:
    def run(side: Side) -> list[str]:
        before = len(side.proxy.access_log(0))
        side.origin.script(Answer(OK, delay=0.5))
        with Client(side.proxy.port) as client:
            client.send(b"GET /left HTTP/1.1\r\nhost: a.test\r\n\r\n")
            side.origin.wait_for_requests(1)
            time.sleep(0.1)
        return logged(side, before, 1)

    pair.same_value("entries", run, settle=0)


@pytest.mark.parametrize(
    ("path", "answers", "body", "entries"),
    [
        ("/quick", [OK], "", 2),
        ("/slow", [Answer(OK, delay=0.75)], "", 4),
        ("/pieces", [PIECES], "abc", 3),
        ("/idle", [Answer(OK, delay=0.8), OK], "", 4),
        ("/dead", [OK], "", 2),
    ],
)
def test_entries_before_the_end(
    busy_pair: Pair, path: str, answers: list[Any], body: str, entries: int
) -> None:
    def run(side: Side) -> list[str]:
        before = len(side.proxy.access_log(0))
        ask(side, path, answers, body)
        return logged(side, before, entries)

    assert len(busy_pair.same_value("entries", run, settle=0)) == entries


@pytest.mark.parametrize("interval", ["0.0005s", "0s", "0.001s"])
def test_how_often_entries_may_be(interval: str) -> None:
    same_verdict(
        config(upstream_log_options={"upstream_log_flush_interval": interval}),
        {"origin_port": 1, "shadow_port": 2, "dead_port": 3, "listener_port": 4, "access_log": "/dev/null"},
    )
