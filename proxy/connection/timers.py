"""One timer for everything that waits: no timer object per request.

Each request has half a dozen deadlines and nearly always ends before any of them. Creating and cancelling a
loop timer costs about 2 us each; here a target is woken at the earliest moment that anybody asked for, looks
at its own fields, and asks again if its deadline has moved. A target that is already due to wake earlier asks
for nothing, so a busy connection costs one heap operation every few seconds.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import Protocol


class Wakeable(Protocol):
    """What the queue wakes."""

    def on_wake(self, now: float) -> None:
        """Called at or a little after the moment asked for; may come when nothing is due any more."""


class TimerQueue:
    """Wakes targets at monotonic moments (seconds, `loop.time()`)."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heap: list[tuple[float, int, Wakeable]] = []
        self._sequence = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def wake(self, when: float, target: Wakeable) -> None:
        """Call `target.on_wake(now)` once at `when`. A target may be queued several times."""
        self._sequence += 1
        heapq.heappush(self._heap, (when, self._sequence, target))
        if self._timer is None or when < self._timer_at:
            self._arm(when)

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        self._timer = self._loop.call_at(when, self._fire)

    def _fire(self) -> None:
        self._timer = None
        heap = self._heap
        # libuv rounds down to milliseconds, so a timer may fire up to 1 ms early.
        now = max(self._loop.time(), self._timer_at)
        while heap and heap[0][0] <= now:
            heapq.heappop(heap)[2].on_wake(now)
        if heap and self._timer is None:
            self._arm(heap[0][0])

    def close(self) -> None:
        """Forget everything."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._heap.clear()
