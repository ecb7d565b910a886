"""Long work on many hosts in small steps, so that requests go on between them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from time import perf_counter
from typing import Any, Final, TypeVar

Made = TypeVar("Made")

STEP: Final = 32
"""So many hosts are dealt with between two pauses: some 0.1 to 0.5 ms."""

#: Seconds of a slice, at the end of which other work of the loop has its turn.
_SLICE: Final = 0.0005


def finish(steps: Generator[None, None, Made]) -> Made:
    """Take all steps at once; gives what they give."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            made: Made = stop.value
            return made


class Slices:
    """Takes the steps of one work after the other in slices, one in a turn of the loop (`call_soon`)."""

    __slots__ = ("_call_soon", "_scheduled", "_works")

    def __init__(self, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._call_soon = call_soon
        self._works: list[Generator[None, None, Any]] = []
        self._scheduled = False

    def add(self, work: Generator[None, None, Any]) -> None:
        """Do this after what is under way."""
        self._works.append(work)
        self._schedule()

    def drop(self, work: Generator[None, None, Any]) -> None:
        """Do no more of this."""
        if work in self._works:
            self._works.remove(work)
            work.close()

    def _schedule(self) -> None:
        if not self._scheduled and self._works:
            self._scheduled = True
            self._call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        end = perf_counter() + _SLICE
        while self._works:
            work = self._works[0]
            try:
                while perf_counter() < end:
                    next(work)
            except StopIteration:
                self._works.remove(work)
                continue
            break
        self._schedule()
