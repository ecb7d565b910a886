"""One HTTP/2 connection to a host: the codec's core behind an `asyncio.Protocol`."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, cast

from proxy.base.headers import HeaderMap
from proxy.codec.http2_connection import Http2Connection
from proxy.codec.http2_frames import FRAME_HEADER_SIZE, Http2ConnectionError
from proxy.codec.http2_render import render_trailer_block
from proxy.codec.http2_response import Http2Response
from proxy.codec.http2_stream import Http2Stream
from proxy.connection.http2_keepalive import Http2Keepalive
from proxy.upstream.pool.api import PoolRequest, ResetReason
from proxy.upstream.pool.host_connection import HostConnection
from proxy.upstream.pool.http2_stream import Http2ClientStream

if TYPE_CHECKING:
    from proxy.upstream.pool.http2 import Http2Pool


class Http2UpstreamConnection(Http2Connection, HostConnection):
    """See module. Times are monotonic seconds.

    `free` is how many more streams may be opened now, `active` how many are open. `ready` tells that the pool
    offers the connection. `ending` is why the streams that are still open end, once that is known.
    """

    protocol = "HTTP/2"
    pool: Http2Pool

    def __init__(self, pool: Http2Pool, connection_id: int) -> None:
        super().__init__(pool.config.http2, client=True, stats=pool.codec_stats)
        self.pool = pool
        self.connection_id = connection_id
        self.ready = False
        self.ending: ResetReason | None = None
        self.active = 0
        self.free = 0
        self.capacity = min(pool.peer_limit or 1, pool.max_streams)
        self._awaited = 0
        self._limit = 0
        self._keepalive: Http2Keepalive | None = None

    @property
    def busy(self) -> bool:
        """See `PooledConnection`."""
        return self.active > 0

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        pool = self.pool
        self.idle_since = now = pool.now()
        self.start()
        if self.options.connection_keepalive is not None:
            self._keepalive = Http2Keepalive(
                self.options.connection_keepalive, self, pool.timers, pool.draw, now
            )
        self._set_limit()
        # Requests beyond what may be assumed wait for the peer's SETTINGS rather than for another connection.
        self._awaited = max(self.capacity - self.free, 0)
        pool.coming += self._awaited

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self.pool.stats.upstream_cx_rx_bytes_total += len(data)
        if self.dead:
            return
        if self._keepalive is not None:
            self._keepalive.on_received(self.pool.now())
        try:
            self.receive(data)
        except Http2ConnectionError as error:
            self._fail(error)
            return
        if self.out:
            self.flush()

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`: the peer will send no more, so the connection ends.

        The loop tells of the end a little later; nobody may take the connection until then.
        """
        self.closed = True
        self._leave()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        del exc
        self.closed = True
        if self._keepalive is not None:
            self._keepalive.stop()
        self._leave()
        self.pool.on_lost(self, local=self._closing_locally, active=self.active > 0)
        if self.ending is None:
            self.ending = ResetReason.CONNECTION_TERMINATION
        self.terminate("")

    # -- the pool's side

    def attach(self, request: PoolRequest) -> Http2ClientStream:
        """A new stream for `request`, which opens with its head; `free` must be positive."""
        if self._keepalive is not None:
            self._keepalive.before_stream(self.pool.now())
        self.active += 1
        self.requests += 1
        self.free -= 1
        if self.requests >= self.pool.max_streams:
            self.pool.stats.upstream_cx_max_requests += 1
            self._leave()
        return Http2ClientStream(self, request)

    def detach(self) -> None:
        """A stream that was attached was not opened after all."""
        self.requests -= 1
        self._stream_gone()

    def drain(self) -> None:
        """See `PooledConnection`."""
        self._leave()
        if not self.active:
            self.close()

    def close(self) -> None:
        """Close from our side; what is in flight is lost."""
        if self._closing_locally or not self.connected:
            return
        self._closing_locally = self.closed = True
        self._leave()
        if self.active:
            self.transport.abort()
        else:
            self.flush()
            self.transport.close()
        self.dead = True

    def peer_has_closed(self) -> bool:
        """Whether an end of stream waits in the socket that the loop has not told of yet."""
        if self.transport.is_closing():
            return True
        if self.socket is None or self.tls is not None:
            return False
        try:
            return not self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def flush(self) -> None:
        """Write what is queued."""
        if self.out and not self.dead:
            self.pool.stats.upstream_cx_tx_bytes_total += self.write_to(
                self.transport, encrypted=self.tls is not None
            )

    # -- the core's side

    def parse_head(self, fields: list[tuple[str, str]], block_size: int) -> Http2Response:
        """See `Http2Connection`."""
        return self.pool.parse(fields, block_size)

    def parse_trailers(self, fields: list[tuple[str, str]], block_size: int) -> tuple[HeaderMap, int]:
        """See `Http2Connection`; with the size on the wire."""
        trailers = self.pool.response_parser.parse_trailers(fields, block_size)
        # Mostly the same ones again and again, on their way to a client of HTTP/2.
        trailers.block = render_trailer_block(trailers)
        return trailers, block_size + FRAME_HEADER_SIZE

    def wants_write(self) -> None:
        """See `Http2Connection`."""
        self.pool.loop.call_soon(self.flush)

    def unsent_bytes(self) -> int:
        """See `Http2Connection`."""
        return self.transport.get_write_buffer_size()

    def on_settings(self) -> None:
        """See `Http2Connection`."""
        self._no_longer_awaited()
        self.pool.peer_limit = min(self.options.max_concurrent_streams, self.peer_max_concurrent_streams)
        if not self.draining:
            self._set_limit()
            self.pool.offer(self)

    def on_goaway(self, last_stream_id: int, code: int, debug: bytes) -> None:
        """See `Http2Connection`."""
        del last_stream_id, code, debug
        self.pool.stats.upstream_cx_close_notify += 1
        self._leave()
        self._close_if_drained()

    def on_refused(self, stream: Http2Stream) -> None:
        """See `Http2Connection`."""
        cast("Http2ClientStream", stream).on_refused()

    def on_stream_closed(self, stream: Http2Stream) -> None:
        """See `Http2Connection`."""
        del stream
        self._stream_gone()

    def on_ping_ack(self, opaque: bytes) -> None:
        """See `Http2Connection`."""
        del opaque
        if self._keepalive is not None:
            self._keepalive.on_ack(self.pool.now())

    def on_keepalive_timeout(self) -> None:
        """See `PingingConnection`."""
        self.stats.keepalive_timeout += 1
        self._closing_locally = self.closed = True
        self._leave()
        self.dead = True
        self.transport.abort()

    def on_overflow(self, error: Exception) -> None:
        """See `Http2Connection`."""
        del error
        self.ending = ResetReason.OVERFLOW
        self.terminate("")
        self.close()

    # -- ends

    def _set_limit(self) -> None:
        limit = min(self.options.max_concurrent_streams, self.peer_max_concurrent_streams)
        if not self.settings_received:
            limit = min(limit, self.pool.peer_limit or 1)
        self._limit = limit
        self.free = limit - self.active

    def _stream_gone(self) -> None:
        self.active = active = self.active - 1
        if not active:
            self.idle_since = now = self.pool.now()
            self.pool.watch(now)
        if self.draining:
            self._close_if_drained()
            return
        self.free = self._limit - active
        if not self.ready and self.free > 0:
            self.pool.offer(self)

    def _leave(self) -> None:
        """Take no further request."""
        self.draining = True
        self.free = 0
        self._no_longer_awaited()

    def _no_longer_awaited(self) -> None:
        self.pool.coming -= self._awaited
        self._awaited = 0

    def _close_if_drained(self) -> None:
        # The core may be in the middle of a batch of frames.
        if not self.active:
            self.pool.loop.call_soon(self.close)

    def _fail(self, error: Http2ConnectionError) -> None:
        self.pool.stats.upstream_cx_protocol_error += 1
        self._leave()
        self._closing_locally = self.closed = True
        data = self.take()
        self.pool.stats.upstream_cx_tx_bytes_total += len(data)
        self.transport.write(data)
        self.ending = ResetReason.PROTOCOL_ERROR
        self.terminate(error.details, error.code)
        self.transport.close()
