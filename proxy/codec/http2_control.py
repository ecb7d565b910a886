"""What the control frames of a peer do to a connection (RFC 9113 sections 6.3 to 6.9).

Which errors announce themselves by GOAWAY and which close silently follows Envoy: malformed frames do, frames
in the wrong state or with a wrong value do not.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from proxy.codec.hpack_decoder import HpackDecoder
from proxy.codec.http2_frames import (
    ACK,
    DEFAULT_HEADER_TABLE_SIZE,
    DEFAULT_MAX_FRAME_SIZE,
    LARGEST_MAX_FRAME_SIZE,
    MAX_STREAM_ID,
    MAX_WINDOW,
    SETTING,
    SETTINGS_ENABLE_CONNECT_PROTOCOL,
    SETTINGS_ENABLE_PUSH,
    SETTINGS_HEADER_TABLE_SIZE,
    SETTINGS_INITIAL_WINDOW_SIZE,
    SETTINGS_MAX_CONCURRENT_STREAMS,
    SETTINGS_MAX_FRAME_SIZE,
    WORD,
    ErrorCode,
    Http2ConnectionError,
    ping_frame,
    reset_frame,
    settings_frame,
    window_update_frame,
)
from proxy.codec.http2_limits import InboundLimits
from proxy.codec.http2_options import Http2Options
from proxy.codec.http2_output import NO_TABLE, Http2Output
from proxy.codec.http2_stats import Http2CodecStats

if TYPE_CHECKING:
    from proxy.codec.http2_stream import Http2Stream

#: Envoy's texts, which end up in `%RESPONSE_CODE_DETAILS%` behind "codec_error:".
CALLBACK_FAILED: Final = "The user callback function failed"
REMOTE_RESET: Final = "http2.remote_reset"
REMOTE_REFUSED: Final = "http2.remote_refuse"
UNKNOWN_ERROR: Final = "http2.unknown.nghttp2.error"

_SETTINGS_ACK: Final = settings_frame([])[:4] + bytes((ACK,)) + bytes(4)
_PRIORITY_SIZE: Final = 5
_WORD_SIZE: Final = 4
_SETTING_SIZE: Final = 6
_PING_SIZE: Final = 8
_GOAWAY_SIZE: Final = 8


def malformed(code: int, text: str = "") -> Http2ConnectionError:
    """A frame that breaks the framing: GOAWAY, with `text` as its debug data."""
    return Http2ConnectionError(code, CALLBACK_FAILED, goaway=True, debug=text.encode())


def refused(code: int = ErrorCode.PROTOCOL_ERROR) -> Http2ConnectionError:
    """A frame that may not be, here or now: no GOAWAY."""
    return Http2ConnectionError(code, CALLBACK_FAILED, goaway=False)


class Http2Control(Http2Output):
    """See module; also the table of streams and the windows of what we receive."""

    def __init__(self, options: Http2Options, *, client: bool, stats: Http2CodecStats) -> None:
        super().__init__(options, client=client, stats=stats)
        self.limits = InboundLimits(options, stats)
        self.decoder = HpackDecoder()
        #: The peer's first SETTINGS have come; it has acknowledged ours.
        self.settings_received = False
        self.settings_acknowledged = False
        #: The peer sent GOAWAY; `peer_last_stream_id` is the last one it may process.
        self.goaway_received = False
        self.peer_last_stream_id = MAX_STREAM_ID
        self.initial_recv_window = options.initial_stream_window_size
        self.full_recv_window = options.initial_connection_window_size
        self.recv_window = self.full_recv_window
        self.recv_low = self.full_recv_window // 2
        self.stream_recv_low = self.initial_recv_window // 2
        #: Bytes received on streams that do not read. The connection's window is credited on receipt, so that
        #: one slow reader does not stop the others, but not beyond one more window of such bytes.
        self.held = 0
        #: The stream at fault and the detail for it, when the connection fails.
        self.failed_stream: Http2Stream | None = None
        self.failed_details = ""
        #: The highest `send_credit` that a stream may have.
        self._max_credit = 0
        #: The peer raised the initial window in the present read.
        self.window_grew = False

    # -- hooks for the owner

    def now(self) -> float:
        """Monotonic seconds; asked for on RST_STREAM only."""
        return time.monotonic()

    def on_settings(self) -> None:
        """The peer's SETTINGS came; the `peer_*` attributes have changed."""

    def on_goaway(self, last_stream_id: int, code: int, debug: bytes) -> None:
        """The peer sent GOAWAY. Streams beyond `last_stream_id` have already had `on_refused`."""

    def on_refused(self, stream: Http2Stream) -> None:
        """Client: the peer's GOAWAY says that it will never process `stream`, which may go elsewhere."""
        stream.on_reset(ErrorCode.REFUSED_STREAM, REMOTE_REFUSED, True)

    def on_ping_ack(self, opaque: bytes) -> None:
        """The peer answered a PING."""

    def on_stream_closed(self, stream: Http2Stream) -> None:
        """`stream` has left the table, for whatever reason; called once for each.

        While `receiving` and not `dead` it may raise `Http2ConnectionError`, to end the connection.
        """

    # -- streams

    def forget(self, stream: Http2Stream) -> None:
        """Take `stream` out of the table with all that it had to send."""
        stream.closed = stream.local_closed = True
        del self.streams[stream.id]
        self.stats.streams_active -= 1
        pending = stream.pending
        if pending is not None:
            stream.pending = None
            self.add_pending(-pending.size)
            self.waiting.pop(stream, None)
            self.stalled.pop(stream, None)
        if stream.pauses:
            self.held -= self.initial_recv_window - stream.recv_window
            self.credit()

    def fail_stream(self, stream: Http2Stream, code: int, details: str) -> None:
        """Reset `stream` for what the peer did wrong on it."""
        self.stats.tx_reset += 1
        self.queue_control(reset_frame(stream.id, code))
        self.forget(stream)
        stream.on_reset(code, details, False)
        self.on_stream_closed(stream)

    def is_idle(self, stream_id: int) -> bool:
        """Whether a stream that is not in the table has never been opened."""
        return not stream_id & 1 or stream_id > self.last_stream_id

    # -- receive windows

    def credit(self) -> None:
        """Give the connection's window back, if that is due."""
        target = self.full_recv_window - max(0, self.held - self.full_recv_window)
        window = self.recv_window
        if window < self.recv_low and target - window > self.recv_low:
            self.queue(window_update_frame(0, target - window))
            self.recv_window = target

    def credit_stream(self, stream: Http2Stream) -> None:
        """Give the window of a stream that reads back, if that is due."""
        window = stream.recv_window
        if window < self.stream_recv_low and not stream.pauses and not stream.remote_closed:
            self.queue(window_update_frame(stream.id, self.initial_recv_window - window))
            stream.recv_window = self.initial_recv_window

    # -- frames

    def on_settings_frame(self, flags: int, stream_id: int, payload: bytes) -> None:
        """SETTINGS."""
        if stream_id:
            raise refused()
        if flags & ACK:
            if payload:
                raise malformed(ErrorCode.FRAME_SIZE_ERROR)
            if not self.settings_due:
                raise refused()
            self.settings_due -= 1
            if not self.settings_acknowledged:
                self.settings_acknowledged = True
                if self.options.hpack_table_size != DEFAULT_HEADER_TABLE_SIZE:
                    self.decoder.set_max_table_size(self.options.hpack_table_size)
            return
        if len(payload) % _SETTING_SIZE:
            raise malformed(ErrorCode.FRAME_SIZE_ERROR)
        for identifier, value in SETTING.iter_unpack(payload):
            self._apply_setting(identifier, value)
        self.settings_received = True
        self.queue_control(_SETTINGS_ACK)
        self.on_settings()

    def _apply_setting(self, identifier: int, value: int) -> None:
        if identifier == SETTINGS_INITIAL_WINDOW_SIZE:
            if value > MAX_WINDOW:
                raise refused(ErrorCode.FLOW_CONTROL_ERROR)
            self.window_grew = self.window_grew or value > self.peer_initial_window
            self.peer_initial_window = value
            if value + self._max_credit > MAX_WINDOW:
                self._check_windows()
        elif identifier == SETTINGS_MAX_CONCURRENT_STREAMS:
            self.peer_max_concurrent_streams = value
        elif identifier == SETTINGS_HEADER_TABLE_SIZE:
            if value < DEFAULT_HEADER_TABLE_SIZE:
                self.block_prefix = NO_TABLE
        elif identifier == SETTINGS_MAX_FRAME_SIZE:
            if not DEFAULT_MAX_FRAME_SIZE <= value <= LARGEST_MAX_FRAME_SIZE:
                raise refused()
            self.peer_max_frame_size = value
        elif identifier == SETTINGS_ENABLE_PUSH:
            if value > 1 or (value and self.client):
                raise refused()
        elif identifier == SETTINGS_ENABLE_CONNECT_PROTOCOL:
            if value > 1 or (self.client and self.peer_allows_connect and not value):
                raise refused()
            self.peer_allows_connect = bool(value)

    def _check_windows(self) -> None:
        """Reset the streams whose window the peer's new initial window makes too large."""
        most = MAX_WINDOW - self.peer_initial_window
        for stream in [stream for stream in self.streams.values() if stream.send_credit > most]:
            self.fail_stream(stream, ErrorCode.FLOW_CONTROL_ERROR, REMOTE_RESET)
        self._max_credit = max((stream.send_credit for stream in self.streams.values()), default=0)

    def on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        """WINDOW_UPDATE."""
        del flags
        if len(payload) != _WORD_SIZE:
            raise malformed(ErrorCode.FRAME_SIZE_ERROR)
        self.limits.on_window_update(len(self.streams), self.data_frames_sent)
        increment = WORD.unpack(payload)[0] & MAX_WINDOW
        if not stream_id:
            if not increment:
                raise refused()
            self.send_window += increment
            if self.send_window > MAX_WINDOW:
                raise refused(ErrorCode.FLOW_CONTROL_ERROR)
            if self.waiting:
                self.pump()
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if self.is_idle(stream_id):
                raise refused()
            return
        credit = stream.send_credit + increment
        if not increment or self.peer_initial_window + credit > MAX_WINDOW:
            raise self.blame(stream, refused(ErrorCode.FLOW_CONTROL_ERROR))
        stream.send_credit = credit
        if credit > self._max_credit:
            self._max_credit = credit
        if stream in self.stalled:
            self.wake(stream)

    def blame(self, stream: Http2Stream, error: Http2ConnectionError) -> Http2ConnectionError:
        """`error`, for which `stream` gets a detail of its own."""
        self.failed_stream = stream
        self.failed_details = UNKNOWN_ERROR
        return error

    def wake(self, stream: Http2Stream) -> None:
        """The window of a stalled stream may have opened."""
        if stream.send_window > 0:
            del self.stalled[stream]
            if self.writable and self.send_window > 0:
                stream.drain()
            else:
                self.waiting[stream] = None

    def wake_stalled(self) -> None:
        """The peer raised the window of all streams; once for all SETTINGS of a read."""
        self.window_grew = False
        for stream in list(self.stalled):
            if stream in self.stalled:
                self.wake(stream)

    def on_reset_frame(self, flags: int, stream_id: int, payload: bytes) -> None:
        """RST_STREAM."""
        del flags
        if len(payload) != _WORD_SIZE:
            raise malformed(ErrorCode.FRAME_SIZE_ERROR)
        if not stream_id:
            raise refused()
        stream = self.streams.get(stream_id)
        if stream is None and self.is_idle(stream_id):
            raise refused()
        if not self.client:
            self.limits.on_reset(self.now())
        if stream is not None:
            code: int = WORD.unpack(payload)[0]
            self.stats.rx_reset += 1
            self.forget(stream)
            details = REMOTE_REFUSED if code == ErrorCode.REFUSED_STREAM else REMOTE_RESET
            stream.on_reset(code, details, True)
            self.on_stream_closed(stream)

    def on_ping_frame(self, flags: int, stream_id: int, payload: bytes) -> None:
        """PING."""
        if len(payload) != _PING_SIZE:
            raise malformed(ErrorCode.FRAME_SIZE_ERROR)
        if stream_id:
            raise refused()
        if flags & ACK:
            self.on_ping_ack(payload)
        else:
            self.queue_control(ping_frame(payload, ack=True))

    def on_goaway_frame(self, flags: int, stream_id: int, payload: bytes) -> None:
        """GOAWAY."""
        del flags
        if len(payload) < _GOAWAY_SIZE:
            raise malformed(ErrorCode.FRAME_SIZE_ERROR)
        last = WORD.unpack_from(payload)[0] & MAX_STREAM_ID
        if stream_id or last > self.peer_last_stream_id:
            raise refused()
        self.goaway_received = True
        before = self.peer_last_stream_id
        self.peer_last_stream_id = last
        if self.client and last < min(before, self.last_stream_id):
            for stream in [stream for number, stream in self.streams.items() if number > last]:
                if not stream.closed:
                    self.forget(stream)
                    self.on_refused(stream)
                    self.on_stream_closed(stream)
        self.on_goaway(last, WORD.unpack_from(payload, 4)[0], payload[8:])

    def on_priority_frame(self, flags: int, stream_id: int, payload: bytes) -> None:
        """PRIORITY: counted, and otherwise ignored."""
        del flags, stream_id
        if len(payload) != _PRIORITY_SIZE:
            raise malformed(ErrorCode.FRAME_SIZE_ERROR)
        self.limits.on_priority(len(self.streams))

    def on_push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        """PUSH_PROMISE, which nobody may send us."""
        del flags, stream_id, payload
        raise refused()
