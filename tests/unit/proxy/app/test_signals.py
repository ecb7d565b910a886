from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from proxy.app.signals import Signals


class Loop:
    def __init__(self) -> None:
        self.now = 100.0
        self.handlers: dict[int, Callable[[], None]] = {}

    def time(self) -> float:
        return self.now

    def add_signal_handler(self, number: int, call: Callable[..., None], *arguments: Any) -> None:
        self.handlers[number] = lambda: call(*arguments)


def caught() -> tuple[Loop, list[str]]:
    loop, asked = Loop(), list[str]()
    Signals(loop, asked.append, lambda: asked.append("reopen"), lambda: asked.append("reload")).catch()  # type: ignore[arg-type]
    return loop, asked


def test_each_signal_asks_for_its_own() -> None:
    loop, asked = caught()
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM):
        loop.handlers[number]()
    assert asked == ["reload", "reopen", "SIGTERM"]


def test_a_signal_to_a_process_and_its_group_is_one_request() -> None:
    loop, asked = caught()
    loop.handlers[signal.SIGTERM]()
    loop.now += 0.1
    loop.handlers[signal.SIGTERM]()
    loop.now += 0.1
    loop.handlers[signal.SIGINT]()
    assert asked == ["SIGTERM"]
    loop.now += 0.2
    loop.handlers[signal.SIGINT]()
    assert asked == ["SIGTERM", "SIGINT"]
