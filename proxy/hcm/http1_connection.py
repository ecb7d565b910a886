"""One downstream HTTP/1 connection: bytes in, one stream at a time, bytes out.

Pipelined requests wait in `_buffer` and are answered in order (RFC 9112 section 9.3.2). All deadlines of the
connection and its stream share one wake-up (see `proxy.connection.timers`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

from proxy.base.errors import ProtocolError
from proxy.base.headers import HeaderMap
from proxy.base.messages import ResponseHead
from proxy.base.response_flags import ResponseFlag
from proxy.base.stream_info import ConnectionInfo
from proxy.codec.http1_body import BodyDecoder, ChunkedDecoder, LengthDecoder, UntilCloseDecoder
from proxy.codec.http1_fields import find_head_end
from proxy.codec.http1_render import (
    LAST_CHUNK,
    reason_phrase,
    render_chunk,
    render_response_head,
    render_trailers,
)
from proxy.codec.http1_request import Http1Request
from proxy.hcm.request_plan import MAX_PLANS_PER_HEAD, Rejection, RequestPlan, client_key
from proxy.hcm.stream import Stream

if TYPE_CHECKING:
    from proxy.hcm.connection_manager import ConnectionManager

#: Bytes of pipelined requests held while one is being answered; reading stops above.
_MAX_PIPELINED_BYTES: Final = 64 * 1024
_NEVER: Final = float("inf")
#: As plain numbers: an operation on an `IntFlag` costs 2 us.
_PROTOCOL_ERROR: Final = int(ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR)
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Http1ServerConnection(asyncio.Protocol):
    """See module. Times are monotonic seconds."""

    transport: asyncio.Transport
    # Defaults on the class: a connection of one request never changes most of them.
    _stream: Stream | None = None
    _buffer = b""
    _decoder: BodyDecoder | None = None
    _requests = 0
    _closing = False  # close once the present response is out
    _client_closes = False
    _closed = False
    _lingering = False  # our close waits for the peer's, for `delayed_close_timeout`
    _linger_until = 0.0
    _read_disabled = 0
    _reading_paused = False
    _dispatching = False
    _client_paused = False
    _wake_up: Any = None
    _head_started = 0.0
    #: An idle connection that is about to close answers one more request until then.
    _drain_until = 0.0
    #: The stream of a request whose head is not complete; it exists from the first byte, as in Envoy.
    _head_stream: Stream | None = None

    def __init__(self, manager: ConnectionManager, info: ConnectionInfo) -> None:
        self.manager = manager
        self.info = info
        self.now = manager.services.loop.time
        self._key = client_key(info)
        self._wake_at = manager.next_sweep
        self._last_request_end = info.start_time

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        # The loop's own class, which does not derive from asyncio's.
        self.transport = transport = cast("asyncio.Transport", transport)
        self.manager.on_connection(self)
        # Only now is it known when the next sweep comes: the first connection starts the sweeping.
        self._wake_at = self.manager.next_sweep
        self._arm_idle()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        manager = self.manager
        manager.stats.downstream_cx_rx_bytes_total += len(data)
        if self._stream is None and not self._buffer and not self._closing:
            request = manager.known_heads.get(data)
            if request is not None:
                self._begin(request, self.now())
                return
        if self._closed or self._lingering:
            return
        self._buffer = self._buffer + data if self._buffer else data
        if not self._dispatching:
            self._dispatch()

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`: a client that has finished sending has left, as in Envoy."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        del exc
        local = self._closed
        self._closed = True
        stream = self._stream or self._head_stream
        self._stream = self._head_stream = None
        if stream is not None:
            stream.on_downstream_reset(
                ResponseFlag.DOWNSTREAM_CONNECTION_TERMINATION, "downstream_remote_disconnect"
            )
        if self._wake_up is not None:
            self.manager.services.timers.cancel(self._wake_up)
            self._wake_up = None
        self.manager.on_connection_lost(self, local=local, active=stream is not None)
        self.info.on_closed()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._client_paused = True
        self.manager.stats.downstream_flow_control_paused_reading_total += 1
        if self._stream is not None:
            self._stream.on_client_paused()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self._client_paused:
            self._client_paused = False
            self.manager.stats.downstream_flow_control_resumed_reading_total += 1
            if self._stream is not None:
                self._stream.on_client_resumed()

    # -- receiving

    def _dispatch(self) -> None:
        """Take requests and bodies off the buffer, as far as they go."""
        self._dispatching = True
        try:
            while self._buffer and not self._closed and not self._lingering:
                if self._decoder is not None:
                    self._receive_body(self._decoder)
                elif self._stream is None and not self._closing:
                    if not self._receive_head():
                        break
                else:
                    break
        except ProtocolError as error:
            self._on_protocol_error(error)
        finally:
            self._dispatching = False
        self._limit_buffer()

    def _limit_buffer(self) -> None:
        full = len(self._buffer) > _MAX_PIPELINED_BYTES and self._stream is not None
        if full != self._reading_paused and not self._closed:
            self._reading_paused = full
            if full:
                self.pause_reading()
            else:
                self.resume_reading()

    def _receive_head(self) -> bool:
        """Begin the next request; False if its head is not complete yet."""
        buffer = self._buffer
        manager = self.manager
        if buffer[0] in b"\r\n":
            # One line end stays, so that the buffer is not empty while a request has begun.
            buffer = self._buffer = buffer.lstrip(b"\r\n") or b"\n"
            if buffer == b"\n":
                self._await_head()
                return False
        end = find_head_end(buffer)
        if end < 0:
            end = manager.parser.check_start(buffer)
            if end < 0:
                self._await_head()
                return False
        block = buffer if end == len(buffer) else buffer[:end]
        request = manager.known_heads.get(block)
        if request is None:
            request = manager.parse(block)
        self._buffer = b"" if request.wire_bytes == len(buffer) else buffer[request.wire_bytes :]
        self._head_started = 0.0
        self._begin(request, self.now())
        return True

    def _await_head(self) -> None:
        if self._head_stream is not None:
            return
        self._head_started = now = self.now()
        self._head_stream = stream = self._new_stream(now)
        stream.info.protocol = "HTTP/1.1"
        config = self.manager.config
        timeouts = (config.request_headers_timeout, config.request_timeout, stream.idle_timeout)
        shortest = min((timeout for timeout in timeouts if timeout), default=_NEVER)
        if now + shortest < self._wake_at:
            self.arm(now + shortest)

    def _new_stream(self, now: float) -> Stream:
        stats = self.manager.stats
        stats.downstream_rq_total += 1
        stats.downstream_rq_http1_total += 1
        stats.downstream_rq_active += 1
        return Stream(self, self.manager, now)

    def _begin(self, request: Http1Request, now: float) -> None:
        manager = self.manager
        self._requests += 1
        stream = self._head_stream
        if stream is None:
            stats = manager.stats
            stats.downstream_rq_total += 1
            stats.downstream_rq_http1_total += 1
            stats.downstream_rq_active += 1
            stream = Stream(self, manager, now)
        else:
            self._head_stream = None
            stream.last_activity = now
        self._stream = stream
        info = stream.info
        info.request_headers_complete = now
        plan = request.plans.get(self._key)
        if plan is None:
            plan = self._plan(request, stream)
        else:
            plan.repeated = True
        if request.close or self._requests == manager.max_requests:
            self._note_close(request)
        if request.expect_continue and not manager.config.proxy_100_continue and plan.rejection is None:
            self._write(_CONTINUE)
            manager.stats.by_class[1] += 1
            manager.listener_stats.by_class[1] += 1
        if not request.chunked and request.content_length <= 0 and not plan.upgrade:
            stream.request_complete = True
            info.request_complete = now
            stream.begin(request, plan, end_stream=True)
            if not stream.destroyed:
                if stream.route_timeout:
                    stream.deadline = now + stream.route_timeout
                if now + stream.shortest_timeout < self._wake_at:
                    self._arm_stream(stream)
            return
        if request.chunked:
            config = manager.config
            self._decoder = ChunkedDecoder(
                config.enable_trailers, config.max_headers_bytes, config.max_headers_count
            )
        elif plan.upgrade:
            self._decoder = UntilCloseDecoder()
        else:
            self._decoder = LengthDecoder(request.content_length)
        stream.begin(request, plan, end_stream=False)
        if not stream.destroyed:
            self._arm_stream(stream)

    def _plan(self, request: Http1Request, stream: Stream) -> RequestPlan:
        plan = self.manager.planner.plan(request, self.info, stream.info, self._key)
        if plan.reusable and len(request.plans) < MAX_PLANS_PER_HEAD:
            request.plans[self._key] = plan
        return plan

    def _note_close(self, request: Http1Request) -> None:
        self._client_closes = request.close
        if not request.close and not self._drain_until:
            self.manager.stats.downstream_cx_max_requests_reached += 1
        self._closing = True

    def _receive_body(self, decoder: BodyDecoder) -> None:
        data, self._buffer = self._buffer, b""
        try:
            payload, rest = decoder.feed(data)
        except ProtocolError:
            if decoder.gained and self._stream is not None:
                self._stream.on_request_data(decoder.gained, end_stream=False)
            raise
        self._buffer = rest
        stream = self._stream
        if not decoder.done:
            if payload and stream is not None:
                stream.on_request_data(payload, end_stream=False)
            return
        self._decoder = None
        if stream is None:
            return
        trailers = decoder.trailers
        now = self.now()
        if trailers is None:
            # Completion first: the timeout must run before an answer can come.
            stream.on_request_complete(now)
            stream.on_request_data(payload, end_stream=True)
        else:
            if payload:
                stream.on_request_data(payload, end_stream=False)
            stream.on_request_complete(now)
            stream.on_request_trailers(trailers)

    def _on_protocol_error(self, error: ProtocolError) -> None:
        """Answer a broken request as Envoy does, unless a response has already begun, and close."""
        manager = self.manager
        manager.stats.downstream_cx_protocol_error += 1
        self._buffer = b""
        self._decoder = None
        if error.details == "http1.unexpected_underscore":
            manager.codec_stats.requests_rejected_with_underscores_in_headers += 1
        stream = self._stream
        if stream is not None:
            self._closing = True
            stream.local_reply(
                error.status,
                reason_phrase(error.status),
                error.details,
                ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR,
            )
            return
        rejection = Rejection(
            error.status,
            error.details,
            reason_phrase(error.status),
            ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR,
            close=True,
        )
        self._reject_head(rejection)

    def _reject_head(self, rejection: Rejection) -> None:
        """Answer a request whose head cannot be used."""
        stream = self._head_stream or self._new_stream(self.now())
        self._head_stream = None
        self._buffer = b""
        self._stream = stream
        stream.info.protocol = "HTTP/1.1"
        stream.begin_rejected(rejection)

    # -- sending

    def _write(self, data: bytes) -> None:
        self.manager.stats.downstream_cx_tx_bytes_total += len(data)
        self.transport.write(data)

    def send_interim(self, head: ResponseHead) -> None:
        """Pass on a 1xx response."""
        stats = self.manager.stats
        stats.by_class[1] += 1
        self.manager.listener_stats.by_class[1] += 1
        self._write(render_response_head(head, self.manager.downstream_formatter(self._stream)))

    def send_response_head(self, head: bytes, body: bytes, end_stream: bool, chunked: bool) -> None:
        """Write a rendered head, with what there is of the body, in one piece."""
        if self._closed:
            return
        stream = self._stream
        if (
            (stream is not None and not stream.request_complete)
            or self.info.drain.draining
            or self.manager.drain.draining
        ):
            self._start_closing(stream)
        if self._closing:
            head = head[:-2] + b"connection: close\r\n\r\n"
        if body:
            data = head + (self._frame(body, end_stream) if chunked else body)
        elif end_stream and chunked:
            data = head + LAST_CHUNK
        else:
            data = head
        self.manager.stats.downstream_cx_tx_bytes_total += len(data)
        self.transport.write(data)

    @staticmethod
    def _frame(body: bytes, end_stream: bool) -> bytes:
        return render_chunk(body) + LAST_CHUNK if end_stream else render_chunk(body)

    def _start_closing(self, stream: Stream | None) -> None:
        if stream is not None and stream.upgraded:
            return
        stats = self.manager.stats
        if stream is not None and not stream.request_complete:
            stats.downstream_rq_response_before_rq_complete += 1
        elif not self._closing:
            stats.downstream_cx_drain_close += 1
        self._closing = True

    def send_head(self, head: ResponseHead, body: bytes, end_stream: bool, chunked: bool) -> None:
        """Render and write a head, with what there is of the body."""
        manager = self.manager
        stream = self._stream
        if stream is not None and stream.upgraded:
            rendered = render_response_head(head, manager.downstream_formatter(stream))
            self._write(rendered + body)
            return
        protocol = "HTTP/1.1"
        if stream is not None and stream.info.protocol == "HTTP/1.0":
            protocol = "HTTP/1.0"
            if "content-length" not in head.headers:
                # Its end is the end of the connection, so there is nothing to wait for.
                self._closing = self._client_closes = True
            elif not self._closing:
                head.headers.set("connection", "keep-alive")
        rendered = render_response_head(head, manager.downstream_formatter(stream), protocol)
        self.send_response_head(rendered, body, end_stream, chunked)

    def send_body(self, data: bytes, end_stream: bool, *, chunked: bool) -> None:
        """Write body bytes."""
        if self._closed:
            return
        if chunked:
            if data:
                data = self._frame(data, end_stream)
            elif end_stream:
                data = LAST_CHUNK
        if data:
            self._write(data)

    def send_trailers(self, trailers: HeaderMap | None, *, chunked: bool) -> None:
        """End the response, with trailers if the client may have them."""
        if chunked and not self._closed:
            self._write(LAST_CHUNK if trailers is None else render_trailers(trailers))

    def enter_tunnel(self) -> None:
        """From now on bytes pass in both directions until one side closes."""
        self._closing = True
        if not isinstance(self._decoder, UntilCloseDecoder):
            self._decoder = UntilCloseDecoder()

    # -- the stream's side

    def close_after_response(self) -> None:
        """Announce the end with the response, and close after it."""
        self._closing = True

    def on_stream_done(self, stream: Stream, now: float) -> None:
        """The stream has ended: close, linger, or go on with the next request."""
        if stream is not self._stream:
            return
        self._stream = None
        self._last_request_end = now
        if not stream.request_complete and stream.response_complete and not stream.upgraded:
            self.manager.stats.downstream_rq_rx_reset += 1
        if self._closed:
            return
        if self._decoder is not None and not stream.request_complete:
            # What is left of the request must not be read as a new one.
            self._decoder = None
            self.close_delayed()
            return
        if stream.upgraded:
            self._close()
        elif self._closing:
            # A client that asked for the close is ready for it; any other must have time to read (see
            # `close_delayed`).
            if self._client_closes and not stream.info.flags & _PROTOCOL_ERROR:
                self._close()
            else:
                self.close_delayed()
        elif self._lingering:
            return
        elif self._buffer:
            if not self._dispatching:
                # A fresh turn of the loop: a long pipeline must not recurse or starve others.
                self.manager.services.loop.call_soon(self._continue)
        elif now + self.manager.shortest_idle < self._wake_at:
            self.arm(now + self.manager.shortest_idle)

    def _continue(self) -> None:
        if not self._closed and not self._dispatching and self._buffer:
            self._dispatch()

    def _close(self) -> None:
        """Close once everything written is out."""
        if not self._closed:
            self._closed = True
            self.transport.close()

    def close_delayed(self) -> None:
        """Stop serving; give the client `delayed_close_timeout` to read and to close first.

        Closing at once with unread bytes in the socket would reset the connection and could destroy the
        response on its way (RFC 9112 section 9.6).
        """
        if self._closed or self._lingering:
            return
        timeout = self.manager.config.delayed_close_timeout
        if not timeout:
            self._close()
            return
        self._lingering = True
        self._buffer = b""
        self._decoder = None
        self._linger_until = self.now() + timeout
        self.arm(self._linger_until)

    def pause_reading(self) -> None:
        """Stop reading; counted, each call needs its `resume_reading`."""
        self._read_disabled += 1
        if self._read_disabled == 1 and not self._closed:
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Undo one `pause_reading`."""
        if not self._read_disabled:
            return
        self._read_disabled -= 1
        if self._read_disabled == 0 and not self._closed:
            self.transport.resume_reading()

    # -- time

    def arm(self, when: float) -> None:
        """Be woken at `when` or earlier."""
        if when < self._wake_at:
            timers = self.manager.services.timers
            if self._wake_up is not None:
                timers.cancel(self._wake_up)
            self._wake_at = when
            self._wake_up = timers.wake(when, self)

    def _arm_idle(self) -> None:
        manager = self.manager
        if self.info.start_time + manager.shortest_idle < self._wake_at:
            self.arm(self.info.start_time + manager.shortest_idle)

    def _arm_stream(self, stream: Stream) -> None:
        due = stream.next_deadline()
        if due and due < self._wake_at:
            self.arm(due)
        config = self.manager.config
        if config.request_timeout and not stream.request_complete:
            self.arm(stream.info.start_time + config.request_timeout)

    def on_wake(self, now: float) -> None:
        """Act on what is due and ask for the next wake-up; see `Timers`."""
        if self._closed:
            return
        # What is due before the next sweep is asked for below, and the sweep looks after the rest.
        self._wake_at = self.manager.next_sweep
        self._wake_up = None
        if self._lingering:
            if now >= self._linger_until:
                self.manager.stats.downstream_cx_delayed_close_timeout += 1
                self._close()
            else:
                self.arm(self._linger_until)
            return
        stream = self._stream
        if stream is not None:
            if not self._request_timed_out(stream, now):
                stream.on_time(now)
            if self._stream is not None:
                self._arm_stream(stream)
        elif self._head_stream is not None:
            self._check_slow_head(self._head_stream, now)
        elif self._idle_timed_out(now):
            return
        config = self.manager.config
        if config.max_connection_duration and not self._closed and not self._drain_until:
            end = self.info.start_time + config.max_connection_duration
            if now >= end:
                self._on_max_duration(now)
            else:
                self.arm(end)

    def _request_timed_out(self, stream: Stream, now: float) -> bool:
        timeout = self.manager.config.request_timeout
        if not timeout or stream.request_complete or now < stream.info.start_time + timeout:
            return False
        self.manager.stats.downstream_rq_timeout += 1
        stream.local_reply(408, "request timeout", "request_overall_timeout")
        return True

    def _idle_timed_out(self, now: float) -> bool:
        """Handle the deadline of a connection without a stream; True if it is being closed."""
        if self._drain_until:
            if now >= self._drain_until:
                self.close_delayed()
                return True
            self.arm(self._drain_until)
            return False
        timeout = self.manager.config.idle_timeout
        if timeout:
            end = self._last_request_end + timeout
            if now >= end:
                self.manager.stats.downstream_cx_idle_timeout += 1
                if not self._requests:
                    self._close()
                    return True
                return self._drain(now)
            self.arm(end)
        return False

    def _drain(self, now: float) -> bool:
        """Close after `drain_timeout`, in which a request may still come: the client may have sent it already.

        True if that is now.
        """
        timeout = self.manager.config.drain_timeout
        if not timeout:
            self._close()
            return True
        self._drain_until = now + timeout
        # The next request is the last one.
        self._requests = self.manager.max_requests - 1
        self.arm(self._drain_until)
        return False

    def _check_slow_head(self, stream: Stream, now: float) -> None:
        config = self.manager.config
        stats = self.manager.stats
        started = self._head_started
        if config.request_headers_timeout and now >= started + config.request_headers_timeout:
            stats.downstream_rq_header_timeout += 1
            self._reject_head(Rejection(408, "request_header_timeout", "request header timeout", close=True))
        elif config.request_timeout and now >= started + config.request_timeout:
            stats.downstream_rq_timeout += 1
            self._reject_head(Rejection(408, "request_overall_timeout", "request timeout", close=True))
        elif stream.idle_timeout and now >= started + stream.idle_timeout:
            stats.downstream_rq_idle_timeout += 1
            self._reject_head(
                Rejection(
                    408, "stream_idle_timeout", "stream timeout", ResponseFlag.STREAM_IDLE_TIMEOUT, close=True
                )
            )
        else:
            for timeout in (config.request_headers_timeout, config.request_timeout, stream.idle_timeout):
                if timeout:
                    self.arm(started + timeout)

    def _on_max_duration(self, now: float) -> None:
        self.manager.stats.downstream_cx_max_duration_reached += 1
        if self._stream is None and self._head_stream is None:
            self._drain(now)
        else:
            self._closing = True

    def sweep(self, now: float, until: float) -> None:
        """Look after a connection without a wake-up of its own; the next look comes at `until`."""
        if self._wake_up is None:
            idle = self._stream is None and self._head_stream is None and not self._lingering
            if idle and self._last_request_end + self.manager.shortest_idle > until:
                self._wake_at = until
            else:
                self.on_wake(now)

    def close_if_idle(self, until: float) -> None:
        """While draining: a connection without a stream, whose last one ended before `until`, closes."""
        if self._stream is None and self._head_stream is None:
            if self._last_request_end <= until:
                self._close()
        else:
            self._closing = True
