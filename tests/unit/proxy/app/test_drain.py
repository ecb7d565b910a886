from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from proxy.app.drain import DrainSequence


class Loop:
    """The timers of a loop, fired by hand."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.now = 100.0

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        timer = (delay, callback)
        self.timers.append(timer)

        return SimpleNamespace(cancel=lambda: timer in self.timers and self.timers.remove(timer))

    def fire(self) -> float:
        """Run the next timer; gives its delay."""
        self.timers.sort(key=lambda timer: timer[0])
        delay, callback = self.timers.pop(0)
        callback()
        return delay


def sequence(immediate: bool, seconds: float = 10.0) -> tuple[DrainSequence, Loop, list[str]]:
    loop = Loop()
    events: list[str] = []
    drain = DrainSequence(
        loop,  # type: ignore[arg-type]
        seconds,
        immediate,
        lambda: events.append("refuse"),
        lambda silent: events.append(f"idle {silent:g}"),
        lambda: events.append("finished"),
    )
    drain.start()
    return drain, loop, events


def test_immediate_refuses_at_once_and_ends_when_the_last_connection_does() -> None:
    drain, loop, events = sequence(immediate=True)
    assert events == ["refuse", "idle 1"]
    drain.progress(2)
    assert events == ["refuse", "idle 1"]
    drain.progress(0)
    assert events == ["refuse", "idle 1", "finished"]
    assert loop.timers == []


def test_gradual_accepts_for_half_of_the_time_and_closes_what_is_idle_meanwhile() -> None:
    drain, loop, events = sequence(immediate=False)
    drain.progress(5)
    assert events == []
    assert [loop.fire(), loop.fire()] == [2.5, 2.5]
    assert events == ["idle 2.5", "idle 2.5"]
    loop.timers = [timer for timer in loop.timers if timer[0] != 2.5]
    assert loop.fire() == 5.0
    assert loop.fire() == 10.0
    assert events == ["idle 2.5", "idle 2.5", "refuse", "finished"]


def test_gradual_ends_as_soon_as_nobody_is_connected_and_nobody_can_come() -> None:
    drain, _loop, events = sequence(immediate=False)
    drain.progress(0)
    assert events == ["refuse"]
    drain.progress(1)
    drain.progress(0)
    assert events == ["refuse", "finished"]
    drain.progress(0)
    assert events == ["refuse", "finished"]


def test_gradual_waits_for_those_who_come_again_and_again() -> None:
    drain, loop, events = sequence(immediate=False)
    drain.progress(0, accepted=10, lately=True)
    assert events == []
    loop.now += 1
    drain.progress(0, accepted=10, lately=True)
    assert events == ["refuse"]


def test_gradual_accepts_for_as_long_as_clients_come() -> None:
    drain, loop, events = sequence(immediate=False)
    drain.progress(2, accepted=10)
    for accepted in range(11, 20):
        loop.now += 0.9
        drain.progress(0, accepted)
    assert events == []
    loop.now += 1
    drain.progress(0, accepted)
    assert events == ["refuse"]


def test_a_cancelled_drain_calls_nothing_more() -> None:
    drain, loop, events = sequence(immediate=False)
    drain.cancel()
    drain.progress(0)
    assert loop.timers == []
    assert events == []


def test_it_works_with_a_real_loop() -> None:
    async def run() -> list[str]:
        events: list[str] = []
        done = asyncio.Event()
        drain = DrainSequence(
            asyncio.get_running_loop(),
            0.0,
            False,
            lambda: events.append("refuse"),
            lambda _silent: None,
            done.set,
        )
        drain.start()
        await done.wait()
        return events

    assert asyncio.run(run()) == ["refuse"]
