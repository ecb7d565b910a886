"""What several workers see of a host adds up, as in one Envoy."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import exchange
from tests.support.configs import cluster, http_proxy
from tests.support.origin import HELLO, Origin
from tests.support.outrider import Outrider

FAILURE = b"HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n"
IN_A_ROW = 30
_EJECTED = "cluster.origin.outlier_detection.ejections_enforced_consecutive_5xx"
_HEALTHY = "cluster.origin.membership_healthy"
_OUTLIER = {"consecutive_5xx": IN_A_ROW, "max_ejection_percent": 100}


class TwoWorkers(Outrider):
    @classmethod
    def default_arguments(cls) -> list[str]:
        return ["--concurrency", "2", "-l", "info"]


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin() as origin:
        yield origin


@pytest.fixture
def proxy(origin: Origin) -> Iterator[Outrider]:
    config = http_proxy(clusters=[cluster("origin", origin.port, outlier_detection=_OUTLIER)])
    with TwoWorkers(config) as proxy:
        yield proxy


def ask(proxy: Outrider, times: int) -> None:
    """Each on a connection of its own, which the kernel gives to either worker."""
    for _ in range(times):
        exchange(proxy.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def settle(proxy: Outrider) -> None:
    """Workers answer after what they have told before."""
    assert proxy.admin("/clusters")[0] == 200


def ejections(proxy: Outrider) -> int:
    settle(proxy)
    return proxy.stats(_EJECTED)[_EJECTED]


def test_failures_in_all_workers_make_one_row(proxy: Outrider, origin: Origin) -> None:
    origin.script(FAILURE)
    ask(proxy, IN_A_ROW - 1)
    assert ejections(proxy) == 0
    origin.script(HELLO)
    ask(proxy, 1)
    settle(proxy)
    origin.script(FAILURE)
    ask(proxy, IN_A_ROW - 1)
    assert ejections(proxy) == 0
    ask(proxy, 1)
    assert ejections(proxy) == 1


def test_a_worker_that_comes_later_knows_who_is_ejected(proxy: Outrider, origin: Origin) -> None:
    origin.script(FAILURE)
    ask(proxy, IN_A_ROW)
    assert ejections(proxy) == 1
    (fork_server,) = children(proxy.pid)
    os.kill(children(fork_server)[0], signal.SIGKILL)
    restarted = "server.worker_restarted"
    deadline = time.monotonic() + 20
    while proxy.stats(restarted)[restarted] < 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    ask(proxy, IN_A_ROW)
    # The largest of all workers counts: each of them knows.
    assert proxy.stats(_HEALTHY)[_HEALTHY] == 0
    assert ejections(proxy) == 1


def test_decisions_are_told_with_their_numbers(proxy: Outrider, origin: Origin) -> None:
    origin.script(FAILURE)
    ask(proxy, IN_A_ROW)
    assert ejections(proxy) == 1
    status, text = proxy.admin("/events?format=json")
    event = json.loads(text)["events"][0]
    assert (status, event["event"], event["cluster"]) == (200, "outlier_ejection", "origin")
    assert event["host"] == f"127.0.0.1:{origin.port}"
    assert event["reason"] == "30 consecutive 5xx of 30; ejection 1"
    assert event["until"] > event["time"]
    # The only host is out, so that is a panic, too, told of a moment later.
    line = proxy.admin("/events")[1].splitlines()[0]
    assert line.startswith(event["time"])
    assert line.partition(" ")[2].strip() in proxy.log()
    assert "  /events: " in proxy.admin("/help")[1]
