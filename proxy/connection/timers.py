"""One timer for everything that waits: no timer object per request.

Each request has half a dozen deadlines and nearly always ends before any of them. Creating and cancelling a
loop timer costs about 2 us each; here a target is woken at the earliest moment that anybody asked for, looks
at its own fields, and asks again if its deadline has moved. A target that is already due to wake earlier asks
for nothing, so a busy connection costs one heap operation every few seconds.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import Final, Protocol

#: Below this many cancelled entries a clean-up is not worth its while.
_FEW: Final = 256


class Wakeable(Protocol):
    """What the queue wakes."""

    def on_wake(self, now: float) -> None:
        """Called at or a little after the moment asked for; may come when nothing is due any more."""


class WakeUp:
    """A wake-up that was asked for; `target` is None once it was cancelled or has come."""

    __slots__ = ("sequence", "target", "when")

    def __init__(self, when: float, sequence: int, target: Wakeable) -> None:
        self.when = when
        self.sequence = sequence
        self.target: Wakeable | None = target


class TimerQueue:
    """Wakes targets at monotonic moments (seconds, `loop.time()`)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heap: list[tuple[float, int, WakeUp]] = []
        self._sequence = 0
        self._cancelled = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def wake(self, when: float, target: Wakeable) -> WakeUp:
        """Call `target.on_wake(now)` once at `when`. A target may be queued several times."""
        self._sequence = sequence = self._sequence + 1
        entry = WakeUp(when, sequence, target)
        heapq.heappush(self._heap, (when, sequence, entry))
        if self._timer is None or when < self._timer_at:
            self._arm(when)
        return entry

    def cancel(self, entry: WakeUp) -> None:
        """Forget a wake-up and let go of its target.

        The entry itself goes when its time comes, or when half of the queue is such entries: a server of short
        connections with an idle timeout of an hour must not keep an hour of them.
        """
        if entry.target is None:
            return
        entry.target = None
        self._cancelled += 1
        if self._cancelled > _FEW and self._cancelled * 2 > len(self._heap):
            self._heap = [item for item in self._heap if item[2].target is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._fire)

    def _fire(self) -> None:
        self._timer = None
        # libuv rounds down to milliseconds, so a timer may fire up to 1 ms early.
        now = max(self._loop.time(), self._timer_at)
        # Looked up each time: a target may cancel others and so have the heap replaced.
        while self._heap and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)[2]
            target = entry.target
            if target is None:
                self._cancelled -= 1
            else:
                entry.target = None
                target.on_wake(now)
        # One that was woken may have asked for a later moment than the next that is due.
        if self._heap and (self._timer is None or self._heap[0][0] < self._timer_at):
            self._arm(self._heap[0][0])

    def close(self) -> None:
        """Forget everything."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._heap.clear()
