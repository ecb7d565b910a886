"""The HTTP/1.1 pool of one host at one priority.

A request takes an idle connection (the one used last, so that the others can age and go), or waits for a new
one within the limits of the circuit breakers. Idle connections close after the cluster's idle timeout, and one
that the peer has closed is never used.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from proxy.base.services import Timers
from proxy.codec.http1_render import NameFormatter
from proxy.codec.http1_response import Http1Response, ResponseParser
from proxy.upstream.circuit_breaker import ResourceManager
from proxy.upstream.cluster import Cluster
from proxy.upstream.cluster_config import ClusterConfig
from proxy.upstream.host import Host
from proxy.upstream.pool.api import PoolFailure, PoolRequest
from proxy.upstream.pool.connect import ConnectError, open_connection
from proxy.upstream.pool.http1_connection import Http1UpstreamConnection

#: After a connection was idle for this long (seconds) its socket is asked whether the peer has closed: younger
#: ones would have told through the loop, and asking costs about 1 us.
_PEEK_AFTER: Final = 0.005


class ConnectionIds:
    """Numbers for upstream connections, unique in the worker."""

    def __init__(self) -> None:
        self.last = 0

    def next(self) -> int:
        """The next number."""
        self.last += 1
        return self.last


class Http1Pool:
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
        self.config: ClusterConfig = cluster.config
        self.host = host
        self.stats = cluster.stats
        self.cluster = cluster
        options = self.config.http
        self.parser = ResponseParser(
            options.max_response_headers_kb * 1024,
            options.max_headers_count,
            options.allow_chunked_length,
            options.preserve_case,
        )
        self.known_heads: dict[bytes, Http1Response] = {}
        self.name_formatter: NameFormatter | None = None
        self._limits: ResourceManager = cluster.breakers[priority]
        # Counted for `remaining_cx_pools`; a pool for each host and priority is never refused.
        self._limits.connection_pools.acquire()
        self._counted = True
        self._loop = loop
        self.now = loop.time
        self._timers = timers
        self._ids = ids
        self._idle: list[Http1UpstreamConnection] = []
        self._connections: set[Http1UpstreamConnection] = set()
        self._pending: deque[PoolRequest] = deque()
        self._connecting: set[asyncio.Task[None]] = set()
        self._wake_at = 0.0
        self._max_requests = options.max_requests_per_connection
        self._idle_timeout = options.idle_timeout
        self._max_duration = options.max_connection_duration
        self._idle_check = min((t for t in (self._idle_timeout, self._max_duration) if t), default=0.0)

    def __repr__(self) -> str:
        return (
            f"<Http1Pool {self.host.address} idle={len(self._idle)} open={len(self._connections)} "
            f"connecting={len(self._connecting)} pending={len(self._pending)}>"
        )

    # -- the request's side

    def take(self, request: PoolRequest) -> Http1UpstreamConnection | None:
        """An idle connection that now carries `request`, or None."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.closed:
                continue
            if self.now() - connection.idle_since > _PEEK_AFTER and connection.peer_has_closed():
                connection.close()
                continue
            connection.request = request
            connection.request_sent = False
            connection.requests += 1
            return connection
        return None

    def cancel(self, request: PoolRequest) -> None:
        """`request` no longer wants a connection."""
        try:
            self._pending.remove(request)
        except ValueError:
            return
        self._leave_queue()
        self.stats.upstream_rq_cancelled += 1

    def wait(self, request: PoolRequest) -> None:
        """Give `request` a connection later, or fail it; it hears through its callbacks."""
        limits = self._limits
        if not limits.pending_requests.try_acquire():
            self.stats.upstream_rq_pending_overflow += 1
            request.on_pool_failure(PoolFailure.OVERFLOW, "")
            return
        self.stats.upstream_rq_pending_total += 1
        self.stats.upstream_rq_pending_active += 1
        self.host.stats.rq_pending_active += 1
        self._pending.append(request)
        self._connect_if_needed()

    def _leave_queue(self) -> None:
        self._limits.pending_requests.release()
        self.stats.upstream_rq_pending_active -= 1
        self.host.stats.rq_pending_active -= 1

    def _connect_if_needed(self) -> None:
        if len(self._connecting) >= len(self._pending):
            return
        limits = self._limits
        per_host = self.host.stats.cx_active >= limits.max_connections_per_host
        if per_host or not limits.connections.try_acquire():
            self.stats.upstream_cx_overflow += 1
            # Envoy opens one connection even beyond the limit, or the pool could never make progress.
            if self._connections or self._connecting:
                return
            limits.connections.acquire()
        connection = Http1UpstreamConnection(self, self._ids.next())
        connection.connect_started_at = self._loop.time()
        stats = self.stats
        stats.upstream_cx_total += 1
        stats.upstream_cx_active += 1
        stats.upstream_cx_http1_total += 1
        self.host.stats.cx_total += 1
        self.host.stats.cx_active += 1
        task = self._loop.create_task(
            self._connect(connection), name=f"connect {self.host.address} of {self.config.name}"
        )
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, connection: Http1UpstreamConnection) -> None:
        try:
            connection.socket = await open_connection(self._loop, self.host, self.config, connection)
        except ConnectError as error:
            self._connect_failed(connection, error)
            return
        except asyncio.CancelledError:
            self._forget(connection)
            raise
        now = self._loop.time()
        connection.connected_at = now
        self.stats.upstream_cx_connect_ms.record(int((now - connection.connect_started_at) * 1000))
        self._connections.add(connection)
        task = asyncio.current_task()
        assert task is not None
        self._connecting.discard(task)
        if connection.closed:
            self._connections.discard(connection)
            return
        self._offer(connection)

    def _connect_failed(self, connection: Http1UpstreamConnection, error: ConnectError) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connecting.discard(task)
        self._forget(connection)
        self.stats.upstream_cx_connect_fail += 1
        self.host.stats.cx_connect_fail += 1
        self.stats.upstream_cx_destroy += 1
        failure = PoolFailure.LOCAL_CONNECT if error.local else PoolFailure.REMOTE_CONNECT
        if error.timeout:
            self.stats.upstream_cx_connect_timeout += 1
            self.stats.upstream_cx_destroy_local += 1
            failure = PoolFailure.TIMEOUT
        else:
            self.stats.upstream_cx_destroy_remote += 1
        # A host that refuses one connection refuses the next: tell everybody who waits, as Envoy does.
        waiting = list(self._pending)
        self._pending.clear()
        for request in waiting:
            self._leave_queue()
            self.stats.upstream_rq_pending_failure_eject += 1
            request.on_pool_failure(failure, error.reason)

    def _forget(self, connection: Http1UpstreamConnection) -> None:
        connection.closed = True
        self.stats.upstream_cx_active -= 1
        self.host.stats.cx_active -= 1
        self._limits.connections.release()

    # -- the connection's side

    def on_complete(self, connection: Http1UpstreamConnection, reusable: bool) -> None:
        """The connection has carried a request to its end."""
        if self._max_requests and connection.requests >= self._max_requests:
            self.stats.upstream_cx_max_requests += 1
            reusable = False
        if not reusable or self.host.removed or connection.closed:
            connection.close()
            return
        if self._max_duration and self.now() - connection.connected_at > self._max_duration:
            self.stats.upstream_cx_max_duration_reached += 1
            connection.close()
            return
        self._offer(connection)

    def _offer(self, connection: Http1UpstreamConnection) -> None:
        if self._pending:
            request = self._pending.popleft()
            self._leave_queue()
            connection.request = request
            connection.request_sent = False
            connection.requests += 1
            request.on_pool_ready(connection)
            return
        connection.idle_since = now = self.now()
        self._idle.append(connection)
        if self._wake_at <= now and self._idle_check:
            self._wake_at = now + self._idle_check
            self._timers.wake(self._wake_at, self)

    def on_wake(self, now: float) -> None:
        """Close what was idle for too long; see `Timers`."""
        self._wake_at = 0.0
        next_due = 0.0
        for connection in list(self._idle):
            due = self._due(connection)
            if due <= now:
                self._idle.remove(connection)
                connection.close()
            elif not next_due or due < next_due:
                next_due = due
        if next_due:
            self._wake_at = next_due
            self._timers.wake(next_due, self)

    def _due(self, connection: Http1UpstreamConnection) -> float:
        due = connection.idle_since + self._idle_timeout if self._idle_timeout else float("inf")
        aged = connection.connected_at + self._max_duration if self._max_duration else float("inf")
        now = self._loop.time()
        if due <= now:
            self.stats.upstream_cx_idle_timeout += 1
        elif aged <= now:
            self.stats.upstream_cx_max_duration_reached += 1
        return min(due, aged)

    def on_lost(self, connection: Http1UpstreamConnection, *, local: bool, active: bool) -> None:
        """The socket of the connection is gone."""
        self._connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        stats = self.stats
        stats.upstream_cx_active -= 1
        stats.upstream_cx_destroy += 1
        self.host.stats.cx_active -= 1
        self._limits.connections.release()
        if local:
            stats.upstream_cx_destroy_local += 1
        else:
            stats.upstream_cx_destroy_remote += 1
        if active:
            stats.upstream_cx_destroy_with_active_rq += 1
            if local:
                stats.upstream_cx_destroy_local_with_active_rq += 1
            else:
                stats.upstream_cx_destroy_remote_with_active_rq += 1
        stats.upstream_cx_length_ms.record(int((self._loop.time() - connection.connected_at) * 1000))
        stats.upstream_rq_per_cx.record(connection.requests)
        if self._pending:
            self._connect_if_needed()

    # -- the cluster's side

    def drain(self) -> None:
        """The host has gone: idle connections close now, the others after their request."""
        if self._counted:
            self._counted = False
            self._limits.connection_pools.release()
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    async def close(self) -> None:
        """End everything, tasks included."""
        for task in list(self._connecting):
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        for connection in list(self._connections):
            connection.close()
