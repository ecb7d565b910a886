"""One downstream HTTP/1 connection: bytes in, one stream at a time, bytes out.

Pipelined requests wait in `_buffer` and are answered in order (RFC 9112 section 9.3.2). All deadlines of the
connection and its stream share one wake-up (see `proxy.connection.timers`).
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

from proxy.base.errors import ProtocolError
from proxy.base.response_flags import ResponseFlag
from proxy.codec.http1_body import BodyDecoder, ChunkedDecoder, LengthDecoder, UntilCloseDecoder
from proxy.codec.http1_fields import find_head_end
from proxy.codec.http1_render import (
    reason_phrase,
)
from proxy.codec.http1_request import Http1Request
from proxy.hcm.connection_timing import TimingPart
from proxy.hcm.rejection import Rejection
from proxy.hcm.request_plan import MAX_PLANS_PER_HEAD, RequestPlan
from proxy.hcm.stream import Stream

#: Bytes of pipelined requests held while one is being answered; reading stops above.
_MAX_PIPELINED_BYTES: Final = 64 * 1024
_NEVER: Final = float("inf")
#: As plain numbers: an operation on an `IntFlag` costs 2 us.
_PROTOCOL_ERROR: Final = int(ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR)
#: As much of the preface as Envoy looks at.
_HTTP2_PREFIX: Final = b"PRI * HTTP/2"
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Http1ServerConnection(TimingPart):
    """See module. Times are monotonic seconds."""

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
        if not self._requests and not self._buffer and self._speaks_http2(data):
            return
        self._buffer = self._buffer + data if self._buffer else data
        if not self._dispatching:
            self._dispatch()

    def _speaks_http2(self, data: bytes) -> bool:
        """Hand over to HTTP/2 if the very first bytes are its preface; one that comes in pieces is too late."""
        manager = self.manager
        if not manager.detects_http2 or self._head_stream is not None or not data.startswith(_HTTP2_PREFIX):
            return False
        if self.info.tls is not None and self.info.tls.alpn:
            return False
        if self._wake_up is not None:
            manager.services.timers.cancel(self._wake_up)
            self._wake_up = None
        self._closed = True
        manager.stats.downstream_cx_rx_bytes_total -= len(data)
        manager.switch_to_http2(self, self.transport).data_received(data)
        return True

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
        if plan.upgrade:
            # Whatever framing it declares: all that follows belongs to the other protocol.
            self._decoder = UntilCloseDecoder()
        elif request.chunked:
            config = manager.config
            self._decoder = ChunkedDecoder(
                config.enable_trailers, config.max_headers_bytes, config.max_headers_count
            )
        else:
            self._decoder = LengthDecoder(request.content_length)
        stream.begin(request, plan, end_stream=False)
        if not stream.destroyed:
            self._arm_stream(stream)

    def _plan(self, request: Http1Request, stream: Stream) -> RequestPlan:
        plan = self.manager.plan(request, self.info, stream.info, self._key)
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
        if stream is not None:
            stream.info.downstream_wire_bytes_received += len(data) - len(rest)
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

    # -- the stream's side

    def enter_tunnel(self) -> None:
        """From now on bytes pass in both directions until one side closes."""
        self._closing = True
        if not isinstance(self._decoder, UntilCloseDecoder):
            self._decoder = UntilCloseDecoder()

    def on_stream_done(self, stream: Stream, now: float) -> None:
        """The stream has ended: close, linger, or go on with the next request."""
        if stream is not self._stream:
            return
        self._stream = None
        self._last_request_end = now
        # A tunnel that was broken off has been counted.
        broken_off = stream.upgraded and stream.info.flags
        if not stream.request_complete and stream.response_complete and not broken_off:
            self.manager.stats.downstream_rq_rx_reset += 1
        if self._closed:
            return
        if self._decoder is not None and not stream.request_complete:
            # What is left of the request must not be read as a new one.
            self._decoder = None
            self.close_delayed()
            return
        if stream.upgraded:
            self.close_delayed()
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
