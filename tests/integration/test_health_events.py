"""What checks make of a host is told in words."""

from __future__ import annotations

import json
import time

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
