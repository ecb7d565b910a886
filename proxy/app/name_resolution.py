"""Resolution of DNS clusters in the controller: one answer for all workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from proxy.base.stats import StatRegistry
from proxy.upstream.health_flags import HostKey

if TYPE_CHECKING:
    from proxy.upstream.cluster_config import ClusterConfig
    from proxy.upstream.discovery.dns import DnsDiscovery

Resolved = list[tuple[int, str]]


class Waiting(Protocol):
    """Who wants to know that a first answer has come; see `proxy.discovery.warming.Warming`."""

    def settled(self, what: str) -> None:
        """It has come, or there will be none."""


class NameResolution:
    """Keeps the addresses of every DNS cluster up to date.

    `on_resolved(cluster, [(endpoint index, IP address), ...])` is called for every change.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_resolved: Callable[[str, Resolved], None],
        stats: StatRegistry,
        draw: Callable[[], int],
    ) -> None:
        self._loop = loop
        self._on_resolved = on_resolved
        self._stats = stats
        self._draw = draw
        self._discovery: DnsDiscovery | None = None
        #: What is known of the health of a cluster's hosts; for the numbers of members.
        self.flags_of: Callable[[str], Mapping[HostKey, int]] = lambda _name: {}
        #: Whether the active health checks of a cluster's host pass.
        self.is_well: Callable[[str, HostKey], bool] = lambda _name, _key: False

    async def start(self, clusters: Sequence[tuple[str, bytes]]) -> None:
        """Resolve the DNS clusters of the bootstrap; returns when those that start-up waits for were tried once."""
        if not clusters:
            return
        from envoy.config.cluster.v3 import cluster_pb2

        from proxy.config.context import CompileContext
        from proxy.upstream.cluster import compile_cluster

        ready = []
        for name, serialized in clusters:
            message = cluster_pb2.Cluster.FromString(serialized)
            config = compile_cluster(message, f"cluster {name}", CompileContext())
            ready.append(self._started().add(config))
        await asyncio.gather(*ready, return_exceptions=True)

    def add(self, config: ClusterConfig, waiting: Waiting, what: str) -> bool:
        """Resolve one more DNS cluster, in place of one of that name.

        Returns whether it is ready now; otherwise `waiting` will hear that `what` is settled.
        """
        ready = self._started().add(config)
        if ready.done():
            return True
        ready.add_done_callback(lambda _ready: waiting.settled(what))
        return False

    def remove(self, name: str) -> None:
        """Resolve a cluster no longer; unknown names are fine."""
        if self._discovery is not None:
            self._discovery.remove(name)

    def count_healthy(self, name: str) -> None:
        """The health of hosts of a cluster has changed; unknown names are fine."""
        if self._discovery is not None:
            self._discovery.count_healthy(name)

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

    def kept(self, name: str) -> set[HostKey]:
        """The hosts of a cluster that are resolved no longer and stay because their checks pass."""
        return set() if self._discovery is None else self._discovery.kept(name)

    def drop_failed(self, name: str) -> None:
        """Checks of hosts of a cluster have failed; unknown names are fine."""
        if self._discovery is not None:
            self._discovery.drop_failed(name)

    def _started(self) -> DnsDiscovery:
        if self._discovery is None:
            # dnspython costs 8 MB, and most sidecars have no DNS cluster.
            from proxy.upstream.discovery.dns import DnsDiscovery
            from proxy.upstream.discovery.resolver import Resolver

            self._discovery = DnsDiscovery(
                self._loop,
                Resolver(),
                self._draw,
                self._changed,
                self._stats,
                flags_of=self.flags_of,
                is_well=self.is_well,
            )
        return self._discovery

    def _changed(self, name: str, resolved: Sequence[tuple[int, str]]) -> None:
        self._on_resolved(name, list(resolved))
