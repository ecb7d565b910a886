"""A pool for each client of a host that is told of the client by a header of the PROXY protocol.

A connection tells of one client, so nobody else may use it: Envoy, too, has a pool for each pair of addresses. A
client's pool stays as long as there are connections in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from proxy.base.address import Address
from proxy.codec.proxy_protocol import ProxyData
from proxy.upstream.pool.api import PoolRequest
from proxy.upstream.pool.base import ConnectionPool

#: Pools are looked through for such as are not in use when there are twice as many as were, and more than this.
_FEW: Final = 8

_Key = tuple[Address, Address] | None


class PoolPerClient:
    """See module. To those who ask for connections, a `ConnectionPool`; `make` gives one."""

    def __init__(self, make: Callable[[], ConnectionPool], loop: asyncio.AbstractEventLoop) -> None:
        self.now = loop.time
        self._make = make
        self._pools: dict[_Key, Any] = {}
        self._look_at = _FEW

    @property
    def in_use(self) -> bool:
        """See `ConnectionPool`."""
        return any(pool.in_use for pool in self._pools.values())

    def take(self, request: PoolRequest) -> Any:
        """See `Http1Pool`."""
        return self._of(request).take(request)

    def wait(self, request: PoolRequest) -> None:
        """See `ConnectionPool`."""
        self._of(request).wait(request)

    def cancel(self, request: PoolRequest) -> None:
        """See `ConnectionPool`."""
        self._of(request).cancel(request)

    def preconnect(self, ratio: float, request: PoolRequest) -> bool:
        """Make a connection for the client of `request`, where such are made ahead."""
        return bool(self._of(request).preconnect(ratio, request))

    def _of(self, request: PoolRequest) -> Any:
        client: ProxyData | None = request.proxied
        key = None if client is None else (client.remote, client.local)
        pool = self._pools.get(key)
        if pool is None:
            if len(self._pools) >= self._look_at:
                self._drop_unused()
            pool = self._pools[key] = self._make()
        if not pool.in_use:
            pool.proxied = client  # TLVs are no part of the key
        return pool

    def _drop_unused(self) -> None:
        for key, pool in list(self._pools.items()):
            if not pool.in_use:
                pool.drain()
                del self._pools[key]
        self._look_at = max(2 * len(self._pools), _FEW)

    def drain(self) -> None:
        """See `ConnectionPool`."""
        for pool in self._pools.values():
            pool.drain()

    def drain_connections(self) -> None:
        """See `ConnectionPool`."""
        for pool in self._pools.values():
            pool.drain_connections()

    async def close(self) -> None:
        """See `ConnectionPool`."""
        for pool in self._pools.values():
            await pool.close()
