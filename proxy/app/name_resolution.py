"""Resolution of DNS clusters in the controller: one answer for all workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from proxy.app.config_loading import LoadedConfig
from proxy.base.stats import StatRegistry
from proxy.config.context import CompileContext

if TYPE_CHECKING:
    from proxy.upstream.discovery.dns import DnsDiscovery

Resolved = list[tuple[int, str]]


class NameResolution:
    """Keeps the addresses of every DNS cluster of a config up to date.

    `on_resolved(cluster, [(endpoint index, IP address), ...])` is called for every change.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: LoadedConfig,
        on_resolved: Callable[[str, Resolved], None],
        stats: StatRegistry,
        draw: Callable[[], int],
    ) -> None:
        self._loop = loop
        self._config = config
        self._on_resolved = on_resolved
        self._stats = stats
        self._draw = draw
        self._discovery: DnsDiscovery | None = None

    async def start(self) -> None:
        """Begin; returns when every cluster that start-up waits for has been tried once."""
        if not self._config.dns_clusters:
            return
        # dnspython costs 8 MB, and most sidecars have no DNS cluster.
        from envoy.config.cluster.v3 import cluster_pb2

        from proxy.upstream.cluster import compile_cluster
        from proxy.upstream.discovery.dns import DnsDiscovery
        from proxy.upstream.discovery.resolver import Resolver

        self._discovery = DnsDiscovery(self._loop, Resolver(), self._draw, self._changed, self._stats)
        ready = []
        for index in self._config.dns_clusters:
            name, serialized = self._config.clusters[index]
            message = cluster_pb2.Cluster.FromString(serialized)
            ready.append(self._discovery.add(compile_cluster(message, f"cluster {name}", CompileContext())))
        await asyncio.gather(*ready, return_exceptions=True)

    async def close(self) -> None:
        """End every query."""
        if self._discovery is not None:
            await self._discovery.close()

    def known(self) -> Iterable[tuple[str, Resolved]]:
        """Cluster → (endpoint index, address) pairs, as far as resolved."""
        if self._discovery is not None:
            for name in self._discovery.names():
                yield name, list(self._discovery.resolved(name))

    def addresses(self, name: str) -> Resolved:
        """The present list of one cluster."""
        return list(self._discovery.resolved(name)) if self._discovery is not None else []

    def _changed(self, name: str, resolved: Sequence[tuple[int, str]]) -> None:
        self._on_resolved(name, list(resolved))
