"""How the process ends: what workers are asked, whose answers count, and what a second request to end means."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.app.command_line import parse
from proxy.app.lifecycle import Lifecycle
from proxy.base.event_log import EventLog


class Loop:
    """The timers of a loop: seconds → what is due."""

    def __init__(self) -> None:
        self.timers: list[float] = []

    def time(self) -> float:
        return 0.0

    def call_later(self, delay: float, *_call: Any) -> Any:
        self.timers.append(delay)
        return SimpleNamespace(cancel=lambda: self.timers.remove(delay))

    def create_future(self) -> Any:
        return Future()


class World:
    """A process of two workers that accepts. `told` is what they hear, `refused` how they stopped accepting."""

    def __init__(self, strategy: str = "immediate") -> None:
        self.loop = Loop()
        self.told: list[Any] = []
        self.refused: list[Any] = []
        self.handles = [SimpleNamespace(generation=1), SimpleNamespace(generation=2)]
        self.events = EventLog(lambda: 0.0)
        self.awaits_numbers = False
        self.served = SimpleNamespace(
            accepting=True,
            drain=lambda *, inbound_only: self.refused.append(("drain", inbound_only)),
            hand_over=lambda taken, *, keep: self.refused.append(("hand over", taken, keep)),
        )
        self.life = Lifecycle(
            self.loop,  # type: ignore[arg-type]
            parse(["-c", "x.yaml", "--drain-strategy", strategy, "--drain-time-s", "20"]),
            SimpleNamespace(alive=lambda: self.handles, broadcast=self.told.append),  # type: ignore[arg-type]
            self.served,  # type: ignore[arg-type]
            self.events,
            SimpleNamespace(stopping=lambda _status: None),  # type: ignore[arg-type]
            lambda: self.awaits_numbers,
        )
        self.life.state = "LIVE"

    def report(self, worker: int, connections: int, question: int, accepted: int = 0) -> None:
        self.life.take_report(
            self.handles[worker],  # type: ignore[arg-type]
            ("connections", connections, accepted, False, question),
        )

    @property
    def over(self) -> bool:
        return self.life.exit.done()


@pytest.fixture
def world() -> World:
    return World()


def test_it_ends_when_all_workers_have_said_that_nobody_is_connected(world: World) -> None:
    world.life.begin_drain("SIGTERM")
    assert world.refused == [("drain", False)]
    assert ("drain", True) in world.told
    world.report(0, 0, question=2)
    assert not world.over
    world.report(1, 0, question=2)
    assert world.life.exit.result() == 0
    assert world.life.state == "DRAINING"


def test_a_report_from_before_everybody_stopped_accepting_does_not_count(world: World) -> None:
    world.life.begin_drain("SIGTERM")
    assert [question for kind, question in world.told if kind == "watch_connections"] == [1, 2]
    world.report(0, 0, question=1)
    world.report(1, 0, question=1)
    assert not world.over
    world.report(0, 0, question=2)
    world.report(1, 1, question=2)
    assert not world.over
    world.report(1, 0, question=2)
    assert world.over


def test_everybody_is_asked_anew_once_nobody_accepts() -> None:
    world = World("gradual")
    world.life.begin_drain("SIGTERM")
    assert world.refused == []
    world.report(0, 0, question=1)
    world.report(1, 0, question=1)
    assert world.refused == [("drain", False)]
    world.report(0, 0, question=2)
    assert not world.over
    world.report(1, 0, question=2)
    assert world.over


def test_a_worker_that_is_gone_keeps_nobody_waiting(world: World) -> None:
    world.life.begin_drain("SIGTERM")
    world.report(0, 0, question=2)
    del world.handles[1]
    world.life.progress()
    assert world.over


def test_a_worker_that_comes_during_a_drain_is_asked_too(world: World) -> None:
    heard: list[Any] = []
    late: Any = SimpleNamespace(generation=3, send=heard.append)
    world.life.ask(late)
    assert heard == []
    world.life.begin_drain("SIGTERM")
    world.handles[1] = late
    world.life.ask(late)
    assert heard == [("watch_connections", 2)]
    world.report(0, 0, question=2)
    assert not world.over
    world.report(1, 0, question=2)
    assert world.over


def test_a_second_signal_ends_it_at_once(world: World) -> None:
    world.life.begin_drain("SIGTERM")
    assert world.life.draining
    assert not world.over
    world.life.begin_drain("SIGINT")
    assert world.life.exit.result() == 0


def test_before_start_up_is_complete_there_is_nothing_to_drain(world: World) -> None:
    world.served.accepting = False
    world.life.begin_drain("SIGTERM")
    assert world.life.exit.result() == 0
    assert world.told == []


def test_the_first_reason_to_end_decides_the_status(world: World) -> None:
    world.life.request_exit(1, "no worker can run")
    world.life.request_exit(0, "drained")
    assert world.life.exit.result() == 1
    assert world.life.ending
    assert not world.life.draining


def test_what_another_process_has_taken_over_waits_for_the_numbers_of_the_one_before(world: World) -> None:
    world.awaits_numbers = True
    world.life.hand_over(60, frozenset({"a"}), keep=False)
    assert world.refused == [("hand over", frozenset({"a"}), False)]
    assert world.life.state == "LIVE"
    world.report(0, 0, question=2)
    world.report(1, 0, question=2)
    assert not world.over
    world.awaits_numbers = False
    world.life.progress()
    assert world.over


def test_the_first_signal_after_a_hand_over_only_shortens_the_drain(world: World) -> None:
    world.life.hand_over(60, frozenset(), keep=False)
    assert 20 not in world.loop.timers
    world.life.begin_drain("SIGTERM")
    assert 20 in world.loop.timers
    assert not world.over
    world.life.begin_drain("SIGTERM")
    assert world.over


def test_what_is_handed_over_during_a_drain_does_not_begin_another(world: World) -> None:
    world.life.begin_drain("SIGTERM")
    del world.refused[:]
    world.life.hand_over(60, frozenset({"a"}), keep=True)
    assert world.refused == [("hand over", frozenset({"a"}), True)]
    assert [event.what for event in world.events.last()].count("drain_started") == 1


def test_failed_health_checks_show_and_can_be_restored_unless_the_end_has_begun(world: World) -> None:
    world.life.fail_health_checks(True)
    assert world.life.state == "DRAINING"
    assert not world.life.draining
    world.life.fail_health_checks(False)
    assert world.life.state == "LIVE"
    assert world.told == [("drain", True), ("drain", False)]
    world.life.begin_drain("SIGTERM")
    world.life.fail_health_checks(False)
    assert world.life.state == "DRAINING"


def test_nothing_more_happens_once_it_is_closed(world: World) -> None:
    world.life.begin_drain("SIGTERM")
    world.life.close()
    assert world.loop.timers == []
    world.report(0, 0, question=2)
    world.report(1, 0, question=2)
    assert not world.over
