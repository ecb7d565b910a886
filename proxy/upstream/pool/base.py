"""What all pools do alike: the queue of requests without a connection, opening connections, counting them."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import Any, Final, Protocol

from proxy.base.services import Timers
from proxy.codec.proxy_protocol import ProxyData
from proxy.connection.tls_named import NamedTls
from proxy.connection.upstream_source import UpstreamSource
from proxy.upstream.circuit_breaker import PER_HOST, ResourceManager
from proxy.upstream.cluster import Cluster
from proxy.upstream.cluster_config import ClusterConfig
from proxy.upstream.host import Host
from proxy.upstream.pool.api import PoolFailure, PoolRequest, ServerName
from proxy.upstream.pool.connect import ConnectError, open_connection

#: After a connection was idle for this long (seconds) its socket is asked whether the peer has closed: younger
#: ones would have told through the loop, and asking costs about 1 us.
PEEK_AFTER: Final = 0.005


class ConnectionIds:
    """Numbers for upstream connections, unique in the worker."""

    def __init__(self) -> None:
        self.last = 0

    def next(self) -> int:
        """The next number."""
        self.last += 1
        return self.last


class PooledConnection(Protocol):
    """What a pool knows of any of its connections. Times are monotonic seconds.

    `capacity` is how many requests the connection is expected to take once it is ready. `closed` is True as
    soon as no request may have it, `draining` when it takes no new one; `idle_since` is when it last carried
    one. `socket` is the transport's.
    """

    connection_id: int
    capacity: int
    closed: bool
    draining: bool
    connect_started_at: float
    connected_at: float
    idle_since: float
    requests: int
    socket: socket.socket | None

    @property
    def busy(self) -> bool:
        """Whether it carries a request now."""

    def close(self) -> None:
        """Close from our side."""

    def drain(self) -> None:
        """Take no further request; close when the present ones are through."""


class ConnectionPool:
    """See module. Subclasses make the connections, and say which one a request gets.

    `coming` counts the requests that connections on their way will take. `server_name` is what all its requests
    want their connection to be for, None if they leave it to the cluster.
    """

    server_name: ServerName | None = None

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
        self.match = self.config.match_of(host.metadata)
        self.stats = cluster.stats
        self.cluster = cluster
        self.loop = loop
        self.now = loop.time
        self.coming = 0
        #: The client that connections are for, where hosts are told of it.
        self.proxied: ProxyData | None = None
        #: Where connections come from if not this machine. Such a pool leaves its host with its last connection.
        self.source: UpstreamSource | None = None
        self._ids = ids
        self._timers = timers
        self._limits: ResourceManager = cluster.breakers[priority]
        # Counted for `remaining_cx_pools`; a pool for each host and priority is never refused.
        self._limits.connection_pools.acquire()
        self._counted = True
        self._connections: set[Any] = set()
        self._pending: deque[PoolRequest] = deque()
        self._connecting: dict[asyncio.Task[None], Any] = {}
        options = self.config.http
        self._max_requests = options.max_requests_per_connection
        self._idle_timeout = options.idle_timeout
        self._max_duration = options.max_connection_duration
        self._idle_check = min((t for t in (self._idle_timeout, self._max_duration) if t), default=0.0)
        self._wake_at = 0.0

    def __repr__(self) -> str:
        idle = sum(not connection.busy for connection in self._connections)
        return (
            f"<{type(self).__name__} {self.host.address} idle={idle} open={len(self._connections)} "
            f"connecting={len(self._connecting)} pending={len(self._pending)}>"
        )

    @property
    def in_use(self) -> bool:
        """Whether there are connections, or requests that wait for one."""
        return bool(self._connections or self._connecting or self._pending)

    # -- for subclasses to fill in

    def make_connection(self) -> Any:
        """A new connection, to be connected."""
        raise NotImplementedError

    def offer(self, connection: Any) -> None:
        """`connection` can take a request (or several) now."""
        raise NotImplementedError

    def transport_config(self) -> Any:
        """How connections are encrypted; None for plain text."""
        return self.config.transport if self.match is None else self.match.transport

    def _named_transport(self) -> Any:
        """`transport_config` for the name that requests ask for."""
        transport = self.transport_config()
        if transport is None or self.server_name is None:
            return transport
        return NamedTls(transport, *self.server_name)

    # -- the request's side

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
            limits.refused("pending_requests")
            request.on_pool_failure(PoolFailure.OVERFLOW, "")
            return
        self.stats.upstream_rq_pending_total += 1
        self.stats.upstream_rq_pending_active += 1
        self.host.stats.rq_pending_active += 1
        self._pending.append(request)
        self.connect_if_needed()

    def _leave_queue(self) -> None:
        self._limits.pending_requests.release()
        self.stats.upstream_rq_pending_active -= 1
        self.host.stats.rq_pending_active -= 1

    def next_pending(self) -> PoolRequest | None:
        """The request that has waited longest, which waits no more; None if there is none."""
        if not self._pending:
            return None
        self._leave_queue()
        return self._pending.popleft()

    # -- opening connections

    @property
    def may_open(self) -> bool:
        """Whether the limits leave room for one more connection."""
        limits = self._limits
        return limits.connections.available and self.host.stats.cx_active < limits.max_connections_per_host

    def connect_if_needed(self) -> None:
        """Open one more connection if those on their way will not do for the requests that wait."""
        if self.coming < len(self._pending):
            self.open_one()

    def open_one(self) -> bool:
        """Begin to open a connection; whether the limits leave room for it, without which there may be none."""
        limits = self._limits
        room = True
        per_host = self.host.stats.cx_active >= limits.max_connections_per_host
        if per_host or not limits.connections.try_acquire():
            self.stats.upstream_cx_overflow += 1
            limits.refused(PER_HOST if per_host else "connections")
            # Envoy opens one connection even beyond the limit, or the pool could never make progress.
            if self._connections or self._connecting:
                return False
            limits.connections.acquire()
            room = False
        connection = self.make_connection()
        connection.connect_started_at = self.now()
        self.coming += connection.capacity
        stats = self.stats
        stats.upstream_cx_total += 1
        stats.upstream_cx_active += 1
        self.host.stats.cx_total += 1
        self.host.stats.cx_active += 1
        task = self.loop.create_task(
            self._connect(connection), name=f"connect {self.host.address} of {self.config.name}"
        )
        self._connecting[task] = connection
        task.add_done_callback(self._no_longer_connecting)
        return room

    def _no_longer_connecting(self, task: asyncio.Task[None]) -> None:
        connection = self._connecting.pop(task, None)
        if connection is not None:
            self.coming -= connection.capacity

    async def _connect(self, connection: Any) -> None:
        try:
            sock = await open_connection(
                self.loop,
                self.host,
                self.config,
                connection,
                self._named_transport(),
                proxied=self.proxied,
                source=self.source,
            )
        except ConnectError as error:
            if self.cluster.ssl_stats is not None and error.__cause__ is not None:
                self.cluster.ssl_stats.failed(error.__cause__)
            self._connect_failed(connection, error)
            return
        except asyncio.CancelledError:
            self._forget(connection)
            raise
        now = self.now()
        connection = self.settled(connection)
        connection.socket = sock
        if self.cluster.ssl_stats is not None and connection.tls is not None:
            made = connection.transport.get_extra_info("ssl_object")
            self.cluster.ssl_stats.succeeded(
                connection.tls, reused=bool(made.session_reused), overlooked=made.overlooked
            )
        connection.connected_at = now
        self.stats.upstream_cx_connect_ms.record(int((now - connection.connect_started_at) * 1000))
        task = asyncio.current_task()
        assert task is not None
        self._no_longer_connecting(task)
        if not connection.closed:
            self._connections.add(connection)
            self.watch(now)
            self.offer(connection)
        else:
            # The peer has taken it away again before anybody had it, and may do so with the next for ever.
            self._fail_pending(PoolFailure.REMOTE_CONNECT, "")

    def settled(self, connection: Any) -> Any:
        """The connection that a connected one has turned out to be."""
        return connection

    def _connect_failed(self, connection: Any, error: ConnectError) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._no_longer_connecting(task)
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
        self._fail_pending(failure, error.reason)
        if self.source is not None:
            self._leave_if_unused()

    def _fail_pending(self, failure: PoolFailure, reason: str) -> None:
        waiting = list(self._pending)
        self._pending.clear()
        for request in waiting:
            self._leave_queue()
            self.stats.upstream_rq_pending_failure_eject += 1
            request.on_pool_failure(failure, reason)

    def _forget(self, connection: Any) -> None:
        connection.closed = True
        self.stats.upstream_cx_active -= 1
        self.host.stats.cx_active -= 1
        self._limits.connections.release()

    # -- the connection's side

    def on_lost(self, connection: Any, *, local: bool, active: bool) -> None:
        """The socket of the connection is gone."""
        self._connections.discard(connection)
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
        now = self.now()
        stats.upstream_cx_length_ms.record(int((now - (connection.connected_at or now)) * 1000))
        stats.upstream_rq_per_cx.record(connection.requests)
        if self._pending:
            self.connect_if_needed()
        elif self.source is not None:
            self._leave_if_unused()

    def _leave_if_unused(self) -> None:
        """Clients' addresses are many: their pools must not stay for ever."""
        if self.in_use:
            return
        pools = self.host.pools
        for key in [key for key, pool in pools.items() if pool is self]:
            del pools[key]
        self.drain()

    # -- idle and old connections

    def watch(self, now: float) -> None:
        """See to it that connections that are idle from `now` on close in time."""
        if self._wake_at <= now and self._idle_check:
            self._wake_at = now + self._idle_check
            self._timers.wake(self._wake_at, self)

    def on_wake(self, now: float) -> None:
        """Close what was idle or open for too long; see `Timers`."""
        self._wake_at = 0.0
        next_due = 0.0
        for connection in list(self._connections):
            due = self._end_if_due(connection, now)
            if due and (not next_due or due < next_due):
                next_due = due
        if next_due:
            self._wake_at = next_due
            self._timers.wake(next_due, self)

    def _end_if_due(self, connection: Any, now: float) -> float:
        """When to look at the connection again; 0.0 for never."""
        if connection.draining or connection.closed:
            return 0.0
        aged = connection.connected_at + self._max_duration if self._max_duration else float("inf")
        idle = float("inf")
        if self._idle_timeout and not connection.busy:
            idle = connection.idle_since + self._idle_timeout
        if idle <= now:
            self.stats.upstream_cx_idle_timeout += 1
            connection.close()
        elif aged <= now:
            self.stats.upstream_cx_max_duration_reached += 1
            connection.drain()
        else:
            due = min(idle, aged)
            return due if due != float("inf") else 0.0
        return 0.0

    # -- the cluster's side

    def drain(self) -> None:
        """The host has gone: idle connections close now, the others after their requests."""
        if self._counted:
            self._counted = False
            self._limits.connection_pools.release()
        self.drain_connections()

    def drain_connections(self) -> None:
        """The host has failed checks: what is connected takes no further request, as in Envoy."""
        for connection in list(self._connections):
            connection.drain()
        if self._pending:
            self.connect_if_needed()

    async def close(self) -> None:
        """End everything, tasks included."""
        for task in list(self._connecting):
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        for connection in list(self._connections):
            connection.close()
