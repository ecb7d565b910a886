"""The HTTP/2 pool of one host at one priority.

A request becomes a stream of a connection that has room for one more, of the connection that came to have room
last; with none it waits for a new connection or for the end of a stream, within the limits of the circuit
breakers. A connection that has said GOAWAY, has carried its number of requests or is too old drains.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from proxy.base.services import Timers
from proxy.codec.http2_response import Http2Response, Http2ResponseParser
from proxy.upstream.cluster import Cluster
from proxy.upstream.host import Host
from proxy.upstream.pool.api import PoolRequest
from proxy.upstream.pool.base import PEEK_AFTER, ConnectionIds, ConnectionPool
from proxy.upstream.pool.http2_connection import Http2UpstreamConnection

#: Parsed response heads that the connections share; peers choose them, so there is an end to their number.
MAX_KNOWN_RESPONSES: Final = 512
MAX_KNOWN_RESPONSE_BYTES: Final = 2048
#: A connection has this many stream ids; Envoy's `maxStreamsPerConnection` without a limit of its own.
_MAX_STREAMS: Final = 2**29


class Http2Pool(ConnectionPool):
    """See module."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timers: Timers,
        cluster: Cluster,
        host: Host,
        priority: int,
        ids: ConnectionIds,
    ) -> None:
        super().__init__(loop, timers, cluster, host, priority, ids)
        options = self.config.http2
        self.codec_stats = self.stats.http2_stats()
        self.response_parser = Http2ResponseParser(
            options.max_headers_kb * 1024, options.max_headers_count, table_size=options.hpack_table_size
        )
        self.known_responses: dict[tuple[object, ...], Http2Response] = {}
        self.max_streams = self._max_requests or _MAX_STREAMS
        #: What the peer last said about its streams; new connections count on no more.
        self.peer_limit = options.max_concurrent_streams
        self.timers = timers
        self.draw = cluster.draw
        self._ready: list[Http2UpstreamConnection] = []

    # -- the request's side

    def take(self, request: PoolRequest) -> Any:
        """A new stream for `request` on a connection that has room, or None."""
        ready = self._ready
        while ready:
            connection = ready[-1]
            if connection.free > 0:
                if connection.active or not self._has_ended(connection):
                    return connection.attach(request)
                connection.close()
            connection.ready = False
            ready.pop()
        return None

    def _has_ended(self, connection: Http2UpstreamConnection) -> bool:
        return self.now() - connection.idle_since > PEEK_AFTER and connection.peer_has_closed()

    # -- opening connections

    def make_connection(self) -> Any:
        """See `ConnectionPool`."""
        self.stats.upstream_cx_http2_total += 1
        return Http2UpstreamConnection(self, self._ids.next())

    def transport_config(self) -> Any:
        """See `ConnectionPool`."""
        return self.config.http2_transport if self.match is None else self.match.http2_transport

    # -- the connection's side

    def offer(self, connection: Any) -> None:
        """See `ConnectionPool`."""
        listed = connection.ready
        # A stream that ends from within must not offer the connection again: that would go as deep as the queue.
        connection.ready = True
        while connection.free > 0:
            request = self.next_pending()
            if request is None:
                if not listed:
                    self._ready.append(connection)
                return
            request.on_pool_ready(connection.attach(request))
        connection.ready = False
        if listed:
            self._ready.remove(connection)
        if self._pending:
            self.connect_if_needed()

    def on_lost(self, connection: Any, *, local: bool, active: bool) -> None:
        """See `ConnectionPool`."""
        if connection in self._ready:
            self._ready.remove(connection)
        super().on_lost(connection, local=local, active=active)

    def parse(self, fields: list[tuple[str, str]], block_size: int) -> Http2Response:
        """The response of a field section, shared with equal ones. Raises `Http2MessageError`."""
        # Equal fields in blocks of different sizes are different in the access log.
        key = (block_size, *fields)
        known = self.known_responses
        response = known.get(key)
        if response is None:
            response = self.response_parser.parse(fields, block_size)
            if block_size <= MAX_KNOWN_RESPONSE_BYTES:
                if len(known) >= MAX_KNOWN_RESPONSES:
                    known.clear()
                known[key] = response
        return response
