"""The Date field (RFC 9110 section 6.6.1): formatted once a second, not once a response."""

from __future__ import annotations

import time
from collections.abc import Callable

from proxy.base.stream_info import WallClock

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class HttpDate:
    """Gives the present time as `Sun, 22 Nov 2026 16:13:06 GMT`."""

    def __init__(self, wall_clock: WallClock, monotonic: Callable[[], float]) -> None:
        self._wall_clock = wall_clock
        self._monotonic = monotonic
        self._until = -1.0
        self._text = ""
        self._encoded = b""

    def text(self) -> str:
        """The field value for now."""
        self.encoded()
        return self._text

    def encoded(self) -> bytes:
        """The same as bytes."""
        monotonic = self._monotonic  # held by the object: called by name, it is looked for in its class first
        now = monotonic()
        if now >= self._until:
            wall = self._wall_clock.at(now)
            self._until = now + 1.0 - wall % 1.0
            moment = time.gmtime(int(wall))
            day, month = _DAYS[moment.tm_wday], _MONTHS[moment.tm_mon - 1]
            clock = f"{moment.tm_hour:02}:{moment.tm_min:02}:{moment.tm_sec:02}"
            self._text = f"{day}, {moment.tm_mday:02} {month} {moment.tm_year:04} {clock} GMT"
            self._encoded = self._text.encode("ascii")
        return self._encoded
