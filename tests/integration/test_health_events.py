"""What checks make of a host is told in words."""

from __future__ import annotations

import json
import time

from tests.differential.test_dynamic_forward_proxy import cache
from tests.differential.test_dynamic_forward_proxy import proxy as dynamic_forward_proxy
from tests.support.client import Client, get
from tests.support.configs import cluster, http_proxy
from tests.support.origin import HELLO, Origin
from tests.support.outrider import Outrider

FAILURE = b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n"
CHECK = {
    "timeout": "5s",
    "interval": "0.05s",
    "no_traffic_interval": "0.05s",
    "unhealthy_threshold": 2,
    "healthy_threshold": 1,
    "http_health_check": {"path": "/hc"},
}


class TwoWorkers(Outrider):
    @classmethod
    def default_arguments(cls) -> list[str]:
        return ["--concurrency", "2", "-l", "info"]


def events(proxy: Outrider, wanted: int) -> list[dict[str, str]]:
    deadline = time.monotonic() + 10
    while True:
        found: list[dict[str, str]] = json.loads(proxy.admin("/events?format=json")[1])["events"]
        if len(found) >= wanted or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


def test_a_host_that_fails_and_recovers() -> None:
    with Origin() as origin:
        origin.script(HELLO)
        config = http_proxy(clusters=[cluster("origin", origin.port, health_checks=[CHECK])])
        with Outrider(config) as proxy:
            assert events(proxy, 0) == []
            origin.script(FAILURE)
            (failed,) = events(proxy, 1)
            origin.script(HELLO)
            passed = events(proxy, 2)[1]
            assert (failed["event"], failed["cluster"]) == ("health_check_failed", "origin")
            assert failed["host"] == f"127.0.0.1:{origin.port}"
            assert failed["reason"] == "its answer has status 500; unhealthy_threshold is 2"
            assert passed["event"] == "health_check_passed"
            assert "health_check_failed cluster=origin" in proxy.log()


def test_panic_and_failover() -> None:
    """Of a cluster that is in use, once however many workers there are."""
    with Origin() as first, Origin() as second:
        made = cluster("origin", first.port, health_checks=[CHECK])
        endpoints = made["load_assignment"]["endpoints"]
        other = cluster("origin", second.port)["load_assignment"]["endpoints"][0]
        endpoints.append({**other, "priority": 1})
        for origin in (first, second):
            origin.script(HELLO)
        with TwoWorkers(http_proxy(clusters=[made])) as proxy:
            for _ in range(10):
                assert get(proxy.port, "/").status == 200
            first.script(FAILURE)
            failed, moved = sorted(events(proxy, 2), key=lambda one: one["event"] == "failover")
            assert failed["event"] == "health_check_failed"
            assert (moved["event"], moved["cluster"]) == ("failover", "origin")
            assert moved["reason"] == "priorities get 0 %, 100 % of the requests, before 100 %, 0 %"
            second.script(FAILURE)
            told = events(proxy, 4)[2:]
            assert {one["event"] for one in told} >= {"panic_entered"}
            (panic,) = [
                one for one in told if one["event"] == "panic_entered" and "priority 0" in one["reason"]
            ]
            assert "0 of 1 hosts healthy, healthy_panic_threshold is 50 %" in panic["reason"]


def test_the_phases_of_a_drain() -> None:
    with Outrider(http_proxy(clusters=[cluster("origin", 1)]), arguments=["--drain-time-s", "2"]) as proxy:
        proxy.admin("/healthcheck/fail", method="POST")
        proxy.admin("/healthcheck/ok", method="POST")
        assert [one["event"] for one in events(proxy, 2)] == ["readiness_failed", "readiness_restored"]
        with Client(proxy.port) as client:
            client.send(b"GET / HTTP/1.1\r\n")
            proxy.process.terminate()
            started = events(proxy, 3)[2]
            assert started["event"] == "drain_started"
            assert "SIGTERM" in started["reason"]
            assert started["until"] > started["time"]
            assert events(proxy, 4)[3]["event"] == "drain_refuses_newcomers"
        assert proxy.process.wait(10) == 0


def test_a_circuit_breaker_that_opens_and_closes() -> None:
    limits = {"thresholds": [{"max_requests": 1, "max_pending_requests": 1}]}
    with Origin() as origin:
        origin.script(lambda connection, request: None)
        made = cluster("origin", origin.port, circuit_breakers=limits)
        with TwoWorkers(http_proxy(clusters=[made])) as proxy, Client(proxy.port) as first:
            first.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            deadline = time.monotonic() + 10
            while not origin.requests and time.monotonic() < deadline:
                time.sleep(0.02)
            for _ in range(4):
                assert get(proxy.port, "/").status == 503
            first.close()
            (opened,) = events(proxy, 1)
            assert opened["event"] == "circuit_breaker_opened"
            assert (opened["cluster"], opened["priority"], opened["resource"]) == (
                "origin",
                "default",
                "requests",
            )
            assert opened["reason"] == "max_requests is 1, and 1 are in use"
            deadline = time.monotonic() + 20
            while len(events(proxy, 2)) < 2 and time.monotonic() < deadline:
                pass
            closed = events(proxy, 2)[1]
            assert closed["event"] == "circuit_breaker_closed"
            assert closed["reason"].startswith("4 refused in ")


def test_a_dns_cache_in_which_nobody_may_wait() -> None:
    config = dynamic_forward_proxy(of=cache(dns_cache_circuit_breaker={"max_pending_requests": 0}))
    with Origin() as origin, TwoWorkers(config, values={"dns_port": 1, "origin_port": origin.port}) as proxy:
        for _ in range(2):
            assert get(proxy.port, "/").status == 503
        (opened,) = events(proxy, 1)
        assert opened["event"] == "circuit_breaker_opened"
        assert (opened["dns_cache"], opened["resource"]) == ("names", "pending_requests")
        assert opened["reason"] == "max_pending_requests is 0, 0 of them in each worker, and 0 are in use"
