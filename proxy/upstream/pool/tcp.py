"""The pool of plain connections to one host at one priority: bytes without HTTP, each connection for one user.

A user takes the part of a request (`PoolRequest`): it may send a head, which becomes a preamble and is answered
with 200 from here (CONNECT that ends at this proxy), or only bytes. A connection that nobody wanted any more when
it was there waits for the next user.
"""

from __future__ import annotations

from typing import Any, Final

from proxy.base.headers import HeaderMap
from proxy.base.messages import ResponseHead
from proxy.codec.messages import ParsedResponse
from proxy.upstream.pool.api import PoolRequest, ResetReason
from proxy.upstream.pool.base import ConnectionPool
from proxy.upstream.pool.host_connection import SingleRequestConnection

_CONNECTED: Final = ParsedResponse(ResponseHead(200, HeaderMap()), 0)


class TcpPool(ConnectionPool):
    """See module."""

    def take(self, request: PoolRequest) -> Any:
        """A connection that nobody has used, now carrying `request`, or None."""
        for connection in self._connections:
            if not connection.requests and not connection.closed:
                connection.begin(request)
                return connection
        return None

    def make_connection(self) -> Any:
        """See `ConnectionPool`."""
        return TcpConnection(self, self._ids.next())

    def drain_connections(self) -> None:
        """See `ConnectionPool`; the cluster may want those in use ended, too."""
        super().drain_connections()
        if self.cluster.config.close_on_health_failure:
            for connection in list(self._connections):
                connection.close()

    def offer(self, connection: Any) -> None:
        """See `ConnectionPool`."""
        request = self.next_pending()
        if request is None:
            connection.be_spare()
            self.watch(connection.idle_since)
            return
        connection.begin(request)
        request.on_pool_ready(connection)


class TcpConnection(SingleRequestConnection):
    """An `UpstreamConnection` of bytes.

    `request` is who hears of what comes; None before there is a user and after it has heard all. What a host says
    before the pool knows of the connection waits in `_early` for the user. `send_data` with the end shuts down our
    half; the host's end is that of the response, and of ours if it was still open.
    """

    pool: TcpPool

    def __init__(self, pool: TcpPool, connection_id: int) -> None:
        self.pool = pool
        self.connection_id = connection_id
        self._sent_all = False
        self._active = False
        self._spare = False
        self._unread = False
        self._early = b""
        self._ends_early = False

    # -- asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self.pool.stats.upstream_cx_rx_bytes_total += len(data)
        request = self.request
        if self._early:
            self._early += data
            self._deliver_early()
        elif request is not None:
            request.wire_bytes_received += len(data)
            request.on_response_data(data, False)
        elif self._spare:
            # Nobody to hear of it.
            self.close()
        elif not self.requests:
            self._early = data

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`: the host will send no more, but may still listen."""
        self._deliver_early()
        request = self.request
        if request is None:
            self._ends_early = not self.requests and not self._spare
            return self._ends_early
        self._end(request)
        return False

    def _end(self, request: PoolRequest) -> None:
        self.request = None
        if not self._sent_all:
            # Envoy gives up the other half then.
            self._closing_locally = self.closed = self._active = True
        request.on_response_data(b"", True)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        del exc
        self.closed = True
        self._deliver_early()
        request = self.request
        self.request = None
        self.pool.on_lost(self, local=self._closing_locally, active=request is not None or self._active)
        if request is not None:
            request.on_reset(ResetReason.CONNECTION_TERMINATION, "")

    # -- the user's side (`UpstreamConnection`)

    def begin(self, request: PoolRequest) -> None:
        """Carry `request` from now on; it hears later of what the host has said already."""
        self.request = request
        self.requests = 1
        self._spare = False
        if self._unread:
            self._unread = False
            self.transport.resume_reading()
        if self._early or self._ends_early:
            self.pool.loop.call_soon(self._deliver_early)

    def _deliver_early(self) -> None:
        request = self.request
        if request is None:
            return
        data = self._early
        if data:
            self._early = b""
            request.wire_bytes_received += len(data)
            request.on_response_data(data, False)
        if self._ends_early and self.request is request:
            self._ends_early = False
            self._end(request)
            self.transport.close()

    def be_spare(self) -> None:
        """Nobody wants the connection now; a host that has spoken cannot be kept for later."""
        self._spare = True
        self.idle_since = self.pool.now()
        if self._early or self._ends_early:
            self.close()

    def wait_unread(self) -> None:
        """Nobody wants the connection yet; what the host says stays where it is until somebody does."""
        self.idle_since = self.pool.now()
        if not self._unread:
            self._unread = True
            self.transport.pause_reading()

    def send_head(self, body: bytes | memoryview, end_stream: bool) -> None:
        """See `UpstreamConnection`: the request's preamble stands for its head, and is answered at once."""
        request = self.request
        assert request is not None
        data = request.preamble + body
        if data or end_stream:
            self.send_data(data, end_stream)
        request.on_response(_CONNECTED, b"", end_stream=False)

    def send_data(self, data: bytes | memoryview, end_stream: bool) -> None:
        """See `UpstreamConnection`; the end shuts down our half, which TLS cannot do on its own."""
        if data:
            if self.request is not None:
                self.request.wire_bytes_sent += len(data)
            self.pool.stats.upstream_cx_tx_bytes_total += len(data)
            self.transport.write(data)
        if end_stream:
            self._sent_all = True
            if self.transport.can_write_eof():
                self.transport.write_eof()

    def send_trailers(self, trailers: HeaderMap) -> None:
        """See `UpstreamConnection`: bytes have none."""
        del trailers
        self.send_data(b"", True)

    def release(self) -> None:
        """See `UpstreamConnection`."""
        self.request = None
        self.requests = 0
        self.pool.offer(self)

    def abandon(self) -> None:
        """See `UpstreamConnection`: what was not sent yet is dropped."""
        self._active = self.request is not None
        self.request = None
        if not self._closing_locally:
            self._closing_locally = self.closed = True
            self.transport.abort()

    # -- the pool's side (`PooledConnection`)

    @property
    def busy(self) -> bool:
        """See `PooledConnection`."""
        return self.requests > 0

    def close(self) -> None:
        """See `PooledConnection`."""
        if not self._closing_locally:
            self._closing_locally = self.closed = True
            if self.connected:
                self.transport.close()

    def drain(self) -> None:
        """See `PooledConnection`: who uses the connection may go on."""
        self.draining = True
        if not self.requests:
            self.close()
