"""Tells a control plane of the load (LRS), as `cluster_manager.load_stats_config` asks for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from envoy.config.cluster.v3 import cluster_pb2

from proxy.app.worker_table import WorkerHandle, WorkerTable
from proxy.base.stats import StatGroup
from proxy.discovery.clusters import ClusterRecord, ClusterTable
from proxy.discovery.load_report import LoadReport
from proxy.discovery.turns import Turns
from proxy.upstream.host import Locality
from proxy.upstream.load_counts import ClusterLoad
from xds_client.api import Surroundings
from xds_client.backoff import Backoff
from xds_client.client import grpc_connector, retry_intervals
from xds_client.lrs import METHOD, LoadReporter, LoadReporterCounters


class LoadReporterStats(StatGroup):
    """Envoy's `load_reporter.*`."""

    COUNTERS: ClassVar = ("errors", "requests", "responses", "retries")

    def __init__(self, counted: LoadReporterCounters) -> None:
        super().__init__("load_reporter.")
        self._counted = counted

    def counters(self) -> dict[str, int]:
        """See `StatGroup`."""
        return {self.prefix + name: getattr(self._counted, name) for name in self.COUNTERS}


class LoadReporting:
    """See module. `config` is the `core.v3.ApiConfigSource`; `LoadReporter` asks for the reports."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: Any,
        surroundings: Surroundings,
        workers: WorkerTable,
        clusters: ClusterTable,
        clock: Callable[[], float],
    ) -> None:
        self._workers = workers
        self._clusters = clusters
        self._clock = clock
        node = surroundings.node
        own = None
        if node.HasField("locality"):
            own = Locality(node.locality.region, node.locality.zone, node.locality.sub_zone)
        self._report = LoadReport(own)
        self._wanted: list[str] | None = []
        #: `service_name` by cluster, with the number of the record that it is from.
        self._service_names: dict[str, tuple[int, str]] = {}
        services = config.grpc_services
        self._reporter = LoadReporter(
            loop,
            self,
            grpc_connector(services, METHOD, surroundings),
            node,
            Backoff(surroundings.draw, *retry_intervals(services)),
        )
        self.stats = LoadReporterStats(self._reporter.counters)

    def start(self) -> None:
        """Connect."""
        self._reporter.start()

    async def close(self) -> None:
        """End the stream."""
        await self._reporter.close()

    def configure(self, handle: WorkerHandle) -> None:
        """Tell a new worker what to count."""
        if self._wanted != []:
            handle.send(("count_load", self._wanted))

    def take(self, worker: int, loads: Mapping[str, ClusterLoad]) -> None:
        """A worker tells what it has counted."""
        self._report.add(worker, loads)

    def lost(self, worker: int) -> None:
        """A worker has ended."""
        self._report.lost(worker)

    async def report(self) -> Any:
        """See `LoadReports`."""
        if self._wanted != []:
            # Each tells before it answers.
            await self._workers.ask("load")
        names = await self._names()
        now = self._clock()
        request = self._report.make(names, now)
        self._report.begin(self._clusters.active, now)
        return request

    def answered(self, response: Any) -> None:
        """See `LoadReports`."""
        self._report.answered(response, self._clusters.active, self._clock())
        wanted = self._report.wanted
        if wanted != self._wanted:
            self._wanted = wanted
            self._workers.broadcast(("count_load", wanted))

    async def _names(self) -> dict[str, str]:
        """The `service_name` of each cluster that is to be reported on, and is there."""
        turns = Turns()
        known, self._service_names = self._service_names, {}
        for name in list(self._report.tracked):
            record = self._clusters.active.get(name)
            if record is None:
                continue
            entry = known.get(name)
            if entry is None or entry[0] != record.number:
                entry = (record.number, _service_name(record))
            self._service_names[name] = entry
            if turns.over:
                await turns.next()
        return {name: entry[1] for name, entry in self._service_names.items()}


def _service_name(record: ClusterRecord) -> str:
    name: str = cluster_pb2.Cluster.FromString(record.serialized).eds_cluster_config.service_name
    return name
