"""What the controller has to do with control planes: resources from them, reports of load and health to them.

Their client costs time to import: a proxy that talks to none does without.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from envoy.config.bootstrap.v3 import bootstrap_pb2

from proxy.app.command_line import Options
from proxy.app.discovery_client import open_client
from proxy.app.process_stats import ProcessStats
from proxy.app.worker_table import WorkerHandle, WorkerTable
from proxy.config.config_sources import ConfigSources
from proxy.discovery.clusters import ClusterTable
from proxy.discovery.listeners import ListenerTable
from proxy.discovery.session import Discovery
from proxy.discovery.wanted import WantedResources
from xds_client.resource_types import ResourceType

if TYPE_CHECKING:
    from proxy.app.health_checks import HealthChecks
    from proxy.app.health_discovery import HealthDiscovery
    from proxy.app.load_reporting import LoadReporting
    from proxy.discovery.on_demand_clusters import OnDemandClusters
    from proxy.discovery.surviving_client import SurvivingClient
    from xds_client.api import Consumer, Subscription, Surroundings


class ControlPlanes:
    """See module. The tables are set once they are made, as they subscribe here.

    `clusters` are those of the bootstrap, which lead to control planes; `secrets` gives the secrets that are here
    by now; `accepting` tells whether start-up is complete.
    """

    wanted: WantedResources
    clusters: ClusterTable
    listeners: ListenerTable
    config_sources: ConfigSources

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: Options,
        bootstrap: bootstrap_pb2.Bootstrap,
        clusters: Iterable[tuple[str, bytes]],
        secrets: Callable[[], Mapping[str, bytes]],
        workers: WorkerTable,
        stats: ProcessStats,
        accepting: Callable[[], bool],
    ) -> None:
        self._loop = loop
        self._options = options
        self._bootstrap = bootstrap
        self._servers = dict(clusters)
        self._secrets = secrets
        self._workers = workers
        self._stats = stats
        self._accepting = accepting
        self._cluster_demands: OnDemandClusters | None = None
        self._load: LoadReporting | None = None
        self._health: HealthDiscovery | None = None
        #: None while nobody has asked for anything.
        self.discovery: Discovery | None = None
        #: None where nothing is kept on disk.
        self.surviving: SurvivingClient | None = None

    def start(self) -> Discovery:
        """Be ready to ask."""
        from proxy.discovery.collections import list_names

        client, self.surviving = open_client(
            self._loop,
            self._bootstrap,
            self._options,
            self._servers,
            self._secrets,
            self._accepting,
            self._count_unknown_field,
        )
        self.discovery = Discovery(
            self._bootstrap.dynamic_resources,
            list_names(self._bootstrap),
            client,
            self.clusters,
            self.listeners,
            self.wanted,
            self._stats.registry,
        )
        return self.discovery

    def surroundings(self) -> Surroundings:
        """Where servers among the clusters of the bootstrap are found."""
        from proxy.discovery.client import surroundings

        return surroundings(self._bootstrap, self._servers, self._secrets)

    def use(self, clusters: Iterable[tuple[str, bytes]]) -> None:
        """A reload has changed those of the bootstrap."""
        self._servers.clear()
        self._servers.update(clusters)

    def subscribe(self, kind: ResourceType, source: Any, consumer: Consumer) -> Subscription:
        """See `WantedResources`."""
        # A request of a proxy whose bootstrap names no control plane may ask for something.
        discovery = self.discovery or self.start()
        return discovery.client.subscribe(kind, source, (), consumer)

    def demand(self, key: str, name: str, source: bytes) -> None:
        """A request waits for a resource; see `proxy.config.demands.Demands`."""
        if not source:
            self.wanted.demand(key, name)
            return
        if self._cluster_demands is None:
            from proxy.discovery.on_demand_clusters import OnDemandClusters  # few configs ask for clusters

            self._cluster_demands = OnDemandClusters(
                self.clusters,
                self.subscribe,
                self._workers.broadcast,
                self._stats.registry,
                self.config_sources,
            )
        self._cluster_demands.demand(name, source)

    def start_load_reports(self) -> None:
        """If the bootstrap asks for them."""
        if not self._bootstrap.cluster_manager.HasField("load_stats_config"):
            return
        from proxy.app.load_reporting import LoadReporting

        around = self.surroundings()
        config = self._bootstrap.cluster_manager.load_stats_config
        self._load = LoadReporting(self._loop, config, around, self._workers, self.clusters, self._loop.time)
        self._stats.registry.add("load_reporter", self._load.stats)
        self._load.start()

    def start_health_discovery(self, checks: HealthChecks) -> None:
        """If the bootstrap asks for it."""
        if not self._bootstrap.HasField("hds_config"):
            return
        from proxy.app.health_discovery import HealthDiscovery

        config, around = self._bootstrap.hds_config, self.surroundings()
        self._health = HealthDiscovery(self._loop, config, around, checks, self._stats.registry)
        self._health.start()

    def take_load(self, handle: WorkerHandle, told: Any) -> None:
        """See `LoadReporting.take`."""
        if self._load is not None:
            self._load.take(handle.index, told)

    def configure(self, handle: WorkerHandle) -> None:
        """A worker is new: tell it what to count of the load."""
        if self._load is not None:
            self._load.configure(handle)

    def worker_lost(self, index: int) -> None:
        """What it had told of the load outlives it."""
        if self._load is not None:
            self._load.lost(index)

    async def close(self) -> None:
        """Ask and report no more."""
        if self._load is not None:
            await self._load.close()
        if self._health is not None:
            await self._health.close()
        if self.discovery is not None:
            await self.discovery.close()

    def _count_unknown_field(self) -> None:
        self._stats.server.dynamic_unknown_fields += 1
