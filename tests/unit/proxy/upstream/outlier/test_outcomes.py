from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.base.address import Address
from proxy.upstream.host import Host
from proxy.upstream.outlier.outcomes import (
    ANSWERED,
    CONNECTED,
    FAILED,
    GATEWAY_FAILED,
    MOST_UNTOLD,
    UNCONNECTED,
    OutcomeReporter,
)


class Bench:
    """A worker that follows cluster `c` with one host, or several."""

    def __init__(self, *ports: int, split: bool = False) -> None:
        self.calls: list[Callable[[], None]] = []
        self.sent: list[tuple[Any, ...]] = []
        self.line = SimpleNamespace(lagging=False, send=self.sent.append)
        loop: Any = SimpleNamespace(
            call_soon=self.calls.append, call_later=lambda _seconds, call: self.calls.append(call)
        )
        self.reporter = OutcomeReporter(loop, self.line)
        self.hosts = [Host(Address("10.0.0.1", port)) for port in ports or (80,)]
        self.cluster = self.reporter.follow("c", self.hosts, split=split)
        self.outcomes = self.hosts[0].outcomes

    def turn(self) -> list[tuple[Any, ...]]:
        """End the turn of the loop; what the controller hears of by it."""
        self.sent.clear()
        calls, self.calls[:] = list(self.calls), []
        for call in calls:
            call()
        return list(self.sent)


KEY = ("10.0.0.1:80", 0)


def told(sent: list[tuple[Any, ...]]) -> Any:
    (message,) = sent
    assert message[0] == "outcomes"
    return message[1]


def test_the_controller_hears_of_hosts() -> None:
    bench = Bench(80, 81)
    assert bench.sent == [("outlier_hosts", "c", [KEY, ("10.0.0.1:81", 0)], [])]
    bench.sent.clear()
    bench.cluster.change_hosts([], bench.hosts[:1])
    assert bench.sent == [("outlier_hosts", "c", [], [KEY])]
    assert bench.hosts[0].outcomes is None
    bench.cluster.close()
    assert bench.sent[1:] == [("outlier_hosts", "c", [], [("10.0.0.1:81", 0)])]
    assert bench.reporter.collect("c") == []


def test_two_hosts_at_one_address_are_one() -> None:
    bench = Bench(80, 80)
    assert bench.sent == [("outlier_hosts", "c", [KEY], [])]
    bench.sent.clear()
    bench.cluster.change_hosts([], bench.hosts[:1])
    assert bench.sent == []


def test_successes_are_told_when_asked_for() -> None:
    bench = Bench()
    for status in (200, 404, 499, 600):
        bench.outcomes.responded(status)
    assert bench.turn() == []
    assert bench.reporter.collect("c") == [(KEY, 4, 0, b"")]
    assert bench.reporter.collect("c") == []


def test_failures_are_told_in_order_at_the_end_of_the_turn() -> None:
    bench = Bench()
    for status in (200, 500, 503, 599, 502, 504, 505):
        bench.outcomes.responded(status)
    expected = bytes([FAILED, GATEWAY_FAILED, FAILED, GATEWAY_FAILED, GATEWAY_FAILED, FAILED])
    assert told(bench.turn()) == {"c": [(KEY, 1, 0, expected)]}


def test_the_first_success_after_a_failure_is_told_at_once() -> None:
    bench = Bench()
    bench.outcomes.responded(500)
    bench.turn()
    bench.outcomes.responded(200)
    bench.outcomes.responded(200)
    assert told(bench.turn()) == {"c": [(KEY, 1, 0, bytes([ANSWERED]))]}


def test_a_success_is_told_at_once_where_the_host_fails_in_another_worker() -> None:
    bench = Bench()
    bench.reporter.watch("c", [KEY, ("10.9.9.9:1", 0)])
    bench.reporter.watch("unknown", [KEY])
    bench.outcomes.responded(200)
    assert told(bench.turn()) == {"c": [(KEY, 0, 0, bytes([ANSWERED]))]}


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        (False, [GATEWAY_FAILED, GATEWAY_FAILED, ANSWERED]),
        (True, [UNCONNECTED, UNCONNECTED, CONNECTED]),
    ],
)
def test_connections_count_as_statuses_unless_told_apart(split: bool, expected: list[int]) -> None:
    bench = Bench(split=split)
    bench.outcomes.broke()
    bench.outcomes.timed_out()
    bench.outcomes.served()
    assert told(bench.turn()) == {"c": [(KEY, 0, 0, bytes(expected))]}


def test_a_connection_alone_is_no_success_unless_told_apart() -> None:
    bench = Bench()
    bench.outcomes.connected()
    assert bench.reporter.collect("c") == []
    bench = Bench(split=True)
    bench.outcomes.connected()
    assert bench.reporter.collect("c") == [(KEY, 0, 1, b"")]


def test_a_controller_that_lags_is_told_later_and_not_without_end() -> None:
    bench = Bench()
    bench.line.lagging = True
    for _ in range(MOST_UNTOLD + 10):
        bench.outcomes.responded(500)
    assert bench.turn() == []
    bench.line.lagging = False
    assert told(bench.turn()) == {"c": [(KEY, 0, 0, bytes([FAILED]) * MOST_UNTOLD)]}
    assert bench.turn() == []


def test_nothing_is_told_of_a_host_that_has_gone() -> None:
    bench = Bench()
    outcomes = bench.outcomes
    outcomes.responded(500)
    bench.cluster.change_hosts([], bench.hosts)
    assert bench.turn() == []
    outcomes.responded(200)
    assert bench.turn() == []
