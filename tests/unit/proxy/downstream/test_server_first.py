"""Who speaks first: what is remembered, when a host is dialled early, what becomes of the connection."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from proxy.base.address import Address
from proxy.base.stream_info import ConnectionInfo, DrainState
from proxy.downstream.server_first import (
    MOST_EARLY,
    SILENCE,
    FirstSpeakers,
    ServerFirst,
    ServerFirstStats,
    dial_after,
)
from tests.support.fake_clock import FakeClock


def test_the_latest_speaker_is_remembered_for_a_while() -> None:
    speakers = FirstSpeakers()
    assert speakers.server_first("a:1", 0.0) is None
    assert speakers.learn("a:1", True, 0.0)
    assert not speakers.learn("a:1", True, 500.0)
    assert speakers.server_first("a:1", 1099.0) is True
    assert speakers.server_first("a:1", 1100.0) is None
    assert speakers.learn("a:1", False, 2000.0)
    assert speakers.server_first("a:1", 2059.0) is False
    assert speakers.server_first("a:1", 2060.0) is None


def test_the_memory_is_bounded() -> None:
    speakers = FirstSpeakers(most=2)
    speakers.learn("a:1", True, 0.0)
    speakers.learn("b:1", True, 0.0)
    assert speakers.server_first("a:1", 1.0)
    speakers.learn("c:1", True, 1.0)
    assert speakers.server_first("b:1", 1.0) is None
    assert speakers.server_first("a:1", 1.0)
    assert speakers.server_first("c:1", 1.0)


@pytest.mark.parametrize(
    ("server_first", "only_detecting", "chain_allows", "early", "delay"),
    [
        (True, True, True, 0, 0.0),
        (None, True, True, 0, SILENCE),
        (False, True, True, 0, None),
        (True, False, True, 0, None),
        (True, True, False, 0, None),
        (True, True, True, MOST_EARLY, None),
        (None, True, True, MOST_EARLY - 1, SILENCE),
    ],
)
def test_when_to_dial(
    server_first: bool | None, only_detecting: bool, chain_allows: bool, early: int, delay: float | None
) -> None:
    assert dial_after(server_first, only_detecting, chain_allows, early) == delay


class Dial:
    """The fallback chain's `dial_early`."""

    def __init__(self) -> None:
        self.count = 0
        self.speak: Callable[[], None] = lambda: None

    def __call__(self, connection: ConnectionInfo, on_spoke: Callable[[], None]) -> object:
        del connection
        self.count += 1
        self.speak = on_spoke
        return self


class Case:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.stats = ServerFirstStats("listener.x.server_first.")
        self.server_first = ServerFirst("x", self.clock, self.clock, self.stats)
        self.dial = Dial()
        self.spoke = 0

    def watch(self, dial: Any = ...) -> Any:
        connection = ConnectionInfo(
            1, Address("10.0.0.9", 4000), Address("10.0.0.1", 3306), 0.0, DrainState()
        )
        return self.server_first.watch(connection, self.dial if dial is ... else dial, self._on_spoke)

    def _on_spoke(self) -> None:
        self.spoke += 1

    def numbers(self) -> tuple[int, int, int]:
        return self.stats.dialled, self.stats.spoke, self.stats.wrong


def test_an_unknown_host_is_dialled_after_a_silence_and_the_next_time_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "outrider.filter")
    case = Case()
    watch = case.watch()
    assert case.dial.count == 0
    case.clock.advance(SILENCE)
    assert case.dial.count == 1
    case.dial.speak()
    assert case.spoke == 1
    assert watch.end() is case.dial
    assert caplog.messages == [
        "listener x: the server at 10.0.0.1:3306 speaks first: connections to it do not wait for the client"
    ]
    case.watch()
    assert case.dial.count == 2
    case.dial.speak()
    assert len(caplog.messages) == 1
    assert case.numbers() == (2, 2, 0)


def test_a_client_that_speaks_in_time_causes_no_connection() -> None:
    case = Case()
    watch = case.watch()
    watch.client_spoke()
    assert watch.end() is None
    case.clock.advance(1)
    case.watch()
    case.clock.advance(1)
    assert case.numbers() == (0, 0, 0)


def test_a_wrong_guess_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "outrider.filter")
    case = Case()
    case.server_first.speakers.learn("10.0.0.1:3306", True, case.clock())
    watch = case.watch()
    watch.client_spoke()
    case.dial.speak()
    assert case.spoke == 0
    assert watch.end() is case.dial
    assert caplog.messages == [
        "listener x: the client spoke first at 10.0.0.1:3306, where the server did before: connections wait again"
    ]
    case.watch()
    assert case.numbers() == (1, 0, 1)


def test_early_connections_are_counted_while_they_wait() -> None:
    case = Case()
    case.server_first.early = MOST_EARLY - 1
    case.server_first.speakers.learn("10.0.0.1:3306", True, case.clock())
    first = case.watch()
    case.watch()
    assert case.dial.count == 1
    first.end()
    case.watch()
    assert case.dial.count == 2


def test_a_chain_that_does_not_dial() -> None:
    case = Case()
    case.watch(dial=None)
    case.clock.advance(1)
    assert case.numbers() == (0, 0, 0)
