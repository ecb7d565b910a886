"""One request on an HTTP/2 connection to a host: what an upstream request holds as its connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.base.headers import HeaderMap
from proxy.base.stream_info import StreamInfo
from proxy.codec.http2_frames import FRAME_HEADER_SIZE, ErrorCode
from proxy.codec.http2_render import render_trailer_block
from proxy.codec.http2_response import Http2Response, answer_to_connect
from proxy.codec.http2_stream import Http2Stream
from proxy.upstream.pool.api import MAX_INFORMATIONAL, PoolRequest, ResetReason

if TYPE_CHECKING:
    from proxy.upstream.pool.http2_connection import Http2UpstreamConnection

#: What a reset with this code means; every other code is `REMOTE_RESET`, as in Envoy, where a head over the
#: limits (reset from here with INTERNAL_ERROR) looks the same.
_REASONS: Final = {
    ErrorCode.PROTOCOL_ERROR: ResetReason.PROTOCOL_ERROR,
    ErrorCode.REFUSED_STREAM: ResetReason.REMOTE_REFUSED_STREAM,
    ErrorCode.CONNECT_ERROR: ResetReason.CONNECT_ERROR,
}
#: RST_STREAM with its frame header.
_RESET_SIZE: Final = 13


class Http2ClientStream(Http2Stream):
    """See module; an `UpstreamConnection`.

    `request` is None once nobody wants to hear more: the response is complete, or the request was given up.
    """

    _informational = 0
    #: Whether the request is a tunnel of the TCP proxy's: it goes on after the end of the response.
    carries_bytes = False
    connection: Http2UpstreamConnection

    def __init__(self, connection: Http2UpstreamConnection, request: PoolRequest) -> None:
        self.set_up(connection, 0)
        self.request: PoolRequest | None = request
        if request.method == "HEAD":
            self.ignore_length = True

    # -- the request's side (`UpstreamConnection`)

    @property
    def connection_id(self) -> int:
        """See `UpstreamConnection`."""
        return self.connection.connection_id

    def describe(self, info: StreamInfo) -> None:
        """See `UpstreamConnection`."""
        self.connection.describe(info)

    def release(self) -> None:
        """See `UpstreamConnection`."""
        self.request = None
        self.connection.detach()

    def send_head(self, body: bytes, end_stream: bool) -> None:
        """See `UpstreamConnection`."""
        request = self.request
        assert request is not None
        block = request.head.http2_block(request.request_id)
        request.header_bytes_sent = request.wire_bytes_sent = len(block) + FRAME_HEADER_SIZE
        self.connection.open_stream(self)
        if not body:
            Http2Stream.send_head(self, block, end_stream)
            return
        request.wire_bytes_sent += len(body) + FRAME_HEADER_SIZE
        if end_stream:
            self.send_message(block, body)
        else:
            super().send_head(block, False)
            super().send_data(body, False)

    def send_data(self, data: bytes, end_stream: bool) -> None:
        """See `UpstreamConnection`."""
        if self.request is not None:
            self.request.wire_bytes_sent += len(data) + FRAME_HEADER_SIZE
        Http2Stream.send_data(self, data, end_stream)

    # The core takes a block here; both it and the owner of a request end a stream by this name.
    def send_trailers(self, trailers: HeaderMap) -> None:  # type: ignore[override]
        """See `UpstreamConnection`."""
        block = render_trailer_block(trailers)
        if self.request is not None:
            self.request.wire_bytes_sent += len(block) + FRAME_HEADER_SIZE
        super().send_trailers(block)

    def pause_reading(self) -> None:
        """See `UpstreamConnection`."""
        self.connection.pool.stats.upstream_flow_control_paused_reading_total += 1
        super().pause_reading()

    def resume_reading(self) -> None:
        """See `UpstreamConnection`."""
        self.connection.pool.stats.upstream_flow_control_resumed_reading_total += 1
        super().resume_reading()

    def abandon(self) -> None:
        """See `UpstreamConnection`: the stream is reset, the connection lives."""
        if self.request is not None:
            self._reset_request()

    def _reset_request(self) -> None:
        self.request = None
        self.connection.pool.stats.upstream_rq_tx_reset += 1
        self.reset(ErrorCode.INTERNAL_ERROR)

    def _response_complete(self) -> None:
        """The response is complete. Envoy's router does not send the rest of a request whose answer is there."""
        if self.local_closed:
            self.request = None
        elif not self.carries_bytes:
            self._reset_request()

    # -- the core's side

    def on_head(self, parsed: Http2Response, end_stream: bool) -> None:
        """See `Http2Stream`."""
        request = self.request
        if request is None:
            return
        request.wire_bytes_received += parsed.wire_bytes
        if parsed.informational:
            self._informational += 1
            if self._informational > MAX_INFORMATIONAL:
                self._request_failed(ResetReason.PROTOCOL_ERROR, "")
                self.reset(ErrorCode.ENHANCE_YOUR_CALM)
            else:
                request.on_informational(parsed)
            return
        if parsed.bodyless:
            self.body_left = 0
        if request.upgrading or request.method == "CONNECT":
            parsed = answer_to_connect(parsed, request.upgrading)
        if end_stream:
            self._response_complete()
        request.on_response(parsed, b"", end_stream)

    def on_message(self, parsed: Http2Response, data: bytes, end_stream: bool) -> None:
        """See `Http2Stream`."""
        request = self.request
        if request is None:
            return
        request.wire_bytes_received += parsed.wire_bytes + len(data) + FRAME_HEADER_SIZE
        if request.upgrading or request.method == "CONNECT":
            parsed = answer_to_connect(parsed, request.upgrading)
        if end_stream:
            self._response_complete()
        request.on_response(parsed, data, end_stream)

    def on_data(self, data: bytes, end_stream: bool) -> None:
        """See `Http2Stream`."""
        request = self.request
        if request is None:
            return
        request.wire_bytes_received += len(data) + self.connection.data_framing
        if end_stream:
            self._response_complete()
        request.on_response_data(data, end_stream)

    def on_trailers(self, trailers: tuple[HeaderMap, int]) -> None:
        """See `Http2Stream`."""
        request = self.request
        if request is not None:
            request.wire_bytes_received += trailers[1]
            self._response_complete()
            # Shared with equal ones to come: whoever changes them makes a copy.
            request.on_response_trailers(trailers[0])

    def on_reset(self, code: int, details: str, remote: bool) -> None:
        """See `Http2Stream`."""
        reason = self.connection.ending
        if reason is None:
            if remote and self.request is not None:
                self.request.wire_bytes_received += _RESET_SIZE
            reason = _REASONS.get(code, ResetReason.REMOTE_RESET)  # type: ignore[call-overload]
        self._request_failed(reason, details)

    def on_refused(self) -> None:
        """The peer's GOAWAY tells that it has not looked at the request."""
        self._request_failed(ResetReason.REMOTE_REFUSED_STREAM, "")

    def _request_failed(self, reason: ResetReason, details: str) -> None:
        request = self.request
        if request is None:
            return
        self.request = None
        stats = self.connection.pool.stats
        if reason is ResetReason.REMOTE_RESET:
            stats.upstream_rq_rx_reset += 1
        elif reason is ResetReason.PROTOCOL_ERROR:
            stats.upstream_rq_tx_reset += 1
        elif reason is ResetReason.CONNECTION_TERMINATION:
            stats.upstream_rq_pending_failure_eject += 1
        request.on_reset(reason, details)

    def on_send_blocked(self) -> None:
        """See `Http2Stream`."""
        self.connection.pool.stats.upstream_flow_control_backed_up_total += 1
        if self.request is not None:
            self.request.on_write_paused()

    def on_send_drained(self) -> None:
        """See `Http2Stream`."""
        self.connection.pool.stats.upstream_flow_control_drained_total += 1
        if self.request is not None:
            self.request.on_write_resumed()
