"""One downstream HTTP/2 connection: bytes in, many streams at a time, bytes out in one write a turn of the loop.

The codec is `proxy.codec.http2_connection`; each request has a `Http2ServerStream`. All deadlines of the
connection and its streams share one wake-up (see `proxy.connection.timers`), at which the open streams are
looked through: cheaper than to keep them in the order of their deadlines.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from proxy.base.headers import HeaderMap
from proxy.base.response_flags import ResponseFlag
from proxy.base.stream_info import ConnectionInfo
from proxy.codec.http2_frames import Http2ConnectionError
from proxy.codec.http2_limits import PrematureResets
from proxy.codec.http2_request import Http2Request, KnownFields
from proxy.codec.http2_stream import Http2Stream
from proxy.hcm.http2_lifetime import Http2Lifetime
from proxy.hcm.http2_stream import Http2ServerStream
from proxy.hcm.request_plan import MAX_PLANS_PER_HEAD, RequestPlan
from proxy.hcm.stream import Stream

if TYPE_CHECKING:
    from proxy.hcm.connection_manager import ConnectionManager

#: As plain numbers: an operation on an `IntFlag` costs 2 us.
_PROTOCOL_ERROR: Final = int(ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR)
_TERMINATION: Final = int(ResponseFlag.DOWNSTREAM_CONNECTION_TERMINATION)


class Http2ServerConnection(Http2Lifetime):
    """See module. Times are monotonic seconds."""

    _flush_due = False

    def __init__(self, manager: ConnectionManager, info: ConnectionInfo) -> None:
        super().__init__(manager, info)
        self._resets = PrematureResets()
        #: Answered before the request was complete, in the present read.
        self._answered: list[Http2ServerStream] = []

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.manager.on_connection(self)
        # Only now is it known when the next sweep comes: the first connection starts the sweeping.
        self.wake_at = self.manager.next_sweep
        self.adopt(transport)

    def adopt(self, transport: asyncio.BaseTransport) -> None:
        """Take over a connection that the manager knows already."""
        # The loop's own class, which does not derive from asyncio's.
        self.transport = cast("asyncio.Transport", transport)
        self._arm_idle()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self.manager.stats.downstream_cx_rx_bytes_total += len(data)
        if self.dead or self._closed:
            return
        if not self._started:
            self._start()
        if self._keepalive is not None:
            self._keepalive.on_received(self.now())
        try:
            self.receive(data)
        except Http2ConnectionError as error:
            self._on_connection_error(error)
        if self._answered:
            self._reset_answered()
        if self.out:
            self._flush()
        if self.closing:
            self.close_if_done()

    def _start(self) -> None:
        """The first bytes are there: it is now that Envoy's codec comes to life."""
        self._started = True
        stats = self.manager.stats
        stats.downstream_cx_http2_total += 1
        stats.downstream_cx_http2_active += 1
        self.start()
        self._start_keepalive()

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`: a client that has finished sending has left, as in Envoy."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        del exc
        local = self._closed
        self._closed = True
        self._end_streams(_TERMINATION, "downstream_remote_disconnect", local=local)
        self._cancel_wake_up()
        if self._keepalive is not None:
            self._keepalive.stop()
        if self._started:
            self.manager.stats.downstream_cx_http2_active -= 1
        self.manager.on_connection_lost(self, local=local, active=False)
        self.info.on_closed()

    # -- bytes out

    def wants_write(self) -> None:
        """See `Http2Connection`."""
        if not self._flush_due:
            self._flush_due = True
            self.manager.services.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        if self.out and not self._closed:
            size = self.write_to(self.transport, encrypted=self.info.tls is not None)
            self.manager.stats.downstream_cx_tx_bytes_total += size

    def unsent_bytes(self) -> int:
        """See `Http2Connection`."""
        return self.transport.get_write_buffer_size()

    # -- from the codec

    def new_stream(self, stream_id: int) -> Http2Stream:
        """See `Http2Connection`."""
        manager = self.manager
        stats = manager.stats
        stats.downstream_rq_total += 1
        stats.downstream_rq_http2_total += 1
        stats.downstream_rq_active += 1
        self.requests += 1
        if self.requests >= manager.max_requests > 0:
            stats.downstream_cx_max_requests_reached += 1
            self.drain()
        stream = Http2ServerStream(self, stream_id)
        if manager.config.request_headers_timeout:
            self.arm(self.now() + manager.config.request_headers_timeout)
        return stream

    def parse_head(self, fields: list[tuple[str, str]], block_size: int) -> Http2Request:
        """See `Http2Connection`."""
        return self.manager.http2_parser.parse(fields, block_size)

    def parse_new_head(self, fields: list[tuple[str, str]], block_size: int) -> Http2Request:
        """See `Http2Connection`."""
        return self.manager.http2_parser.parse_new(fields, block_size)

    def other_fields(self, parsed: Http2Request) -> KnownFields | None:
        """See `Http2Connection`."""
        return None if parsed.given_id else parsed.fields

    def parse_trailers(self, fields: list[tuple[str, str]], block_size: int) -> tuple[HeaderMap, int]:
        """See `Http2Connection`."""
        trailers, dropped = self.manager.http2_parser.parse_trailers(fields, block_size)
        self.stats.dropped_headers_with_underscores += dropped
        return trailers, block_size

    def on_stream_closed(self, stream: Http2Stream) -> None:  # noqa: ARG002
        """See `Http2Connection`."""
        if not self.streams and not self.dead:
            self._last_request_end = self.now()
            self._arm_idle()
            if self.closing and not self.receiving:
                self.close_if_done()

    def on_overflow(self, error: Exception) -> None:
        """See `Http2Connection`."""
        self.abort(_PROTOCOL_ERROR, getattr(error, "details", ""))

    def _on_connection_error(self, error: Http2ConnectionError) -> None:
        if not error.flood:
            self.manager.stats.downstream_cx_protocol_error += 1
        # The GOAWAY is in it, if Envoy would send one.
        self._flush()
        self._end_streams(_PROTOCOL_ERROR, f"codec_error:{error.details.replace(' ', '_')}", local=True)
        self.close_delayed()

    # -- the streams' side

    def plan(self, request: Http2Request, stream: Stream) -> RequestPlan:
        """What becomes of `request`, kept with it for equal requests of the client."""
        plan = self.manager.plan(request, self.info, stream.info, self.key)
        if plan.reusable and len(request.plans) < MAX_PLANS_PER_HEAD:
            request.plans[self.key] = plan
        return plan

    def reset_unfinished(self, stream: Http2ServerStream) -> None:
        """The response to an unfinished request is on its way: the rest of the request is not wanted.

        What came in the same read may complete it yet.
        """
        if self.receiving:
            self._answered.append(stream)
        else:
            stream.reset_answered()

    def _reset_answered(self) -> None:
        answered = self._answered
        self._answered = []
        for stream in answered:
            stream.reset_answered()

    def note_premature(self, stream: Stream) -> bool:
        """Count a stream that ended without a response; True if they were too many for one connection."""
        if self.end_flags:
            return False
        resets = self._resets
        resets.closed = self.requests - len(self.streams)
        if not resets.on_closed(self.now() - stream.info.start_time, responded=False):
            return False
        self.manager.stats.downstream_rq_too_many_premature_resets += 1
        self.manager.stats.downstream_cx_protocol_error += 1
        self.abort(_TERMINATION, "too_many_premature_resets")
        return True
