"""The clusters of the process: those of the bootstrap, and those that a control plane lists (CDS)."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from envoy.config.cluster.v3 import cluster_pb2
from msgspec import Struct, field

from proxy.admin.server_stats import ClusterManagerStats
from proxy.app.health_checks import HealthChecks
from proxy.app.ipc import SLICE_BYTES
from proxy.app.name_resolution import NameResolution
from proxy.base.errors import ConfigError
from proxy.config.context import CompileContext
from proxy.config.resources import ResourceWant
from proxy.discovery.accept import Broadcast, Reading, UpdateError, reason_of, refuse, tell
from proxy.discovery.changes import Changes
from proxy.discovery.places import Places
from proxy.discovery.shapes import ClusterShape, cluster_shape
from proxy.discovery.turns import Turns
from proxy.discovery.wanted import WantedResources
from proxy.discovery.warming import Warming
from proxy.upstream.cluster import compile_cluster
from proxy.upstream.cluster_config import ClusterConfig
from proxy.upstream.renewal import keeps_connections
from xds_client.api import RefusedWhole, Rejection, Resource, Update

logger = logging.getLogger("outrider.config")

#: What a DNS cluster waits for beside resources: its first addresses.
_NAMES: Final = "DNS"
#: What a cluster with active health checks waits for last.
_CHECKS: Final = "health checks"


class ClusterRecord(Struct):
    """One cluster. `place` is that in shared memory; `updated` is in Unix seconds."""

    name: str
    serialized: bytes
    place: int
    updated: float
    dynamic: bool = False
    version: str = ""
    wants: tuple[ResourceWant, ...] = ()
    #: Whether its hosts are resolved from names.
    resolves: bool = False
    warming: Warming | None = None
    #: Whether the version before it has the same place.
    keeps_place: bool = False
    #: Whether its hosts are checked actively.
    checked: bool = False
    #: Tells it from others of its name.
    number: int = field(default_factory=itertools.count().__next__)


class ClusterChanges(Changes[tuple[ClusterRecord, ClusterConfig | None]]):
    """Records with the config of those whose hosts have names."""

    def __init__(self, places: Places) -> None:
        super().__init__("cluster", places)

    def discard(self) -> None:
        """See `Changes`."""
        for record, _ in self.records:
            if not record.keeps_place:
                self.places.give_back(record.place)


class ClusterTable:
    """See module. `context` makes what a check of one cluster uses; `clock` gives Unix seconds."""

    def __init__(
        self,
        places: Places,
        wanted: WantedResources,
        names: NameResolution,
        stats: ClusterManagerStats,
        broadcast: Broadcast,
        context: Callable[[], CompileContext],
        clock: Callable[[], float],
    ) -> None:
        self._places = places
        self._wanted = wanted
        self._names = names
        self._stats = stats
        self._broadcast = broadcast
        self._context = context
        self._clock = clock
        self.active: dict[str, ClusterRecord] = {}
        self.warming: dict[str, ClusterRecord] = {}
        self.errors: dict[str, UpdateError] = {}
        self._activated: list[ClusterRecord] = []
        self._brought = 0
        #: Who checks hosts; clusters wait for the first round.
        self.checks: HealthChecks | None = None
        #: Hears which clusters workers have from now on.
        self.on_active: Callable[[Sequence[str]], None] | None = None

    def __contains__(self, name: object) -> bool:
        return name in self.active or name in self.warming

    def __iter__(self) -> Iterator[ClusterRecord]:
        """Those that workers know."""
        return iter(self.active.values())

    @property
    def changes(self) -> tuple[int, int]:
        """How many were added or changed so far, and how many were removed."""
        return self._brought, self._stats.cluster_removed

    def holds(self, holder: str) -> bool:
        """Whether a holder of resources is a cluster that workers know."""
        kind, _, rest = holder.partition("/")
        number, _, name = rest.partition("/")
        record = self.active.get(name) if kind == "cluster" else None
        return record is not None and str(record.number) == number

    def serialized(self, name: str) -> bytes | None:
        """The cluster of that name as workers know it; None if they know none."""
        record = self.active.get(name)
        return None if record is None else record.serialized

    def add_static(self, clusters: Iterable[tuple[str, bytes]]) -> None:
        """Take those of the bootstrap, which were checked with it and go to workers as they are."""
        now = self._clock()
        for name, serialized in clusters:
            place = self._places.take()
            assert place is not None  # there are places for all static clusters
            self.active[name] = ClusterRecord(name, serialized, place, now)
            self._stats.cluster_added += 1
        self._count()

    def messages(self) -> Iterator[tuple[str, list[tuple[str, bytes, int]]]]:
        """What makes a worker know every cluster, in slices."""
        yield from _sliced(self.active.values())

    def discovered(self) -> Iterator[str]:
        """The names of those that a control plane has brought."""
        for table in (self.active, self.warming):
            yield from (name for name, record in table.items() if record.dynamic)

    def prepare(
        self, clusters: Iterable[tuple[str, bytes]], context: Callable[[], CompileContext]
    ) -> ClusterChanges:
        """What makes these the clusters of the bootstrap; raises `ConfigError`, and nothing has changed."""
        changes = ClusterChanges(self._places)
        names = set()
        try:
            for name, serialized in clusters:
                names.add(name)
                before = self.warming.get(name) or self.active.get(name)
                changes.refuse_discovered(name, before)
                if before is None or before.serialized != serialized:
                    changes.records.append(self._prepared(name, serialized, context()))
        except ConfigError:
            changes.discard()
            raise
        static = {name: one for one in (self.warming, self.active) for name in one if not one[name].dynamic}
        changes.compare((record.name for record, _ in changes.records), static, names)
        return changes

    def take(self, changes: ClusterChanges) -> list[Warming]:
        """Use what was prepared as soon as it is warm; what is waited for."""
        for record, resolved in changes.records:
            if record.name in changes.added:
                self._stats.cluster_added += 1
            else:
                self._stats.cluster_modified += 1
            self._warm(record, resolved)
        return [record.warming for record, _ in changes.records if record.warming is not None]

    def drop(self, changes: ClusterChanges) -> None:
        """Forget those that are gone."""
        for name in changes.removed:
            self._forget(name)
        if changes.removed:
            self._broadcast(("remove_clusters", changes.removed))
        self._count()

    def _prepared(
        self, name: str, serialized: bytes, context: CompileContext
    ) -> tuple[ClusterRecord, ClusterConfig | None]:
        config = compile_cluster(cluster_pb2.Cluster.FromString(serialized), f"cluster {name}", context)
        refuse(context.problems)
        resolved = config if config.dns is not None else None
        wants = tuple(context.resources.wants.values())
        place = self._place_for(name, serialized)
        record = ClusterRecord(
            name, serialized, place, self._clock(), wants=wants, resolves=resolved is not None
        )
        active = self.active.get(name)
        record.keeps_place = active is not None and active.place == place
        record.checked = bool(config.health_checks)
        return record, resolved

    def on_resolved(self, name: str, resolved: list[tuple[int, str]]) -> None:
        """Names of a DNS cluster were resolved. Those of one that is warming reach workers with it."""
        if name not in self.warming:
            self._broadcast(("hosts", name, resolved))

    async def apply(self, update: Update) -> Sequence[Rejection]:
        """See `xds_client.api.Consumer`."""
        reading = Reading(cluster_pb2.Cluster, cluster_shape)
        await reading.look((*update.added, *update.further))
        if reading.rejections:
            for one in reading.rejections:
                logger.warning("all clusters of a response are refused for cluster %s", one)
            return RefusedWhole.of(reading.rejections, update)
        # As in Envoy, what was wrong with an update is shown until the next.
        self.errors.clear()
        rejections = []
        turns = Turns()
        plans: dict[bytes, ResourceWant] = {}
        seen: set[str] = set()
        for number, resource in enumerate((*update.added, *update.further)):
            further = number >= len(update.added)
            try:
                if further:
                    raise ConfigError(f"duplicate cluster {resource.name} found")
                self._offer(reading, number, resource, plans, seen)
            except ConfigError as error:
                reason = reason_of(error)
                error_of = UpdateError(resource.version, reason, self._clock(), resource.body)
                self.errors[resource.name] = error_of
                logger.warning("cluster %s is refused: %s", resource.name, reason)
                rejections.append(Rejection(resource.name, reason, further=further))
            if turns.over:
                await turns.next()
        self.flush()
        removed = [name for name in update.removed if self._remove(name)]
        self._wanted.sweep()
        if removed:
            self._broadcast(("remove_clusters", removed))
            self._count()
        logger.info(
            "cds: %d cluster(s) came, %d went, %d refused; %d in all",
            len(update.added) - len(rejections),
            len(removed),
            len(rejections),
            len(self.active) + len(self.warming),
        )
        return rejections

    def missing(self, name: str, *, said: bool = False) -> None:
        """See `xds_client.api.Consumer`."""

    def failed(self, reason: str) -> None:
        """See `xds_client.api.Consumer`."""
        logger.debug("cds: %s", reason)

    def _offer(
        self,
        reading: Reading,
        number: int,
        resource: Resource,
        plans: dict[bytes, ResourceWant],
        seen: set[str],
    ) -> None:
        """Take one of the resources; `plans` has what the clusters of a shape that was compiled refer to.

        `seen` are the names inside those that came before it.
        """
        shape: ClusterShape | None = reading.shapes.get(number)
        like = None if shape is None else plans.get(shape.key)
        message: Any = reading.message(number, resource) if like is None else None
        name: str = shape.name if shape is not None else message.name
        if name in seen:
            raise ConfigError(f"duplicate cluster {name} found")
        seen.add(name)
        version = resource.version
        before = self.warming.get(name) or self.active.get(name)
        if before is not None and not before.dynamic:
            logger.debug("cluster %s of the bootstrap is not changed by CDS", name)
            return
        if before is not None and before.serialized == resource.body:
            before.version = version
            return
        # As in Envoy, one that is refused now has been counted.
        if before is not None:
            self._stats.cluster_modified += 1
        else:
            self._stats.cluster_added += 1
        config: ClusterConfig | None = None
        if shape is not None and like is not None:
            wants: tuple[ResourceWant, ...] = (shape.want(like),)
        else:
            context = self._context()
            config = compile_cluster(message, "", context)
            tell(f"Cluster {name}", context.warnings)
            refuse(context.problems)
            wants = tuple(context.resources.wants.values())
            if shape is not None and len(wants) == 1:
                plans[shape.key] = wants[0]
        place = self._place_for(name, resource.body)
        resolved = config if config is not None and config.dns is not None else None
        record = ClusterRecord(
            name, resource.body, place, self._clock(), True, version, wants, resolved is not None
        )
        record.checked = config is not None and bool(config.health_checks)
        self._brought += 1
        self._warm(record, resolved)

    def _place_for(self, name: str, serialized: bytes) -> int:
        active = self.active.get(name)
        if active is not None and keeps_connections(active.serialized, serialized):
            # Workers go on with what they have, which they count at its place.
            return active.place
        place = self._places.take()
        if place is None:
            raise ConfigError(
                f"there are {self._places.capacity} clusters already, which is the most there can be"
            )
        return place

    def _warm(self, record: ClusterRecord, resolved: ClusterConfig | None) -> None:
        """Use it once what it needs is here; `resolved` is the config of one whose hosts have names."""
        name = record.name
        replaced = self.warming.pop(name, None)
        if replaced is not None:
            self._discard(replaced)
        self.warming[name] = record
        record.warming = Warming(self._clock(), lambda: self._activate(record))
        if record.checked:
            record.warming.before_end(lambda: self._check(record))
        self._wanted.hold(record.wants, _holder(record), record.warming)
        if resolved is not None and not self._names.add(resolved, record.warming, _NAMES):
            record.warming.add(_NAMES)
        record.warming.start()
        self._count()

    def _check(self, record: ClusterRecord) -> None:
        """Everything that it refers to is here; its hosts are checked, unless those checks are running already."""
        before = self.active.get(record.name)
        if self.checks is None or record.warming is None:
            return
        if before is None or before.place != record.place:
            record.warming.add(_CHECKS)
            self.checks.begin(record.serialized, record.warming, _CHECKS)

    def _activate(self, record: ClusterRecord) -> None:
        """Workers use it from now on."""
        name = record.name
        record.warming = None
        del self.warming[name]
        before = self.active.get(name)
        self.active[name] = record
        if self.checks is not None and (before is None or before.place != record.place):
            self.checks.activate(name)
        if before is not None:
            self._discard(before)
        if not record.resolves:
            # The former version may have had names.
            self._names.remove(name)
        self._activated.append(record)
        if len(self._activated) == 1:
            asyncio.get_running_loop().call_soon(self.flush)
        self._count()

    def flush(self) -> None:
        """Have workers know every cluster that has become active."""
        activated, self._activated = self._activated, []
        present = [one for one in activated if self.active.get(one.name) is one]
        if self.checks is not None:
            self.checks.flush()
        self._wanted.flush()
        for message in _sliced(present):
            self._broadcast(message)
        self._wanted.sweep()
        for record in present:
            if record.resolves:
                self._broadcast(("hosts", record.name, self._names.addresses(record.name)))
        if self.on_active is not None and present:
            self.on_active([record.name for record in present])

    def _remove(self, name: str) -> bool:
        record = self.active.get(name) or self.warming.get(name)
        if record is None or not record.dynamic:
            return False
        self._forget(name)
        return True

    def _forget(self, name: str) -> None:
        self._stats.cluster_removed += 1
        for table in (self.warming, self.active):
            record = table.pop(name, None)
            if record is not None:
                self._discard(record)
        self._names.remove(name)
        if self.checks is not None:
            self.checks.remove(name)

    def _discard(self, record: ClusterRecord) -> None:
        if record.warming is not None:
            record.warming.cancel()
        self._wanted.release(record.wants, _holder(record))
        name = record.name
        others = (self.active.get(name), self.warming.get(name))
        if all(other is None or other is record or other.place != record.place for other in others):
            self._places.give_back(record.place)

    def _count(self) -> None:
        self._stats.active_clusters = len(self.active)
        self._stats.warming_clusters = len(self.warming)


def _holder(record: ClusterRecord) -> str:
    return f"cluster/{record.number}/{record.name}"


def _sliced(records: Iterable[ClusterRecord]) -> Iterator[tuple[str, list[tuple[str, bytes, int]]]]:
    group: list[tuple[str, bytes, int]] = []
    size = 0
    for record in records:
        group.append((record.name, record.serialized, record.place))
        size += len(record.serialized)
        if size >= SLICE_BYTES:
            yield "clusters", group
            group, size = [], 0
    if group:
        yield "clusters", group
