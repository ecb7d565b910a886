"""Ties the tables to the xDS client, and keeps the order of start-up: clusters, then listeners."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from proxy.base.stats import Histogram, StatGroup, StatRegistry
from proxy.config.resources import ResourceWant
from proxy.discovery.clusters import ClusterTable
from proxy.discovery.listeners import ListenerTable
from proxy.discovery.stats import stream_counters, stream_gauges, stream_texts
from proxy.discovery.wanted import STATIC, WantedResources
from proxy.discovery.warming import Warming
from xds_client.api import (
    Client,
    Rejection,
    StreamCounters,
    Subscription,
    SubscriptionCounters,
    Update,
)
from xds_client.client import ADS
from xds_client.resource_types import ResourceType

logger = logging.getLogger("outrider.config")


class SubscriptionStats(StatGroup):
    """`cluster_manager.cds.*` and the like: what the client counts of one subscription, under Envoy's names."""

    COUNTERS: ClassVar = (
        "init_fetch_timeout",
        "update_attempt",
        "update_failure",
        "update_rejected",
        "update_success",
    )
    GAUGES: ClassVar = ("update_time", "version")
    HISTOGRAMS: ClassVar = {"update_duration": "ms"}

    update_duration: Histogram

    def __init__(self, prefix: str, counted: SubscriptionCounters) -> None:
        super().__init__(prefix)
        self._counted = counted

    def counters(self) -> dict[str, int]:
        """See `StatGroup`."""
        found = {self.prefix + name: getattr(self._counted, name) for name in self.COUNTERS}
        return {**found, **stream_counters(self.prefix, self._counted.stream)}

    def gauges(self) -> dict[str, int]:
        """See `StatGroup`."""
        found = {self.prefix + name: getattr(self._counted, name) for name in self.GAUGES}
        return {**found, **stream_gauges(self.prefix, self._counted.stream)}

    def histograms(self) -> dict[str, Histogram]:
        """See `StatGroup`."""
        durations = self._counted.update_durations
        for milliseconds in durations:
            self.update_duration.record(int(milliseconds))
        durations.clear()
        return super().histograms()

    def texts(self) -> dict[str, str]:
        """See `StatGroup`."""
        texts = stream_texts(self.prefix, self._counted.stream)
        return {f"{self.prefix}version_text": self._counted.version_text, **texts}


class ClusterListStats(SubscriptionStats):
    """`cluster_manager.cds.*`, which also tells of updates that brought something."""

    def __init__(self, prefix: str, consumer: ListConsumer) -> None:
        super().__init__(prefix, consumer.subscription.counters)
        self._consumer = consumer

    def counters(self) -> dict[str, int]:
        """See `StatGroup`."""
        return {**super().counters(), f"{self.prefix}config_reload": self._consumer.reloads}

    def gauges(self) -> dict[str, int]:
        """See `StatGroup`."""
        reloaded = int(self._consumer.reloaded * 1000)
        return {**super().gauges(), f"{self.prefix}config_reload_time_ms": reloaded}


class ControlPlaneStats(StatGroup):
    """`control_plane.*`: what the client counts of the aggregated stream. What is counted of a stream of one type
    stands with the subscriptions that it is for.
    """

    COUNTERS: ClassVar = ("rate_limit_enforced",)
    GAUGES: ClassVar = ("connected_state", "pending_requests")

    def __init__(self, client: Client) -> None:
        super().__init__("control_plane.")
        self._client = client

    def counters(self) -> dict[str, int]:
        """See `StatGroup`."""
        return stream_counters("", self._stream)

    def gauges(self) -> dict[str, int]:
        """See `StatGroup`."""
        return stream_gauges("", self._stream)

    def texts(self) -> dict[str, str]:
        """See `StatGroup`."""
        return stream_texts("", self._stream)

    @property
    def _stream(self) -> StreamCounters | None:
        return self._client.stream_counters().get(ADS)


class Record(Protocol):
    """A resource of a table."""

    @property
    def warming(self) -> Warming | None:
        """What it waits for."""


class Listed(Protocol):
    """A table of what a control plane lists by itself."""

    @property
    def warming(self) -> Mapping[str, Record]:
        """What is not in use yet."""

    @property
    def changes(self) -> tuple[int, int]:
        """How many resources were added or changed so far, and how many were removed."""

    async def apply(self, update: Update) -> Sequence[Rejection]:
        """See `Consumer`."""


class ListConsumer:
    """The `Consumer` of a table; `first` is set when a first answer was applied or refused, or none came in time.

    `version` is that of the last update that changed something, `reloads` how many brought something, and
    `reloaded` the Unix second when the last of these came. While the table takes an update, nothing of the
    type `pauses` is asked for: what it adds is asked for at once.
    """

    subscription: Subscription

    def __init__(self, table: Listed, client: Client, pauses: ResourceType) -> None:
        self._table = table
        self._client = client
        self._pauses = pauses
        self.first = asyncio.Event()
        self.version = ""
        self.reloads = 0
        self.reloaded = 0.0

    async def apply(self, update: Update) -> Sequence[Rejection]:
        """See `Consumer`."""
        before = self._table.changes
        try:
            with self._client.pause(self._pauses):
                rejections = await self._table.apply(update)
            after = self._table.changes
            if after != before:
                self.version = update.version
            # One that is refused in part brings something, too, but Envoy does not get as far as to count it.
            if after[0] != before[0] and not rejections:
                self.reloads += 1
                self.reloaded = time.time()
            return rejections
        finally:
            self.first.set()

    def missing(self, name: str, *, said: bool = False) -> None:  # noqa: ARG002 - there is one name
        """See `Consumer`. A collection that the server says to be empty is an answer."""
        if said:
            self.first.set()

    def failed(self, reason: str) -> None:
        """See `Consumer`."""
        logger.warning("%s; starting without", reason)
        self.first.set()


class Discovery:
    """See module. `dynamic` is the `dynamic_resources` of the bootstrap; `names` has what stands for all listeners
    and all clusters there.
    """

    def __init__(
        self,
        dynamic: Any,
        names: Mapping[ResourceType, str],
        client: Client,
        clusters: ClusterTable,
        listeners: ListenerTable,
        wanted: WantedResources,
        stats: StatRegistry,
    ) -> None:
        self._dynamic = dynamic
        self._names = names
        self.client = client
        self._clusters = clusters
        self._listeners = listeners
        self._wanted = wanted
        self._stats = stats
        self._consumers: dict[ResourceType, ListConsumer] = {}
        #: Lists that start-up waits for, with the Unix second since when.
        self.awaited: dict[ResourceType, float] = {}
        stats.add("control_plane", ControlPlaneStats(client))

    @property
    def versions(self) -> dict[ResourceType, str]:
        """The version of each list: of the last update that changed something."""
        return {kind: consumer.version for kind, consumer in self._consumers.items()}

    async def start_runtime(self, wants: Iterable[ResourceWant]) -> None:
        """Subscribe to layers of the runtime; returns when they are here."""
        await self._hold(wants)

    async def start_clusters(self, wants: Iterable[ResourceWant]) -> None:
        """Subscribe to clusters, and to the `wants` of those of the bootstrap; returns when they are warm."""
        prefix = "cluster_manager.cds."
        kind, needs = ResourceType.CLUSTER, ResourceType.ENDPOINT
        await self._start(kind, "cds_config", prefix, self._clusters, needs, wants)

    async def start_listeners(self, wants: Iterable[ResourceWant]) -> None:
        """The same for listeners."""
        prefix = "listener_manager.lds."
        kind, needs = ResourceType.LISTENER, ResourceType.ROUTE
        await self._start(kind, "lds_config", prefix, self._listeners, needs, wants)

    async def close(self) -> None:
        """End every stream."""
        await self.client.close()

    async def _start(
        self,
        kind: ResourceType,
        field: str,
        prefix: str,
        table: Listed,
        needs: ResourceType,
        wants: Iterable[ResourceWant],
    ) -> None:
        static = asyncio.create_task(self._hold(wants))
        if self._dynamic.HasField(field):
            consumer = self._consumers[kind] = ListConsumer(table, self.client, needs)
            self.awaited[kind] = time.time()
            source = getattr(self._dynamic, field)
            consumer.subscription = self.client.subscribe(kind, source, (self._names[kind],), consumer)
            if kind is ResourceType.CLUSTER:
                self._stats.add(prefix, ClusterListStats(prefix, consumer))
            else:
                self._stats.add(prefix, SubscriptionStats(prefix, consumer.subscription.counters))
            await consumer.first.wait()
            del self.awaited[kind]
        await static
        # For what is warming now, but not for what comes later.
        for record in list(table.warming.values()):
            if record.warming is not None:
                await record.warming.wait()

    async def _hold(self, wants: Iterable[ResourceWant]) -> None:
        """Ask for what the bootstrap wants; returns when everything has come or was waited for in vain."""
        warming = Warming(time.time(), _nothing)
        self._wanted.hold(wants, STATIC, warming)
        warming.start()
        await warming.wait()


def _nothing() -> None:
    """For whoever only waits."""
