"""Which kind of pool a host of a cluster gets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from proxy.base.services import Timers
from proxy.connection.upstream_source import SourcedKey
from proxy.upstream.cluster import Cluster
from proxy.upstream.cluster_config import UpstreamProtocol
from proxy.upstream.host import Host
from proxy.upstream.pool.api import FOR_HTTP2_CLIENTS, FOR_RAW_BYTES
from proxy.upstream.pool.auto import AutoPool
from proxy.upstream.pool.base import ConnectionIds, ConnectionPool
from proxy.upstream.pool.http1 import Http1Pool
from proxy.upstream.pool.http2 import Http2Pool
from proxy.upstream.pool.tcp import TcpPool

if TYPE_CHECKING:
    from proxy.upstream.pool.per_client import PoolPerClient

_KINDS: Final[dict[UpstreamProtocol, type[ConnectionPool]]] = {
    UpstreamProtocol.HTTP1: Http1Pool,
    UpstreamProtocol.HTTP2: Http2Pool,
    UpstreamProtocol.AUTO: AutoPool,
}


def make_pool(
    loop: asyncio.AbstractEventLoop,
    timers: Timers,
    cluster: Cluster,
    host: Host,
    key: Any,
    ids: ConnectionIds,
) -> ConnectionPool | PoolPerClient:
    """The pool that `Host.pools` is to have under `key`: a priority, plus `FOR_HTTP2_CLIENTS` or the like.

    Where requests bring the name that their connection is to be for, it is a pair of that and of the name.
    For connections that do not come from this machine it is a `SourcedKey` of either.
    """
    source = None
    inner = key
    if isinstance(key, SourcedKey):
        inner, source = key
    number, server_name = inner if isinstance(inner, tuple) else (inner, None)

    def sibling(other: Host) -> Any:
        pool = other.pools.get(key)
        if pool is None:
            pool = other.pools[key] = make_pool(loop, timers, cluster, other, key, ids)
        return pool

    preconnect = cluster.config.preconnect

    def make() -> ConnectionPool:
        pool = _make_pool(loop, timers, cluster, host, number, ids)
        pool.server_name = server_name
        pool.source = source
        if preconnect is not None:
            pool.sibling = sibling  # type: ignore[attr-defined]  # of such pools
        return pool

    if cluster.config.proxy_header_of(host.metadata) is None:
        return make()
    from proxy.upstream.pool.per_client import PoolPerClient  # few clusters need it

    return PoolPerClient(make, loop)


def _make_pool(
    loop: asyncio.AbstractEventLoop,
    timers: Timers,
    cluster: Cluster,
    host: Host,
    key: int,
    ids: ConnectionIds,
) -> ConnectionPool:
    priority = key % FOR_HTTP2_CLIENTS
    kind: type[ConnectionPool]
    if key >= FOR_RAW_BYTES:
        kind = TcpPool
    else:
        by_client = Http2Pool if key >= FOR_HTTP2_CLIENTS else Http1Pool
        kind = _KINDS.get(cluster.config.protocol, by_client)
    if cluster.config.preconnect is not None:
        from proxy.upstream.pool.preconnect import preconnecting  # few clusters have a policy

        kind = preconnecting(kind)
    return kind(loop, timers, cluster, host, priority, ids)
