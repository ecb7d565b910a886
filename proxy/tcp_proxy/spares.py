"""Connections to a host that are made before a session needs them: `preconnect_policy` of its cluster.

A session takes a connection that is ready, or waits for the first that will be; the books are those of Envoy's
pool. What a host says first waits for the session. Sessions whose host is told of the client (a PROXY header, an
address to come from, metadata for an internal listener) have connections of their own that nobody could foresee.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, cast

from proxy.tcp_proxy.upstream import DialFailure, Upstream
from proxy.upstream.circuit_breaker import PER_HOST
from proxy.upstream.lb.foresight import MOST_AT_ONCE, lacks_connections
from proxy.upstream.pool.api import FOR_RAW_BYTES
from proxy.upstream.pool.connect import ConnectError, open_connection

if TYPE_CHECKING:
    from proxy.tcp_proxy.session import TcpSession
    from proxy.upstream.cluster import Cluster
    from proxy.upstream.host import Host

#: In `Host.pools`, beside the pools of requests.
_KEY: Final = ("tcp_proxy", FOR_RAW_BYTES)


class _Spare(asyncio.Protocol):
    """A connection that nobody has yet. Times are monotonic seconds."""

    transport: asyncio.Transport

    def __init__(self, owner: Spares, now: float) -> None:
        self.owner = owner
        self.connect_started_at = now
        self.connected_at = 0.0
        self.lost = False
        self.early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`: the rest stays where it is."""
        if not self.early:
            self.transport.pause_reading()
        self.early += data

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        del exc
        self.lost = True
        self.owner.on_lost(self)


class Spares:
    """The connections to one host that no session has yet, and the sessions that wait for one."""

    def __init__(self, cluster: Cluster, host: Host, loop: asyncio.AbstractEventLoop) -> None:
        preconnect = cluster.config.preconnect
        assert preconnect is not None
        self.cluster = cluster
        self._host = host
        self._loop = loop
        self.soon = loop.call_soon
        self._stats = cluster.stats
        self._limits = cluster.breakers[0]
        self._ratio = preconnect.per_upstream
        self._foresight = cluster.foresight
        self._connecting: dict[asyncio.Task[Any], _Spare] = {}
        self._ready: dict[_Spare, None] = {}
        self._waiting: deque[PreconnectedUpstream] = deque()
        #: How many sessions have a connection.
        self.active = 0
        if self._foresight is not None and self._foresight.pools is not None:
            self._foresight.pools.add(self)

    # -- the session's side

    def ask(self, upstream: PreconnectedUpstream) -> None:
        """Give `upstream` a connection, now or later, or refuse it."""
        if self._foresight is not None:
            self._foresight.look_ahead(
                lambda host, ratio: spares_of(self.cluster, host, self._loop).preconnect(ratio)
            )
        if self._ready:
            spare = next(iter(self._ready))
            del self._ready[spare]
            self.active += 1
            upstream.take(spare)
        elif upstream.enter_queue():
            self._waiting.append(upstream)
        else:
            return
        self._connect_if_needed()

    def leave(self, upstream: PreconnectedUpstream) -> None:
        """`upstream` no longer waits; a connection that is on its way for nobody is given up, as in Envoy."""
        self._waiting.remove(upstream)
        if not self._connecting:
            return
        pending, active, free = self.load()
        if not lacks_connections(pending, active, active + free - 1, self._ratio):
            task = next(iter(self._connecting))
            task.cancel()

    # -- opening connections

    def preconnect(self, ratio: float) -> bool:
        """Make a connection for a session that may come; whether one was made."""
        return self._lacks(ratio, 1) and self._open_one()

    def load(self) -> tuple[int, int, int]:
        """How many sessions wait, have a connection, and could have one besides."""
        return len(self._waiting), self.active, len(self._ready) + len(self._connecting)

    def _connect_if_needed(self) -> None:
        for _ in range(MOST_AT_ONCE):
            if not self._lacks(self._ratio, 0) or not self._open_one():
                return

    def _lacks(self, ratio: float, coming: int) -> bool:
        pending, active, free = self.load()
        if not self._host.healthy:
            return pending > len(self._connecting)
        return lacks_connections(pending, active, active + free, ratio, coming)

    def _open_one(self) -> bool:
        limits, stats, host_stats = self._limits, self._stats, self._host.stats
        room = True
        per_host = host_stats.cx_active >= limits.max_connections_per_host
        if per_host or not limits.connections.try_acquire():
            stats.upstream_cx_overflow += 1
            limits.refused(PER_HOST if per_host else "connections")
            if self.in_use:
                return False
            limits.connections.acquire()
            room = False
        stats.upstream_cx_total += 1
        stats.upstream_cx_active += 1
        host_stats.cx_total += 1
        host_stats.cx_active += 1
        config = self.cluster.config
        spare = _Spare(self, self._loop.time())
        transport = config.transport_of(self._host.metadata)
        opening = open_connection(self._loop, self._host, config, spare, transport, half_closes=True)
        task = self._loop.create_task(opening, name="tcp_proxy connect ahead")
        self._connecting[task] = spare
        task.add_done_callback(self._on_opened)
        return room

    def _on_opened(self, task: asyncio.Task[Any]) -> None:
        spare = self._connecting.pop(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None or spare.lost:
            self._failed(error)
            return
        spare.connected_at = now = self._loop.time()
        self._stats.upstream_cx_connect_ms.record(int((now - spare.connect_started_at) * 1000))
        if self._host.removed and not self._waiting:
            self._ready[spare] = None
            spare.transport.close()
        elif self._waiting:
            upstream = self._waiting.popleft()
            upstream.leave_queue()
            self.active += 1
            upstream.take(spare)
        else:
            self._ready[spare] = None

    def _failed(self, error: BaseException | None) -> None:
        stats = self._stats
        self._forget()
        stats.upstream_cx_connect_fail += 1
        self._host.stats.cx_connect_fail += 1
        stats.upstream_cx_destroy += 1
        failure, reason = DialFailure.REMOTE, ""
        if isinstance(error, ConnectError):
            reason = error.reason
            if error.timeout:
                failure = DialFailure.TIMEOUT
                stats.upstream_cx_connect_timeout += 1
            elif error.local:
                failure = DialFailure.LOCAL
        if failure is DialFailure.TIMEOUT or isinstance(error, asyncio.CancelledError):
            stats.upstream_cx_destroy_local += 1
        else:
            stats.upstream_cx_destroy_remote += 1
        if isinstance(error, asyncio.CancelledError):
            return  # nobody was left to wait for it
        waiting = list(self._waiting)
        self._waiting.clear()
        for upstream in waiting:
            upstream.refuse(failure, reason)

    def _forget(self) -> None:
        self._stats.upstream_cx_active -= 1
        self._host.stats.cx_active -= 1
        self._limits.connections.release()

    def on_lost(self, spare: _Spare) -> None:
        """A connection has gone before a session had it."""
        if spare not in self._ready:
            return  # still on its way: counted when that ends
        del self._ready[spare]
        self._forget()
        stats = self._stats
        stats.upstream_cx_destroy += 1
        stats.upstream_cx_destroy_remote += 1
        stats.upstream_cx_length_ms.record(int((self._loop.time() - spare.connected_at) * 1000))
        stats.upstream_rq_per_cx.record(0)

    # -- what `Host.pools` holds

    @property
    def in_use(self) -> bool:
        """Whether there are connections, or sessions that wait for one."""
        return bool(self._ready or self._connecting or self._waiting or self.active)

    def drain(self) -> None:
        """The host has gone: what nobody has closes."""
        if self._foresight is not None and self._foresight.pools is not None:
            self._foresight.pools.discard(self)
        self.drain_connections()

    def drain_connections(self) -> None:
        """The host has failed its checks."""
        for spare in self._ready:
            spare.transport.close()

    async def close(self) -> None:
        """End everything, tasks included."""
        tasks = list(self._connecting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.drain_connections()


def spares_of(cluster: Cluster, host: Host, loop: asyncio.AbstractEventLoop) -> Spares:
    """Those of a host of a cluster with a policy."""
    found = host.pools.get(_KEY)
    if found is None:
        found = host.pools[_KEY] = Spares(cluster, host, loop)
    return cast("Spares", found)


def may_have_spares(session: TcpSession, host: Host) -> bool:
    """Whether the host knows nothing of the session's client, so that a connection suits any client."""
    config = host.cluster.config
    named = config.proxy_header_of(host.metadata) is not None or host.address.listener_name
    return not named and session.connection.upstream_source is None


class PreconnectedUpstream(Upstream):
    """The `Upstream` of a session whose connection may have been made before."""

    __slots__ = ("_queued", "_spares")

    def __init__(self, session: TcpSession, cluster: Cluster, host: Host) -> None:
        super().__init__(session, cluster, host)
        self._spares: Spares = spares_of(cluster, host, session.owner.loop)
        self._queued = False

    def dial(self) -> None:
        """See `Upstream`."""
        self.connect_started_at = self._now()
        self._spares.ask(self)

    def time_out(self) -> None:
        """Connections keep their own time."""

    def enter_queue(self) -> bool:
        """Count as waiting; False if too many do, which the session has heard then."""
        limits = self._limits
        if not limits.pending_requests.try_acquire():
            self.stats.upstream_rq_pending_overflow += 1
            limits.refused("pending_requests")
            self._report(None, DialFailure.LOCAL, "")
            return False
        self.stats.upstream_rq_pending_total += 1
        self.stats.upstream_rq_pending_active += 1
        self.host.stats.rq_pending_active += 1
        self._queued = True
        return True

    def leave_queue(self) -> None:
        """Wait no more."""
        self._queued = False
        self._leave_queue()

    def refuse(self, failure: DialFailure, reason: str) -> None:
        """The connection that was to be could not be made."""
        self.leave_queue()
        self.stats.upstream_rq_pending_failure_eject += 1
        self._report(self.host, failure, reason)

    def take(self, spare: _Spare) -> None:
        """Have that connection."""
        self.connect_started_at = spare.connect_started_at
        transport = spare.transport
        transport.set_protocol(self)
        self.begin(transport)
        if spare.early:
            # Later: whoever made this the session's has not heard of it yet.
            self._spares.soon(self._deliver, spare.early)

    def _deliver(self, early: bytes) -> None:
        if self.transport.is_closing():
            return
        self.data_received(early)
        if not (self._paused or self.transport.is_closing()):
            self.transport.resume_reading()

    def _count_end(self, *, active: bool) -> None:
        self._spares.active -= 1
        super()._count_end(active=active)

    def _give_up(self) -> None:
        if self._queued:
            self.leave_queue()
            self.stats.upstream_rq_cancelled += 1
            self._spares.leave(self)
