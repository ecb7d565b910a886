"""Makes the pools for requests that the proxy makes itself."""

from __future__ import annotations

from typing import Any, Final

from proxy.base.services import WorkerServices
from proxy.upstream.cluster import Cluster
from proxy.upstream.host import Host
from proxy.upstream.pool.base import ConnectionIds
from proxy.upstream.pool.choice import make_pool

_IDS_KEY: Final = "own_pools.connection_ids"


class OwnPools:
    """A `PoolLookup` of one worker."""

    def __init__(self, services: WorkerServices) -> None:
        self._services = services
        self._ids: ConnectionIds = services.shared.setdefault(_IDS_KEY, ConnectionIds())

    def __call__(self, cluster: Cluster, host: Host, key: Any) -> Any:
        """See `PoolLookup`."""
        services = self._services
        pool = make_pool(services.loop, services.timers, cluster, host, key, self._ids)
        host.pools[key] = pool
        return pool
