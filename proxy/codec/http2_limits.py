"""Limits on abuse beyond the rules of the protocol, as Envoy sets them. Pure counters: no I/O, no clock."""

from __future__ import annotations


class PrematureResets:
    """Envoy's guard against rapid resets: many short streams without a response end the connection.

    One per downstream connection. `total` is the runtime key `overload.premature_reset_total_stream_count`,
    `min_lifetime` is `overload.premature_reset_min_stream_lifetime_seconds`.
    """

    __slots__ = ("closed", "min_lifetime", "premature", "total")

    def __init__(self, total: int = 500, min_lifetime: int = 1) -> None:
        self.total = total
        self.min_lifetime = min_lifetime
        self.closed = 0
        self.premature = 0

    def on_closed(self, lifetime: float, *, responded: bool) -> bool:
        """Count one ended stream; True if the connection must be aborted.

        `lifetime` is in seconds; `responded` tells that response headers were sent.
        """
        self.closed += 1
        if not responded and int(lifetime) <= self.min_lifetime:
            self.premature += 1
        half = self.total // 2
        if self.closed < self.total:
            return self.premature >= half
        return self.premature * 2 >= self.closed
