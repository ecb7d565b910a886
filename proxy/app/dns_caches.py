"""The DNS caches of dynamic forward proxies in the controller: one answer for all workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from proxy.app.ipc import Message
from proxy.base.address import Address
from proxy.base.stats import StatRegistry
from proxy.config.context import CompileContext
from proxy.upstream.dns_cache.config import compile_dns_cache
from proxy.upstream.dns_cache.hosts import CachedHost, Load
from proxy.upstream.dns_cache.names import HostName
from proxy.upstream.dns_cache.resolution import CacheResolution
from proxy.upstream.dns_cache.stats import DnsCacheStats
from proxy.upstream.lb.api import Draw

if TYPE_CHECKING:
    from proxy.upstream.dns_cache.resolution import Resolves

Send = Callable[[Message], None]


class DnsCaches:
    """All caches, by name. `broadcast` tells every worker; `stats` is the controller's registry."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        stats: StatRegistry,
        draw: Draw,
        broadcast: Send,
        resolver: Resolves | None = None,
    ) -> None:
        self._loop = loop
        self._stats = stats
        self._draw = draw
        self._broadcast = broadcast
        self._resolver = resolver
        self._caches: dict[str, CacheResolution] = {}
        #: The serialised `DnsCacheConfig` of each.
        self.settings: dict[str, bytes] = {}

    def declare(self, settings: Iterable[bytes]) -> None:
        """Have these caches, and resolve what they are to know from the beginning."""
        for one in settings:
            self._cache(one)

    def resolve(self, send: Send, settings: bytes, key: str, name: str, port: int, waits: bool) -> None:
        """A worker uses a host; if it `waits`, it will hear of it, at once by `send` or with all the others."""
        cache_name, cache = self._cache(settings)
        load, host = cache.load(HostName(key, name, port))
        if not waits:
            return
        if load is Load.OVERFLOW:
            send(("dns_overflow", cache_name, key))
        elif load is Load.IN_CACHE and host is not None:
            send(("resolved", cache_name, [_told(host)]))

    def messages(self) -> Iterator[Message]:
        """What a new worker must hear."""
        for name, cache in self._caches.items():
            told = [_told(host) for host in cache.resolved()]
            if told:
                yield ("resolved", name, told)

    def addresses(self, name: str) -> list[tuple[str, Address]]:
        """The hosts of the cache of that name that have an address, with their keys."""
        cache = self._caches.get(name)
        if cache is None:
            return []
        return [(host.host.key, host.address) for host in cache.resolved() if host.address is not None]

    def close(self) -> None:
        """End every query."""
        for cache in self._caches.values():
            cache.close()

    def _cache(self, settings: bytes) -> tuple[str, CacheResolution]:
        # Most proxies have no cache.
        from envoy.extensions.common.dynamic_forward_proxy.v3 import dns_cache_pb2

        message = dns_cache_pb2.DnsCacheConfig.FromString(settings)
        name = message.name
        cache = self._caches.get(name)
        if cache is None:
            config = compile_dns_cache(message, f"DNS cache {name}", CompileContext())
            stats = DnsCacheStats(f"dns_cache.{name}.")
            self._stats.add(f"dns_cache {name}", stats)
            self.settings[name] = settings
            cache = self._caches[name] = CacheResolution(
                self._loop,
                self._resolves(),
                config,
                stats,
                self._draw,
                lambda host: self._broadcast(("resolved", name, [_told(host)])),
                lambda host: self._broadcast(("forgotten", name, host.host.key)),
            )
        return name, cache

    def _resolves(self) -> Resolves:
        if self._resolver is None:
            from proxy.upstream.discovery.resolver import Resolver  # dnspython costs 8 MB

            self._resolver = Resolver()
        return self._resolver


def _told(host: CachedHost) -> tuple[str, str, int, str, str]:
    address = host.address
    return (*host.host, address.ip if address is not None else "", host.reason)
