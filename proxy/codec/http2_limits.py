"""Limits on abuse beyond the rules of the protocol, as Envoy sets them. Pure counters: no I/O, no clock."""

from __future__ import annotations

from typing import Final

from proxy.codec.http2_frames import ErrorCode, Http2ConnectionError
from proxy.codec.http2_options import Http2Options
from proxy.codec.http2_stats import Http2CodecStats

#: Envoy's codec allows a burst of resets, and then so many a second.
_RESET_BURST: Final = 1000
_RESETS_PER_SECOND: Final = 33
#: WINDOW_UPDATE frames that are free on any connection.
_FREE_WINDOW_UPDATES: Final = 5

EMPTY_FRAMES: Final = "http2.inbound_empty_frames_flood"


def flood(details: str) -> Http2ConnectionError:
    """The error of a limit: no GOAWAY, as in Envoy."""
    return Http2ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, details, goaway=False, flood=True)


class InboundLimits:
    """What one peer may send, in relation to what happens on its connection.

    The methods count one frame each and raise `Http2ConnectionError` when it is one too many.
    """

    __slots__ = (
        "_max_empty_frames",
        "_priority_frames",
        "_priority_per_stream",
        "_reset_tokens",
        "_reset_tokens_at",
        "_stats",
        "_window_update_frames",
        "_window_updates_per_data_frame",
        "empty_frames",
    )

    def __init__(self, options: Http2Options, stats: Http2CodecStats) -> None:
        self._stats = stats
        self._max_empty_frames = options.max_consecutive_inbound_frames_with_empty_payload
        self._priority_per_stream = options.max_inbound_priority_frames_per_stream
        self._window_updates_per_data_frame = options.max_inbound_window_update_frames_per_data_frame_sent
        #: In a row; the connection sets it to 0 when a frame has a payload or ends its stream.
        self.empty_frames = 0
        self._priority_frames = 0
        self._window_update_frames = 0
        self._reset_tokens = _RESET_BURST
        self._reset_tokens_at = 0.0

    def on_empty_frame(self) -> None:
        """A DATA, HEADERS or CONTINUATION frame without payload that ends nothing."""
        self.empty_frames += 1
        if self.empty_frames > self._max_empty_frames:
            self._stats.inbound_empty_frames_flood += 1
            raise flood("Too many consecutive frames with an empty payload")

    def on_priority(self, open_streams: int) -> None:
        """A PRIORITY frame."""
        self._priority_frames += 1
        if self._priority_frames > self._priority_per_stream * (1 + open_streams):
            self._stats.inbound_priority_frames_flood += 1
            raise flood("Too many PRIORITY frames")

    def on_window_update(self, open_streams: int, data_frames_sent: int) -> None:
        """A WINDOW_UPDATE frame."""
        self._window_update_frames += 1
        allowed = open_streams + self._window_updates_per_data_frame * data_frames_sent
        if self._window_update_frames > _FREE_WINDOW_UPDATES + 2 * allowed:
            self._stats.inbound_window_update_frames_flood += 1
            raise flood("Too many WINDOW_UPDATE frames")

    def on_reset(self, now: float) -> None:
        """A RST_STREAM frame, be its stream open or not. `now` is in monotonic seconds."""
        if self._reset_tokens <= 0 or self._reset_tokens == _RESET_BURST:
            gained = int((now - self._reset_tokens_at) * _RESETS_PER_SECOND)
            self._reset_tokens = min(_RESET_BURST, self._reset_tokens + gained)
            self._reset_tokens_at = now
        self._reset_tokens -= 1
        if self._reset_tokens < 0:
            raise Http2ConnectionError(
                ErrorCode.INTERNAL_ERROR, "Too many RST_STREAM frames", goaway=True, flood=True
            )


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
        if self.closed < self.total:
            return self.premature >= self.total // 2
        return self.premature * 2 >= self.closed
