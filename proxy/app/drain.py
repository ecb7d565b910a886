"""One graceful stop: announce it, stop accepting, wait for connections to end, give up at a deadline.

`immediate` stops accepting at once. `gradual` goes on accepting for the first half of the drain time, so that
clients and load balancers that have not heard of it yet are not refused; every response says `connection:
close` meanwhile. It stops earlier when nobody is connected and nobody comes. With either, the stop is complete as
soon as no connection is left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

logger = logging.getLogger("proxy.app.drain")

_ACCEPTING_SHARE: Final = 0.5
# Where clients have come, others may be on their way until nobody has come for so long.
_QUIET_SECONDS: Final = 1.0
# A client that keeps a connection open learns of the drain with its next response; one that stays silent for so
# long has no use for it. Earlier it may be about to send, and would lose its request.
IDLE_SECONDS: Final = 5.0
_IDLE_SECONDS_IMMEDIATE: Final = 1.0


class DrainSequence:
    """Counts down the connections of all workers. `stop_accepting` and `finished` are called once
    each, `close_idle` every few seconds with the seconds that a connection must have been silent.

    `seconds` is `--drain-time-s`; 0 ends at once whatever is open. With `hand_over` another process accepts.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        seconds: float,
        immediate: bool,
        stop_accepting: Callable[[], None],
        close_idle: Callable[[float], None],
        finished: Callable[[], None],
        *,
        hand_over: bool = False,
    ) -> None:
        self._hand_over = hand_over
        self._loop = loop
        self._seconds = seconds
        self._immediate = immediate
        self._stop_accepting = stop_accepting
        self._close_idle = close_idle
        self._finished = finished
        self._timers: list[asyncio.TimerHandle] = []
        self._idle_timer: asyncio.TimerHandle | None = None
        self._accepting = True
        self._accepted: int | None = None
        self._came_at = 0.0
        longest = _IDLE_SECONDS_IMMEDIATE if immediate else IDLE_SECONDS
        self._idle_seconds = min(longest, seconds / 4)
        self.done = False

    def start(self) -> None:
        """Begin; `progress` must be called from now on."""
        if self._immediate:
            self._refuse()
            self._close_idle(self._idle_seconds)
        elif self._hand_over:
            self._refuse()
        else:
            self._timers.append(self._loop.call_later(self._seconds * _ACCEPTING_SHARE, self._refuse))
        self._timers.append(self._loop.call_later(self._seconds, self._give_up))
        self._plan_close_idle()

    def progress(self, connections: int, accepted: int = 0, *, lately: bool = False) -> None:
        """Every worker has reported: all together have so many connections open, and have ever accepted so many.

        `lately` says whether they had accepted any in the seconds before.
        """
        if self.done:
            return
        if not self._accepting:
            if not connections:
                self._finish()
            return
        now = self._loop.time()
        idle = self._accepted is None and not connections and not lately
        if accepted != self._accepted:
            self._accepted, self._came_at = accepted, now
        if idle or (not connections and now - self._came_at >= _QUIET_SECONDS):
            # Who has connected by now is still served; the next report tells.
            self._refuse()

    def limit(self, seconds: float) -> None:
        """End at most so many seconds from now."""
        if not self.done:
            self._timers.append(self._loop.call_later(seconds, self._give_up))
            self._seconds = min(self._seconds, seconds)

    def cancel(self) -> None:
        """Stop the timers; nothing more will be called."""
        self.done = True
        for timer in self._timers:
            timer.cancel()
        if self._idle_timer is not None:
            self._idle_timer.cancel()

    def _refuse(self) -> None:
        if self._accepting:
            self._accepting = False
            self._stop_accepting()

    def _plan_close_idle(self) -> None:
        self._idle_timer = self._loop.call_later(self._idle_seconds, self._on_idle_timer)

    def _on_idle_timer(self) -> None:
        self._close_idle(self._idle_seconds)
        self._plan_close_idle()

    def _give_up(self) -> None:
        logger.warning("the drain time of %g s is over; closing what is still open", self._seconds)
        self._finish()

    def _finish(self) -> None:
        if not self.done:
            self._refuse()
            self.cancel()
            self._finished()
