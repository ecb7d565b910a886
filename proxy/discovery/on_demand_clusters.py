"""Clusters that requests ask for (ODCDS): by name, from a source that need not be that of the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from envoy.config.core.v3 import config_source_pb2

from proxy.base.stats import StatRegistry
from proxy.config.config_sources import ConfigSources
from proxy.discovery.accept import Broadcast
from proxy.discovery.clusters import ClusterTable
from proxy.discovery.session import SubscriptionStats
from xds_client.api import Rejection, Subscription, Update
from xds_client.resource_types import ResourceType

logger = logging.getLogger("outrider.config")

#: The key of what workers demand here; see `proxy.config.demands.Demands`.
KIND = ResourceType.CLUSTER
KEY = KIND.name


class OnDemandClusters:
    """All of them. `subscribe` begins to ask a source, `broadcast` tells workers what can be had now."""

    def __init__(
        self,
        table: ClusterTable,
        subscribe: Callable[[ResourceType, Any, Any], Subscription],
        broadcast: Broadcast,
        stats: StatRegistry,
        config_sources: ConfigSources,
    ) -> None:
        self.table = table
        self._config_sources = config_sources
        self._subscribe = subscribe
        self._broadcast = broadcast
        self._stats = stats
        self._consumers: dict[bytes, _Consumer] = {}
        self._awaited: set[str] = set()
        table.on_active = self._came

    def demand(self, name: str, source: bytes) -> None:
        """Ask for a cluster; workers hear when it is in use, or cannot be had."""
        if name in self.table.active:
            self.answer(name)
            return
        self._awaited.add(name)
        if name not in self.table.warming:
            self._consumer(self._config_sources.of_serialized(KIND, name, source)).demand(name)

    def answer(self, name: str) -> None:
        """Workers have the cluster, or it does not exist."""
        self._awaited.discard(name)
        self._broadcast(("demanded", KEY, name))

    def _came(self, names: Sequence[str]) -> None:
        for name in names:
            if name in self._awaited:
                self.answer(name)

    def _consumer(self, source: bytes) -> _Consumer:
        consumer = self._consumers.get(source)
        if consumer is None:
            consumer = self._consumers[source] = _Consumer(self)
            message = config_source_pb2.ConfigSource.FromString(source)
            consumer.subscription = self._subscribe(ResourceType.CLUSTER, message, consumer)
            stats = SubscriptionStats("cluster_manager.odcds.", consumer.subscription.counters)
            self._stats.add(f"odcds {len(self._consumers)}", stats)
        return consumer


class _Consumer:
    """The `Consumer` of one source."""

    subscription: Subscription

    def __init__(self, demands: OnDemandClusters) -> None:
        self._demands = demands
        self._asked: set[str] = set()

    def demand(self, name: str) -> None:
        """Ask for one; once more if it was asked for in vain, or has gone since."""
        if name in self._asked:
            self.subscription.remove([name])
        self._asked.add(name)
        self.subscription.add([name])

    async def apply(self, update: Update) -> Sequence[Rejection]:
        """See `Consumer`."""
        rejections = await self._demands.table.apply(update)
        for rejection in rejections:
            self._demands.answer(rejection.name)
        return rejections

    def missing(self, name: str, *, said: bool = False) -> None:  # noqa: ARG002
        """See `Consumer`."""
        logger.debug("odcds: there is no cluster %s", name)
        self._demands.answer(name)

    def failed(self, reason: str) -> None:
        """See `Consumer`."""
        logger.debug("odcds: %s", reason)
