"""The pool of a host that says by ALPN which version of HTTP it speaks.

Each connection becomes one of HTTP/2 or of HTTP/1.1 when its TLS handshake is through; a host that picks
nothing gets HTTP/1.1, as from Envoy.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from proxy.upstream.pool.api import PoolRequest
from proxy.upstream.pool.http1 import Http1Pool
from proxy.upstream.pool.http2 import Http2Pool
from proxy.upstream.pool.http2_connection import Http2UpstreamConnection

_HTTP2: Final = "h2"


class AutoPool(Http2Pool, Http1Pool):
    """See module. Until a host has picked HTTP/2, a new connection is expected to take one request."""

    capacity = 1

    def take(self, request: PoolRequest) -> Any:
        """A stream or a connection that now carries `request`, or None."""
        return Http2Pool.take(self, request) or Http1Pool.take(self, request)

    def make_connection(self) -> Any:
        """See `ConnectionPool`."""
        return UnsettledConnection(self)

    def settle(self, alpn: str) -> Any:
        """A connection of the kind that the host has picked."""
        if alpn == _HTTP2:
            connection: Any = Http2Pool.make_connection(self)
            self.capacity = connection.capacity
            return connection
        self.capacity = 1
        return Http1Pool.make_connection(self)

    def settled(self, connection: UnsettledConnection) -> Any:
        """See `ConnectionPool`."""
        return connection.settled

    def offer(self, connection: Any) -> None:
        """See `ConnectionPool`."""
        if isinstance(connection, Http2UpstreamConnection):
            Http2Pool.offer(self, connection)
        else:
            Http1Pool.offer(self, connection)


class UnsettledConnection(asyncio.Protocol):
    """Stands in for a connection until the host has picked; `settled` is what it turned out to be."""

    def __init__(self, pool: AutoPool) -> None:
        self._pool = pool
        self.capacity = pool.capacity
        self.connect_started_at = 0.0
        self.closed = False
        self.settled: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        tls = transport.get_extra_info("ssl_object")
        settled = self.settled = self._pool.settle(tls.selected_alpn_protocol() or "")
        settled.connect_started_at = self.connect_started_at
        cast("asyncio.Transport", transport).set_protocol(settled)
        settled.connection_made(transport)
