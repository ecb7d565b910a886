"""Pools that make connections before requests need them: `preconnect_policy` of a cluster.

A pool keeps `per_upstream_preconnect_ratio` times as many streams provided for as there are, and each request has
the pools of the hosts that will be chosen next (`Foresight`) do so for the cluster. Hosts that are not healthy get
the connections that requests wait for and no others; the limits of the circuit breakers hold. As in Envoy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from proxy.upstream.lb.foresight import MOST_AT_ONCE, lacks_connections
from proxy.upstream.pool.api import PoolRequest
from proxy.upstream.pool.auto import AutoPool
from proxy.upstream.pool.base import ConnectionPool
from proxy.upstream.pool.http1 import Http1Pool
from proxy.upstream.pool.http2 import Http2Pool
from proxy.upstream.pool.http2_connection import Http2UpstreamConnection
from proxy.upstream.pool.tcp import TcpPool

if TYPE_CHECKING:
    from proxy.upstream.host import Host


class _Preconnecting(ConnectionPool):
    """What the pools below do alike. `sibling` gives the pool of another host for requests like those of this."""

    sibling: Callable[[Host], Any]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        preconnect = self.config.preconnect
        assert preconnect is not None
        self._ratio = preconnect.per_upstream
        self._foresight = self.cluster.foresight
        if self._foresight is not None and self._foresight.pools is not None:
            self._foresight.pools.add(self)

    def take(self, request: PoolRequest) -> Any:
        """See the kind of pool. Even a request that finds a connection may bring others about."""
        if self._foresight is not None:
            self._foresight.look_ahead(
                lambda host, ratio: bool(self.sibling(host).preconnect(ratio, request))
            )
        connection = super().take(request)  # type: ignore[misc]  # of the kind of pool
        if connection is not None:
            self.connect_if_needed()
        return connection

    def connect_if_needed(self) -> None:
        """See `ConnectionPool`."""
        for _ in range(MOST_AT_ONCE):
            if not self._lacks(self._ratio, 0) or not self.open_one():
                return

    def preconnect(self, ratio: float, request: PoolRequest) -> bool:
        """Make a connection for what may come after `request`; whether one was made."""
        del request
        return self._lacks(ratio, 1) and self.open_one()

    def _lacks(self, ratio: float, coming: int) -> bool:
        pending, active, free = self.load()
        if not self.host.healthy:
            return pending > self.coming
        return lacks_connections(pending, active, active + free, ratio, coming)

    def load(self) -> tuple[int, int, int]:
        """How many streams wait, run, and could run besides, on connections that are there or on their way."""
        raise NotImplementedError

    def drain(self) -> None:
        """See `ConnectionPool`."""
        if self._foresight is not None and self._foresight.pools is not None:
            self._foresight.pools.discard(self)
        super().drain()


class PreconnectingHttp1Pool(_Preconnecting, Http1Pool):
    """See module."""

    def load(self) -> tuple[int, int, int]:
        """See `_Preconnecting`."""
        idle = len(self._idle)
        return len(self._pending), len(self._connections) - idle, idle + self.coming


class PreconnectingHttp2Pool(_Preconnecting, Http2Pool):
    """See module."""

    def load(self) -> tuple[int, int, int]:
        """See `_Preconnecting`."""
        active, free = _streams(self._connections)
        return len(self._pending), active, free + self.coming


class PreconnectingAutoPool(_Preconnecting, AutoPool):
    """See module. A host that has not picked HTTP/1.1 yet is taken for one of HTTP/2, as in Envoy."""

    _single = False

    def settle(self, alpn: str) -> Any:
        """See `AutoPool`."""
        settled = super().settle(alpn)
        self._single = not isinstance(settled, Http2UpstreamConnection)
        return settled

    def offer(self, connection: Any) -> None:
        """See `ConnectionPool`: connections that carry one stream each may be too few now."""
        super().offer(connection)
        if self._single:
            self.connect_if_needed()

    def load(self) -> tuple[int, int, int]:
        """See `_Preconnecting`."""
        streams = [one for one in self._connections if isinstance(one, Http2UpstreamConnection)]
        active, free = _streams(streams)
        idle = len(self._idle)
        single = len(self._connections) - len(streams) - idle
        coming = self.coming
        if not self._single:
            coming = len(self._connecting) * min(self.peer_limit or 1, self.max_streams)
        return len(self._pending), active + single, free + idle + coming


class PreconnectingTcpPool(_Preconnecting, TcpPool):
    """See module."""

    def load(self) -> tuple[int, int, int]:
        """See `_Preconnecting`."""
        active = sum([one.requests for one in self._connections])
        return len(self._pending), active, len(self._connections) - active + self.coming

    def offer(self, connection: Any) -> None:
        """See `ConnectionPool`: hosts that speak first are not heard before somebody listens."""
        if self._pending:
            super().offer(connection)
        else:
            connection.wait_unread()
            self.watch(connection.idle_since)


def _streams(connections: Any) -> tuple[int, int]:
    active = free = 0
    for connection in connections:
        active += connection.active
        if not (connection.draining or connection.closed):
            free += max(connection.free, 0)
    return active, free


_KINDS: dict[type[ConnectionPool], type[ConnectionPool]] = {
    Http1Pool: PreconnectingHttp1Pool,
    Http2Pool: PreconnectingHttp2Pool,
    AutoPool: PreconnectingAutoPool,
    TcpPool: PreconnectingTcpPool,
}


def preconnecting(kind: type[ConnectionPool]) -> type[ConnectionPool]:
    """The kind of pool that does the same and makes connections ahead."""
    return _KINDS[kind]
