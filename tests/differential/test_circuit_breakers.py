"""Circuit breakers beside Envoy: what overflows when requests are held, what the gauges say, what is counted."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Semaphore
from typing import Any, Final

import pytest

from tests.support.client import Client
from tests.support.configs import Json, cluster, file_log, http_proxy, route
from tests.support.differential import Pair, Side, pair_fixture
from tests.support.http_text import Message

ORIGINS: Final = ("origin", "other")
OK: Final = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BAD: Final = b"HTTP/1.1 503 Bad\r\ncontent-length: 0\r\n\r\n"
RETRY: Final = {
    "retry_policy": {
        "retry_on": "5xx",
        "num_retries": 2,
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.001s"},
    }
}


def thresholds(*fields: Json) -> Json:
    return {"circuit_breakers": {"thresholds": [{"track_remaining": True, **one} for one in fields]}}


def per_host(most: int, **fields: Any) -> Json:
    return {
        "circuit_breakers": {
            "thresholds": [{"track_remaining": True, **fields}],
            "per_host_thresholds": [{"max_connections": most}],
        }
    }


#: Name → more of the cluster, more of the route, how many requests.
CASES: Final[dict[str, tuple[Json, Json, int]]] = {
    "connections": (thresholds({"max_connections": 2}), {}, 4),
    "no_connections": (thresholds({"max_connections": 0}), {}, 3),
    "pending": (thresholds({"max_connections": 1, "max_pending_requests": 1}), {}, 4),
    "requests": (thresholds({"max_requests": 2}), {}, 4),
    "low_first": (thresholds({"max_requests": 1}, {"priority": "HIGH", "max_requests": 3}), {}, 4),
    "high": (
        thresholds({"max_requests": 1}, {"priority": "HIGH", "max_requests": 3}),
        {"priority": "HIGH"},
        5,
    ),
    "high_without": (thresholds({"max_requests": 1}), {"priority": "HIGH"}, 3),
    "hosts": (per_host(1), {}, 4),
    "hosts_pending": (per_host(1, max_pending_requests=1), {}, 5),
    "retried_overflow": (
        thresholds({"max_connections": 1, "max_pending_requests": 1, "max_retries": 2}),
        RETRY,
        4,
    ),
    "untracked": (
        {"circuit_breakers": {"thresholds": [{"max_requests": 1}]}},
        {},
        2,
    ),
}
#: With one retry at a time.
RETRIES: Final = thresholds({"max_retries": 1})


def clusters() -> list[Json]:
    both = ("{{origin_port}}", "{{other_port}}")
    made = [
        cluster(name, *(both if name.startswith("hosts") else both[:1]), **fields)
        for name, (fields, _, _) in CASES.items()
    ]
    return [*made, cluster("retries", both[0], **RETRIES)]


pair = pair_fixture(
    http_proxy(
        routes=[
            *(route(name, prefix=f"/{name}/", **fields) for name, (_, fields, _) in CASES.items()),
            route("retries", prefix="/retries/", **RETRY),
        ],
        clusters=clusters(),
        hcm={
            "access_log": [
                file_log("%UPSTREAM_CLUSTER% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%")
            ]
        },
    ),
    origins=ORIGINS,
)
COUNTED: Final = (
    "upstream_rq_total",
    "upstream_rq_completed",
    "upstream_rq_pending_overflow",
    "upstream_rq_pending_total",
    "upstream_rq_pending_failure_eject",
    "upstream_rq_active",
    "upstream_rq_pending_active",
    "upstream_rq_retry",
    "upstream_rq_2",
    "upstream_rq_5",
    "upstream_cx_overflow",
    "upstream_cx_total",
    "upstream_cx_active",
    "circuit_breakers.",
    "retry.",
)


def numbers(side: Side, name: str) -> dict[str, int]:
    prefix = f"cluster.{name}."
    return {
        key.removeprefix(prefix): value
        for key, value in side.proxy.stats(prefix).items()
        if key.removeprefix(prefix).startswith(COUNTED)
    }


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Held:
    """What one side makes of requests that its origins hold until all have come."""

    def __init__(self, side: Side, name: str, count: int) -> None:
        self._go = Semaphore(0)
        self._side = side
        for origin in side.origins.values():
            origin.close_connections()
            origin.script(self._hold)
        wait_until(lambda: not numbers(side, name)["upstream_cx_active"])
        clients = [Client(side.proxy.port, timeout=15.0) for _ in range(count)]
        before = self._seen(name)
        try:
            for number, client in enumerate(clients):
                client.send(f"GET /{name}/{number} HTTP/1.1\r\nhost: a\r\n\r\n".encode())
                wait_until(lambda number=number: self._seen(name) == before + number + 1)
            self.held = numbers(side, name)
            # One after the other: what waits is given connections in order.
            for done in range(self._done(name) + 1, before + count + 1):
                self._go.release()
                wait_until(lambda done=done: self._done(name) == done)
            with ThreadPoolExecutor(count) as pool:
                replies = list(pool.map(lambda client: client.read(["GET"]), clients))
            self.statuses = [reply.status for reply in replies]
            self.overloaded = [reply.response.get("x-envoy-overloaded") for reply in replies]
            self.bodies = [reply.response.body for reply in replies]
            idle = ("upstream_rq_active", "upstream_rq_pending_active")
            wait_until(lambda: not any(numbers(side, name)[key] for key in idle))
            self.after = numbers(side, name)
        finally:
            self._go.release(count)
            for client in clients:
                client.close()

    def _hold(self, _request: Message, _connection: Any) -> bytes:
        self._go.acquire(timeout=10)
        return OK

    def _done(self, name: str) -> int:
        return numbers(self._side, name).get("upstream_rq_completed", 0)

    def _seen(self, name: str) -> int:
        """How many requests have come to rest; -1 while a connection is on its way for one that waits."""
        now = numbers(self._side, name)
        active, waiting = now["upstream_rq_active"], now["upstream_rq_pending_active"]
        if waiting and now["upstream_cx_active"] != active:
            return -1
        return active + waiting + now.get("upstream_rq_completed", 0)


@pytest.mark.parametrize("name", CASES)
def test_what_overflows(pair: Pair, name: str) -> None:
    count = CASES[name][2]
    before = pair.lines_logged()
    envoy, outrider = pair.both(lambda side: Held(side, name, count))
    assert outrider.held == envoy.held
    assert outrider.statuses == envoy.statuses
    assert outrider.overloaded == envoy.overloaded
    assert outrider.bodies == envoy.bodies
    assert outrider.after == envoy.after
    logged = pair.logged_since(before, count)
    assert Counter(logged[1]) == Counter(logged[0])


def test_retries_at_the_same_time(pair: Pair) -> None:
    def run(side: Side) -> Any:
        """Two requests fail at once; the one retry that may be is held."""
        go, held = Event(), Event()

        def script(request: Message, _connection: Any) -> bytes:
            if request.target.endswith("first") and request.get("x-tried") is None and not held.is_set():
                held.set()
                return BAD
            if request.target.endswith("first"):
                go.wait(10)
                return OK
            return BAD

        side.origin.script(script)
        first, second = (Client(side.proxy.port, timeout=15.0) for _ in range(2))
        try:
            first.send(b"GET /retries/first HTTP/1.1\r\nhost: a\r\n\r\n")
            wait_until(lambda: len(side.origin.requests) == 2)
            during = numbers(side, "retries")
            second.send(b"GET /retries/second HTTP/1.1\r\nhost: a\r\n\r\n")
            refused = second.read(["GET"])
            go.set()
            served = first.read(["GET"])
        finally:
            go.set()
            first.close()
            second.close()
        wait_until(lambda: not numbers(side, "retries")["upstream_rq_active"])
        return (
            during,
            refused.status,
            refused.response.get("x-envoy-overloaded"),
            served.status,
            numbers(side, "retries"),
        )

    before = pair.lines_logged()
    envoy, outrider = pair.both(run)
    assert outrider == envoy
    assert outrider[0]["circuit_breakers.default.rq_retry_open"] == 1
    logged = pair.logged_since(before, 2)
    assert logged[1] == logged[0]
