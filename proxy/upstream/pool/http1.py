"""The HTTP/1.1 pool of one host at one priority.

A request takes an idle connection (the one used last, so that the others can age and go), or waits for a new
one within the limits of the circuit breakers. Idle connections close after the cluster's idle timeout, and one
that the peer has closed is never used.
"""

from __future__ import annotations

import asyncio
from typing import Any

from proxy.base.services import Timers
from proxy.codec.http1_render import NameFormatter
from proxy.codec.http1_response import Http1Response, ResponseParser
from proxy.upstream.cluster import Cluster
from proxy.upstream.host import Host
from proxy.upstream.pool.api import PoolRequest
from proxy.upstream.pool.base import PEEK_AFTER, ConnectionIds, ConnectionPool
from proxy.upstream.pool.http1_connection import Http1UpstreamConnection
from proxy.upstream.pool.stale import REPEATABLE, ObservedCloses


class Http1Pool(ConnectionPool):
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
        options = self.config.http
        self.parser = ResponseParser(
            options.max_response_headers_kb * 1024,
            options.max_headers_count,
            options.allow_chunked_length,
            options.preserve_case,
        )
        self.known_heads: dict[bytes, Http1Response] = {}
        self.name_formatter: NameFormatter | None = None
        self._idle: list[Http1UpstreamConnection] = []
        self._closes = ObservedCloses()
        #: The connection that a waiting request is being given.
        self._offered: Http1UpstreamConnection | None = None

    # -- the request's side

    def take(self, request: PoolRequest) -> Any:
        """An idle connection that now carries `request`, or None."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.closed:
                continue
            idle_for = self.now() - connection.idle_since
            repeatable = request.method in REPEATABLE
            if (idle_for > PEEK_AFTER or not repeatable) and self._is_stale(connection, idle_for):
                continue
            if not (repeatable or self._closes.trusts(idle_for, self.now()) or not self.may_open):
                # The others have been idle for longer.
                idle.append(connection)
                return None
            connection.request = request
            connection.request_sent = False
            connection.requests += 1
            return connection
        return None

    def _is_stale(self, connection: Http1UpstreamConnection, idle_for: float) -> bool:
        if connection.peer_has_closed():
            self._closes.note(idle_for, self.now())
        elif idle_for > connection.idle_limit:
            self.stats.upstream_cx_idle_timeout += 1
        else:
            return False
        connection.close()
        return True

    def take_again(self, request: PoolRequest) -> Any:
        """For a request whose connection has turned out to be stale: None, to wait for a new one, if it may."""
        return None if self.may_open else self.take(request)

    # -- the connection's side

    def make_connection(self) -> Any:
        """See `ConnectionPool`."""
        self.stats.upstream_cx_http1_total += 1
        if self.config.http.send_fully_qualified_url:
            from proxy.upstream.pool.absolute_target import AbsoluteTargetConnection  # few clusters want it

            return AbsoluteTargetConnection(self, self._ids.next())
        return Http1UpstreamConnection(self, self._ids.next())

    def on_complete(self, connection: Http1UpstreamConnection, reusable: bool) -> None:
        """The connection has carried a request to its end."""
        if self._max_requests and connection.requests >= self._max_requests:
            self.stats.upstream_cx_max_requests += 1
            reusable = False
        if not reusable or connection.draining or self.host.removed or connection.closed:
            connection.close()
            return
        if self._max_duration and self.now() - connection.connected_at > self._max_duration:
            self.stats.upstream_cx_max_duration_reached += 1
            connection.close()
            return
        self.offer(connection)

    def on_released(self, connection: Http1UpstreamConnection) -> None:
        """The request that was to have the connection does not want it."""
        if connection is not self._offered:
            self.on_complete(connection, reusable=True)

    def offer(self, connection: Any) -> None:
        """See `ConnectionPool`."""
        while True:
            request = self.next_pending()
            if request is None:
                break
            connection.request = request
            connection.request_sent = False
            connection.requests += 1
            self._offered = connection
            request.on_pool_ready(connection)
            self._offered = None
            if connection.request is not None or connection.closed:
                if self._pending:
                    self.connect_if_needed()
                return
        connection.idle_since = now = self.now()
        self._idle.append(connection)
        if self._wake_at <= now and self._idle_check:
            self.watch(now)

    def on_lost(self, connection: Any, *, local: bool, active: bool) -> None:
        """See `ConnectionPool`."""
        if connection in self._idle:
            self._idle.remove(connection)
            if not local:
                now = self.now()
                self._closes.note(now - connection.idle_since, now)
        super().on_lost(connection, local=local, active=active)
