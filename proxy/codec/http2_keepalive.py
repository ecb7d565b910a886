"""PINGs that find out whether the peer is still there (`core.v3.KeepaliveSettings`). Sans-IO; times in seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.codec.http2_options import KeepaliveOptions
from proxy.codec.http2_output import Http2Output

_NEVER: Final = float("inf")


class Http2Keepalive:
    """One per connection that has `Http2Options.connection_keepalive`.

    The owner calls `on_deadline` when `deadline` (on its monotonic clock) has come, `on_read` for each read before
    `receive`, and `on_ping_ack` from the hook of that name. `random` gives numbers in [0, 1).
    """

    __slots__ = ("_connection", "_last_read", "_options", "_random", "awaiting", "deadline")

    def __init__(
        self, connection: Http2Output, options: KeepaliveOptions, now: float, random: Callable[[], float]
    ) -> None:
        self._connection = connection
        self._options = options
        self._random = random
        self._last_read = now
        #: A PING has been sent and not answered.
        self.awaiting = False
        self.deadline = _NEVER
        self._schedule(now)

    def on_deadline(self, now: float) -> bool:
        """Send the PING that is due; True if the last one was not answered and the connection must close."""
        if now < self.deadline:
            return False
        if self.awaiting:
            self._connection.stats.keepalive_timeout += 1
            self.deadline = _NEVER
            return True
        self._ping(now)
        return False

    def on_read(self, now: float) -> None:
        """The peer sent something: an answer to a PING may be stuck behind it."""
        self._last_read = now
        if self.awaiting:
            self.deadline = now + self._options.timeout

    def on_ping_ack(self, now: float) -> None:
        """The peer answered."""
        self.awaiting = False
        self._schedule(now)

    def on_new_stream(self, now: float) -> None:
        """A client is about to open a stream: after a long silence a PING goes ahead of it."""
        idle = self._options.connection_idle_interval
        if idle and now - self._last_read > idle and not self.awaiting:
            self._ping(now)

    def _ping(self, now: float) -> None:
        self.awaiting = True
        self.deadline = now + self._options.timeout
        self._connection.send_ping(int(now * 1000).to_bytes(8, "big"))

    def _schedule(self, now: float) -> None:
        interval = self._options.interval
        jitter = interval * self._options.interval_jitter / 100
        self.deadline = now + interval + jitter * self._random() if interval else _NEVER
