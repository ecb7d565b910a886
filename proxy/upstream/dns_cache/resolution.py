"""Resolves the hosts of one DNS cache in the controller, where the answers are for all workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Protocol

from proxy.upstream.cluster_config import DnsConfig
from proxy.upstream.discovery.schedule import Answer
from proxy.upstream.dns_cache.config import DnsCacheConfig
from proxy.upstream.dns_cache.hosts import CachedHost, CachedHosts, Load
from proxy.upstream.dns_cache.names import HostName
from proxy.upstream.dns_cache.stats import DnsCacheStats
from proxy.upstream.lb.api import Draw


class Resolves(Protocol):
    """See `proxy.upstream.discovery.resolver.Resolver`."""

    def resolve_now(self, name: str, config: DnsConfig) -> Answer | None:
        """The answer where no server need be asked."""

    async def resolve(self, name: str, config: DnsConfig) -> Answer:
        """Ask the servers."""


class CacheResolution:
    """One cache with its queries and its timer.

    `on_changed` is called with each host of which workers must hear: the first answer has come, or another
    address; `on_removed` with each that is forgotten. Neither is called from within `load`.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        resolver: Resolves,
        config: DnsCacheConfig,
        stats: DnsCacheStats,
        draw: Draw,
        on_changed: Callable[[CachedHost], None],
        on_removed: Callable[[CachedHost], None],
    ) -> None:
        self._loop = loop
        self._resolver = resolver
        self._config = config
        self._hosts = CachedHosts(config, stats, draw, loop.time())
        self._on_changed = on_changed
        self._on_removed = on_removed
        self._queries: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Handle | None = None
        self._timer_at = 0.0
        self._schedule()

    def load(self, host: HostName) -> tuple[Load, CachedHost | None]:
        """See `CachedHosts.load`; what is new is resolved."""
        result = self._hosts.load(host, self._loop.time())
        if result[0] is Load.LOADING:
            self._schedule()
        return result

    def resolved(self) -> Iterator[CachedHost]:
        """See `CachedHosts.known`."""
        return self._hosts.known()

    def close(self) -> None:
        """End every query."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for query in self._queries:
            query.cancel()

    def _schedule(self) -> None:
        when = self._hosts.wake_at()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if when is not None and when != float("inf"):
            self._timer_at = when
            self._timer = self._loop.call_at(when, self._on_timer)

    def _on_timer(self) -> None:
        # The clock of the loop may be a little behind the moment that it was asked for.
        now = max(self._loop.time(), self._timer_at)
        self._timer = None
        for known in self._hosts.settle_timeouts(now):
            self._on_changed(known)
        for known in self._hosts.forget_unused(now):
            self._on_removed(known)
        for known in self._hosts.due(now):
            answer = self._resolver.resolve_now(known.host.name, self._config.dns)
            if answer is None:
                query = self._loop.create_task(self._ask(known.host, known.query))
                self._queries.add(query)
                query.add_done_callback(self._queries.discard)
            else:
                self._take(known, known.query, answer)
        self._schedule()

    async def _ask(self, host: HostName, query: int) -> None:
        answer = await self._resolver.resolve(host.name, self._config.dns)
        known = self._hosts.get(host.key)
        if known is not None:
            self._take(known, query, answer)
            self._schedule()

    def _take(self, known: CachedHost, query: int, answer: Answer) -> None:
        if self._hosts.answered(known.host.key, query, answer, self._loop.time()):
            self._on_changed(known)
