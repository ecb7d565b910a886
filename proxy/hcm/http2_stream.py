"""One request on a downstream HTTP/2 connection: between the codec's stream and the connection manager's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.base.headers import HeaderMap
from proxy.base.messages import ResponseHead
from proxy.base.response_flags import ResponseFlag
from proxy.base.stream_info import ConnectionInfo
from proxy.codec.http2_fields import (
    HEADERS_TOO_LARGE,
    TOO_MANY_HEADERS,
    UNEXPECTED_UNDERSCORE,
    invalid_field,
    invalid_message,
)
from proxy.codec.http2_frames import DEFAULT_MAX_FRAME_SIZE, FRAME_HEADER_SIZE, ErrorCode
from proxy.codec.http2_render import render_response_block, render_trailer_block
from proxy.codec.http2_request import Http2Request
from proxy.codec.http2_stream import Http2Stream
from proxy.hcm.rejection import Rejection
from proxy.hcm.stream import Stream

if TYPE_CHECKING:
    from proxy.hcm.http2_connection import Http2ServerConnection

_RESET_FRAME_SIZE: Final = FRAME_HEADER_SIZE + 4
_NO_ERROR: Final = int(ErrorCode.NO_ERROR)
_CONNECT_ERROR: Final = int(ErrorCode.CONNECT_ERROR)
_INTERNAL_ERROR: Final = int(ErrorCode.INTERNAL_ERROR)
#: As plain numbers: an operation on an `IntFlag` costs 2 us.
_PROTOCOL_ERROR: Final = int(ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR)
_REMOTE_RESET: Final = int(ResponseFlag.DOWNSTREAM_REMOTE_RESET)
_BROKEN_TUNNEL: Final = int(
    ResponseFlag.UPSTREAM_CONNECTION_FAILURE | ResponseFlag.UPSTREAM_CONNECTION_TERMINATION
)
#: What Envoy's codec answers by a reset of its own, which it then takes for one of the client's.
_COUNTED_AS_REMOTE: Final = frozenset({HEADERS_TOO_LARGE, TOO_MANY_HEADERS, UNEXPECTED_UNDERSCORE})
_CONTINUE: Final = ResponseHead(100, HeaderMap())
_CONTINUE_BLOCK: Final = render_response_block(_CONTINUE)


class Http2ServerStream(Http2Stream):
    """See module; a `DownstreamCodec`.

    `stream` is None once the connection manager has done with the request, which it had at `done_at`. What is not
    sent by then may wait for `flush_timeout` seconds more, 0.0 for ever.
    """

    http2 = True
    done_at = 0.0
    flush_timeout = 0.0

    def __init__(self, server: Http2ServerConnection, stream_id: int) -> None:
        self.set_up(server, stream_id)
        self.server = server
        self.info: ConnectionInfo = server.info
        self.now = now = server.time
        self.stream: Stream | None = Stream(self, server.manager, now())

    # -- from the codec

    def on_head(self, parsed: Http2Request, end_stream: bool) -> None:
        """See `Http2Stream`."""
        stream = self.stream
        if stream is None:
            return
        server = self.server
        manager = server.manager
        info = stream.info
        clock = self.now  # see `Stream._finish`
        info.request_headers_complete = now = clock()
        plan = parsed.plans.get(server.key)
        if plan is None:
            plan = server.plan(parsed, stream)
        else:
            plan.repeated = True
        if parsed.dropped_underscores:
            manager.http2_stats.dropped_headers_with_underscores += parsed.dropped_underscores
        if parsed.expect_continue and not manager.config.proxy_100_continue and plan.rejection is None:
            self._count_interim()
            self.send_head(_CONTINUE_BLOCK, False)
        if end_stream:
            stream.request_complete = True
            info.request_complete = now
            stream.begin(parsed, plan, end_stream=True)
            if not stream.destroyed:
                if stream.route_timeout:
                    stream.deadline = now + stream.route_timeout
                if now + stream.shortest_timeout < server.wake_at:
                    server.arm_stream(stream)
        else:
            stream.begin(parsed, plan, end_stream=False)
            if not stream.destroyed and (
                now + stream.shortest_timeout < server.wake_at or manager.config.request_timeout
            ):
                server.arm_stream(stream)

    def on_message(self, parsed: Http2Request, data: bytes, end_stream: bool) -> None:
        """See `Http2Stream`: where nothing wants to see the body apart, it leaves with the head."""
        stream = self.stream
        if stream is None:
            return
        stream.early_body = data
        stream.early_end = end_stream
        self.on_head(parsed, False)
        if self.stream is None:
            return
        if stream.early_body is not None:
            stream.early_body = None
            if not self.closed:
                self.on_data(data, end_stream)
            return
        info = stream.info
        size = len(data)
        info.bytes_received += size
        if self.server.manager.counts_bytes:
            info.downstream_wire_bytes_received += size + FRAME_HEADER_SIZE
        if end_stream:
            stream.on_request_complete(self.now())

    def on_data(self, data: bytes, end_stream: bool) -> None:
        """See `Http2Stream`."""
        stream = self.stream
        if stream is None:
            return
        server = self.server
        if server.manager.counts_bytes:
            stream.info.downstream_wire_bytes_received += len(data) + server.data_framing
        if end_stream:
            # Completion first: the timeout must run before an answer can come.
            stream.on_request_complete(self.now())
            stream.on_request_data(data, end_stream=True)
        else:
            stream.on_request_data(data, end_stream=False)

    def check_trailers(self, trailers: tuple[HeaderMap, int]) -> None:
        """See `Http2Stream`: a length there is held against the body, and must be the only one."""
        length = trailers[0].get("content-length")
        if length is None or self.stream is None:
            return
        if self.body_left >= 0:
            raise invalid_field()
        if int(length) != self.stream.info.bytes_received:
            raise invalid_message()

    def on_trailers(self, trailers: tuple[HeaderMap, int]) -> None:
        """See `Http2Stream`. The number is the size of the encoded field section."""
        stream = self.stream
        if stream is not None:
            fields, block_size = trailers
            stream.info.downstream_header_bytes_received += block_size + FRAME_HEADER_SIZE
            stream.info.downstream_wire_bytes_received += block_size + FRAME_HEADER_SIZE
            stream.on_request_complete(self.now())
            # Filters may change them, and equal ones of later requests are the same object.
            stream.on_request_trailers(fields.copy())

    def on_reset(self, code: int, details: str, remote: bool) -> None:
        """See `Http2Stream`."""
        stream = self.stream
        if stream is None:
            return
        stream.info.protocol = "HTTP/2"
        server = self.server
        if server.end_flags:
            stream.on_downstream_reset(server.end_flags, details)
        elif remote:
            stream.info.downstream_wire_bytes_received += _RESET_FRAME_SIZE
            if code == _NO_ERROR:
                # Nothing is wrong, says the client, and so say Envoy's logs.
                stream.on_downstream_reset(0, None)
            else:
                stream.on_downstream_reset(_REMOTE_RESET, details)
        elif details in _COUNTED_AS_REMOTE:
            stream.on_downstream_reset(_REMOTE_RESET, details)
        else:
            stream.on_downstream_reset(_PROTOCOL_ERROR, details)

    def on_send_blocked(self) -> None:
        """See `Http2Stream`."""
        if self.stream is not None:
            self.server.manager.stats.downstream_flow_control_paused_reading_total += 1
            self.stream.on_client_paused()

    def on_send_drained(self) -> None:
        """See `Http2Stream`."""
        if self.stream is not None:
            self.server.manager.stats.downstream_flow_control_resumed_reading_total += 1
            self.stream.on_client_resumed()

    # -- from the connection manager (`DownstreamCodec`)

    def arm(self, when: float) -> None:
        """See `DownstreamCodec`."""
        self.server.arm(when)

    def write_interim(self, head: ResponseHead) -> None:
        """See `DownstreamCodec`."""
        self._count_interim()
        self.send_head(render_response_block(head), False)

    def _count_interim(self) -> None:
        manager = self.server.manager
        manager.stats.by_class[1] += 1
        manager.listener_stats.by_class[1] += 1

    def write_head(self, head: ResponseHead, body: bytes, end_stream: bool, chunked: bool) -> None:
        """See `DownstreamCodec`."""
        self.write_rendered(render_response_block(head), body, end_stream, chunked)

    def write_rendered(self, head: bytes, body: bytes, end_stream: bool, chunked: bool) -> None:  # noqa: ARG002
        """See `DownstreamCodec`."""
        server = self.server
        manager = server.manager
        if self.info.drain.draining or manager.drain.draining:
            server.drain_for_listener()
        stream = self.stream
        if stream is not None and not stream.request_complete:
            manager.stats.downstream_rq_response_before_rq_complete += 1
        if manager.counts_bytes and stream is not None:
            info = stream.info
            info.downstream_header_bytes_sent = size = len(head) + FRAME_HEADER_SIZE
            info.downstream_wire_bytes_sent += size
            if body or not end_stream:
                info.downstream_wire_bytes_sent += _framed_size(body)
        if not body:
            self.send_head(head, end_stream)
        elif end_stream:
            self.send_message(head, body)
        else:
            self.send_head(head, False)
            self.send_data(body, False)

    def write_body(self, data: bytes, end_stream: bool, *, chunked: bool) -> None:  # noqa: ARG002
        """See `DownstreamCodec`."""
        stream = self.stream
        if stream is not None:
            if self.server.manager.counts_bytes:
                stream.info.downstream_wire_bytes_sent += _framed_size(data)
            if end_stream and stream.upgraded and stream.info.flags & _BROKEN_TUNNEL:
                # A tunnel that the upstream broke off must not look as if it had come to its end.
                end_stream = False
        if data or end_stream:
            self.send_data(data, end_stream)

    def write_trailers(self, trailers: HeaderMap | None, *, chunked: bool) -> None:  # noqa: ARG002
        """See `DownstreamCodec`."""
        block = None
        if trailers is not None:
            block = trailers.block
            if block is None:
                block = render_trailer_block(trailers)
        if not block:
            self.send_data(b"", True)
            return
        if self.stream is not None and self.server.manager.counts_bytes:
            self.stream.info.downstream_wire_bytes_sent += len(block) + FRAME_HEADER_SIZE
        self.send_trailers(block)

    def close_after_response(self) -> None:
        """See `DownstreamCodec`: a stream that went wrong says nothing about the connection."""

    def drain_after_response(self) -> None:
        """See `DownstreamCodec`."""
        self.server.drain()

    def abort_response(self) -> None:
        """See `DownstreamCodec`: `on_stream_done` resets."""

    def enter_tunnel(self) -> None:
        """See `DownstreamCodec`: DATA frames carry a tunnel as they carry bodies."""

    def on_stream_done(self, stream: Stream, now: float) -> None:
        """See `DownstreamCodec`."""
        # Cut here: a cycle would live until the collector runs.
        self.stream = None
        self.done_at = now
        server = self.server
        if (stream.info.response_code == 0 and server.note_premature(stream)) or self.closed:
            return
        self.flush_timeout = timeout = stream.flush_timeout()
        if timeout:
            server.arm(now + timeout)
        if stream.info.flags & _BROKEN_TUNNEL and (stream.plan.upgrade or stream.upgraded):
            if not stream.upgraded:
                server.manager.stats.downstream_rq_rx_reset += 1
            # RFC 9113 section 8.5.
            self.reset_after_sending(_CONNECT_ERROR)
        elif not stream.response_complete:
            self.reset(_INTERNAL_ERROR)
        elif not self.remote_closed:
            server.manager.stats.downstream_rq_rx_reset += 1
            server.reset_unfinished(self)

    # -- from the connection

    def reply(self, rejection: Rejection) -> None:
        """Answer a request whose time is up, even if its head has not come."""
        stream = self.stream
        if stream is None:
            return
        if stream.info.request_headers_complete:
            stream.local_reply(rejection.status, rejection.body, rejection.details, rejection.flags)
        else:
            stream.info.protocol = "HTTP/2"
            stream.begin_rejected(rejection)

    def reset_answered(self) -> None:
        """The client may stop sending: it has its response."""
        if not self.remote_closed:
            self.reset_after_sending(_NO_ERROR)

    def reset_now(self) -> None:
        """Give up on a response that the client does not let out."""
        self.reset(_INTERNAL_ERROR)


def _framed_size(data: bytes) -> int:
    frames = -(-len(data) // DEFAULT_MAX_FRAME_SIZE) or 1
    return len(data) + frames * FRAME_HEADER_SIZE
