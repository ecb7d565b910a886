"""Lets the body of one response out at a limited rate, a portion every 50 ms.

Source: Envoy's `StreamRateLimiter`: the bucket holds a second's worth and starts with that of one interval.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

#: Seconds between two portions.
FILL_INTERVAL: Final = 0.05


class Outlet(Protocol):
    """Where the portions go."""

    def write(self, data: bytes, end_stream: bool) -> None:
        """Pass body bytes on."""

    def finish(self) -> None:
        """All bytes have passed: the trailers may follow."""

    def pause(self) -> None:
        """More waits than may: let the sender wait."""

    def resume(self) -> None:
        """Undo `pause`."""


class StreamRateLimiter:
    """`rate` is bytes a second, `limit` how many bytes may wait before the sender is paused (0: any number)."""

    def __init__(self, outlet: Outlet, rate: int, limit: int, wake: Callable[[float], None]) -> None:
        self._outlet = outlet
        self._rate = rate
        self._limit = limit
        self._wake = wake
        self._waiting = bytearray()
        self._tokens = rate * FILL_INTERVAL
        self._filled_at = 0.0
        self._armed = self._ended = self._trailers = self._paused = False

    def put(self, data: bytes, end_stream: bool, now: float) -> None:
        """Take body bytes; `now` is monotonic seconds."""
        self._waiting += data
        self._ended = end_stream
        if not self._filled_at:
            self._filled_at = now
        if not self._armed:
            self._armed = True
            self._wake(now)
        if self._limit and not self._paused and len(self._waiting) > self._limit:
            self._paused = True
            self._outlet.pause()

    def end(self) -> bool:
        """Trailers have come; tells whether they must wait for `Outlet.finish`."""
        self._trailers = True
        return bool(self._waiting)

    def on_time(self, now: float) -> None:
        """Let out what may go now, and ask to be woken for the rest."""
        self._armed = False
        rate = self._rate
        tokens = min(float(rate), self._tokens + (now - self._filled_at) * rate)
        self._filled_at = now
        portion = bytes(self._waiting[: int(tokens)])
        del self._waiting[: len(portion)]
        self._tokens = tokens - len(portion)
        left = len(self._waiting)
        if left:
            self._armed = True
            self._wake(now + FILL_INTERVAL)
        if self._paused and left <= self._limit // 2:
            self._paused = False
            self._outlet.resume()
        self._outlet.write(portion, self._ended and not left and not self._trailers)
        if not self._waiting and self._trailers:
            self._outlet.finish()
