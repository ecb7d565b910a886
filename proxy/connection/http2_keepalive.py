"""Keepalive PINGs on an HTTP/2 connection (`core.v3.KeepaliveSettings`), either side."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, Final, Protocol

from proxy.base.services import Timers
from proxy.codec.http2_options import KeepaliveOptions

_OPAQUE: Final = Struct(">Q")


class PingingConnection(Protocol):
    """What the keepalive needs of its connection."""

    def send_ping(self, opaque: bytes) -> None:
        """Send a PING."""

    def on_keepalive_timeout(self) -> None:
        """The peer has not answered in time."""


class Http2Keepalive:
    """PINGs at intervals with jitter, each to be answered within the timeout; anything received extends that.

    A client also sends one ahead of a stream on a connection from which nothing has come for
    `connection_idle_interval`. Times are monotonic seconds; `draw` gives random integers.
    """

    __slots__ = (
        "_connection",
        "_draw",
        "_entry",
        "_last_received",
        "_options",
        "_timers",
        "_waiting",
    )

    def __init__(
        self,
        options: KeepaliveOptions,
        connection: PingingConnection,
        timers: Timers,
        draw: Callable[[], int],
        now: float,
    ) -> None:
        self._options = options
        self._connection = connection
        self._timers = timers
        self._draw = draw
        self._entry: Any = None
        self._waiting = False
        self._last_received = now
        self._schedule(now)

    def _schedule(self, now: float) -> None:
        interval = round(self._options.interval * 1000)
        if not interval:
            return
        spread = int(interval * self._options.interval_jitter / 100)
        if spread > 0:
            interval += self._draw() % spread
        self._wake(now + interval / 1000)

    def _wake(self, when: float) -> None:
        self.stop()
        self._entry = self._timers.wake(when, self)

    def on_received(self, now: float) -> None:
        """Bytes came from the peer."""
        self._last_received = now

    def on_ack(self, now: float) -> None:
        """A PING was answered."""
        if self._waiting:
            self._waiting = False
            self.stop()
            self._schedule(now)

    def before_stream(self, now: float) -> None:
        """A stream is about to be opened."""
        idle = self._options.connection_idle_interval
        if idle and not self._waiting and now - self._last_received > idle:
            self._ping(now)

    def _ping(self, now: float) -> None:
        self._waiting = True
        self._last_received = now
        self._connection.send_ping(_OPAQUE.pack(int(now * 1000)))
        self._wake(now + self._options.timeout)

    def on_wake(self, now: float) -> None:
        """See `Timers`."""
        self._entry = None
        if not self._waiting:
            self._ping(now)
            return
        deadline = self._last_received + self._options.timeout
        if deadline > now:
            self._wake(deadline)
        else:
            self._connection.on_keepalive_timeout()

    def stop(self) -> None:
        """Forget the timer, as when the connection is gone."""
        if self._entry is not None:
            self._timers.cancel(self._entry)
            self._entry = None
