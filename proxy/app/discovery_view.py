"""What the controller's tables and the xDS client know of discovered resources, put together for admin pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import xxhash
from envoy.config.core.v3 import config_source_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from proxy.admin.discovered import Discovered, DiscoveredType, Missing, Readiness, Refusal, Snapshot
from proxy.admin.state import ConfigResource
from proxy.base.errors import ConfigError
from proxy.discovery.accept import UpdateError
from proxy.discovery.clusters import ClusterRecord
from proxy.discovery.listeners import ListenerRecord
from proxy.discovery.wanted import Wanted
from xds_client.api import ClientStatus, ResourceStatus, StreamStatus
from xds_client.resource_types import ResourceType

if TYPE_CHECKING:
    from proxy.app.controller import Controller

_CDS, _LDS = ResourceType.CLUSTER, ResourceType.LISTENER

#: What a resource is called where operators read it.
_KINDS: Final = {
    ResourceType.CLUSTER: "cluster",
    ResourceType.ENDPOINT: "endpoints",
    ResourceType.EXTENSION_CONFIG: "extension config",
    ResourceType.LISTENER: "listener",
    ResourceType.ROUTE: "route table",
    ResourceType.RUNTIME: "runtime layer",
    ResourceType.SCOPED_ROUTE: "scoped routes",
    ResourceType.SECRET: "secret",
    ResourceType.VIRTUAL_HOST: "virtual hosts",
}

#: How Envoy names what a listener waits for.
_TARGETS: Final = {
    ResourceType.EXTENSION_CONFIG: "shared target FilterConfigSubscription init {}",
    ResourceType.ROUTE: "shared target RdsRouteConfigSubscription RDS init {}",
    ResourceType.SCOPED_ROUTE: "target ConfigSubscriptionCommonBase init target 'SRDS'",
    ResourceType.SECRET: "shared target SdsApi {}",
}

#: The kinds of `/config_dump` whose resources are wanted by name.
_WANTED: Final = {
    "routes": ResourceType.ROUTE,
    "secrets": ResourceType.SECRET,
    "endpoints": ResourceType.ENDPOINT,
    "extensions": ResourceType.EXTENSION_CONFIG,
    "scoped_routes": ResourceType.SCOPED_ROUTE,
}

#: The field path at the beginning of a reason, see `proxy.base.errors.Problem`.
_PATH: Final = re.compile(r"[a-z_]\w*(?:\.[a-z_]\w*|\[[^\]]*\])*(?=: )")

Key = tuple[ResourceType, str, str]
Records = Mapping[str, ClusterRecord] | Mapping[str, ListenerRecord]

#: Type, field of `dynamic_resources`, records in use, those that warm, what was refused.
Table = tuple[ResourceType, str, Records, Records, Mapping[str, UpdateError]]


class DiscoveryView:
    """Reads one controller; changes nothing."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._sources: dict[tuple[ResourceType, bytes], str] = {}

    # For `/config_dump`.

    def section_version(self, kind: ResourceType) -> str:
        """The version of the last update that changed something, of clusters or listeners."""
        discovery = self._controller.control_planes.discovery
        return "" if discovery is None else discovery.versions.get(kind, "")

    def clusters(self) -> Iterator[ConfigResource]:
        """Those of the bootstrap and those that were discovered, what warms, and what was refused."""
        table = self._controller.clusters
        for name in dict.fromkeys((*table.active, *table.warming, *table.errors)):
            active, warming = table.active.get(name), table.warming.get(name)
            yield ConfigResource(
                name,
                active.serialized if active is not None else b"",
                active.updated if active is not None else 0.0,
                active.dynamic if active is not None else True,
                active.version if active is not None else "",
                pending=None
                if warming is None
                else ConfigResource(name, warming.serialized, warming.updated, True, warming.version),
                refusal=_refusal(table.errors.get(name)),
            )

    def listeners(self) -> Iterator[ConfigResource]:
        """The same of listeners."""
        table = self._controller.listeners
        drains = {record.plan.name: record for record in table.draining.values() if record.dynamic}
        for name in dict.fromkeys((*table.active, *table.warming, *table.errors, *drains)):
            active, warming = table.active.get(name), table.warming.get(name)
            yield ConfigResource(
                name,
                active.plan.serialized if active is not None else b"",
                active.updated if active is not None else 0.0,
                active.dynamic if active is not None else True,
                active.version if active is not None else "",
                pending=None
                if warming is None
                else ConfigResource(name, warming.plan.serialized, warming.updated, True, warming.version),
                draining=None
                if (gone := drains.get(name)) is None
                else ConfigResource(name, gone.plan.serialized, gone.updated, True, gone.version),
                refusal=_refusal(table.errors.get(name)),
            )

    def wanted(self, kind: str) -> Iterator[ConfigResource]:
        """What is referred to by name."""
        resource_type = _WANTED[kind]
        for entry in self._controller.wanted.of_type(resource_type):
            want = entry.want
            pending = None
            if entry.value is None and resource_type is ResourceType.SECRET:
                stand_in = secret_pb2.Secret(name=want.name).SerializeToString()
                pending = ConfigResource(want.name, stand_in, entry.since, True, "uninitialized")
            yield ConfigResource(
                want.name,
                entry.value or b"",
                entry.updated,
                True,
                entry.version,
                pending=pending,
                refusal=_refusal(entry.error),
                source=want.source,
            )

    # For `/xds` and `/csds`.

    def streams(self) -> Sequence[StreamStatus]:
        """Every connection to a control plane."""
        discovery = self._controller.control_planes.discovery
        return () if discovery is None else discovery.client.streams()

    def types(self) -> Sequence[DiscoveredType]:
        """Every type that is asked for."""
        discovery = self._controller.control_planes.discovery
        if discovery is None:
            return ()
        return [
            DiscoveredType(one.type, one.source, one.version, one.rejected_version, one.rejected_reason)
            for one in discovery.client.types()
        ]

    def resources(self) -> Iterator[Discovered]:
        """Every resource: as the tables have it, else as the client has it."""
        discovery = self._controller.control_planes.discovery
        if discovery is None:
            return
        known = self._known()
        for one in discovery.client.status().types:
            for status in one.resources:
                if status.name.endswith("*"):
                    continue
                yield _joined(
                    one.type, one.source, status, known.pop((one.type, one.source, status.name), None)
                )
        yield from known.values()

    def _known(self) -> dict[Key, Discovered]:
        """What the tables have, in a fixed order."""
        found: dict[Key, Discovered] = {}
        controller = self._controller
        unconfirmed = self._unconfirmed()
        dynamic = controller.bootstrap.dynamic_resources
        for kind, field, active, warming, errors in self._tables():
            source = self._source(kind, getattr(dynamic, field).SerializeToString())
            for name in dict.fromkeys((*active, *warming, *errors)):
                serving, coming = active.get(name), warming.get(name)
                if serving is not None and not serving.dynamic:
                    continue
                newest = coming or serving
                found[kind, source, name] = Discovered(
                    kind,
                    name,
                    source,
                    ClientStatus.NACKED if name in errors else ClientStatus.ACKED,
                    newest.version if newest is not None else "",
                    newest.updated if newest is not None else 0.0,
                    _serialized(newest),
                    coming.warming.since if coming is not None and coming.warming is not None else 0.0,
                    _waits(coming),
                    _refusal(errors.get(name)),
                    name in unconfirmed.get(kind, ()),
                    coming is not None,
                )
        for entry in controller.wanted.entries.values():
            one = self._of_entry(entry, unconfirmed)
            found[one.type, one.source, one.name] = one
        return found

    def _tables(self) -> Iterator[Table]:
        clusters, listeners = self._controller.clusters, self._controller.listeners
        yield _CDS, "cds_config", clusters.active, clusters.warming, clusters.errors
        yield _LDS, "lds_config", listeners.active, listeners.warming, listeners.errors

    def _of_entry(self, entry: Wanted, unconfirmed: Mapping[ResourceType, Iterable[str]]) -> Discovered:
        want = entry.want
        status = ClientStatus.ACKED if entry.value is not None else ClientStatus.REQUESTED
        if entry.value is None and entry.settled:
            status = ClientStatus.TIMEOUT
        warming = entry.warming
        return Discovered(
            want.type,
            want.name,
            self._source(want.type, want.source),
            ClientStatus.NACKED if entry.error is not None else status,
            entry.version,
            entry.updated,
            entry.value or b"",
            entry.since if entry.value is None else 0.0 if warming is None else warming.since,
            () if warming is None else _described(warming.waits),
            _refusal(entry.error),
            want.name in unconfirmed.get(want.type, ()),
            warming is not None,
        )

    def _unconfirmed(self) -> Mapping[ResourceType, frozenset[str]]:
        surviving = self._controller.control_planes.surviving
        if surviving is None:
            return {}
        return {kind: frozenset(names) for kind, names in surviving.use().unconfirmed.items()}

    def _source(self, kind: ResourceType, serialized: bytes) -> str:
        """What the client calls the source, "" for one that it cannot use."""
        known = self._sources.get((kind, serialized))
        discovery = self._controller.control_planes.discovery
        if known is None and discovery is not None:
            message = config_source_pb2.ConfigSource.FromString(serialized)
            try:
                known = discovery.client.stream_status(kind, message).source
            except ConfigError:
                known = ""
            self._sources[kind, serialized] = known
        return known or ""

    # For `/ready` and `/init_dump`.

    def readiness(self) -> Readiness:
        """What is not here, and why that may be."""
        missing = list(self._missing())
        if not missing and self._controller.life.state == "INITIALIZING":
            missing.append(Missing("workers", "*", self._controller.loaded_at))
        return Readiness(
            missing,
            self._newest_refusal(),
            self.streams(),
            self._snapshot(),
        )

    def _newest_refusal(self) -> Discovered | None:
        unconfirmed = self._unconfirmed()
        newest: Discovered | None = None
        at = 0.0
        for kind, field, _, _, errors in self._tables():
            for name, error in errors.items():
                if error.at > at:
                    source = getattr(self._controller.bootstrap.dynamic_resources, field)
                    name_of_source = self._source(kind, source.SerializeToString())
                    newest = Discovered(
                        kind, name, name_of_source, ClientStatus.NACKED, refusal=_refusal(error)
                    )
                    at = error.at
        for entry in self._controller.wanted.entries.values():
            if entry.error is not None and entry.error.at > at:
                newest = self._of_entry(entry, unconfirmed)
                at = entry.error.at
        discovery = self._controller.control_planes.discovery
        if discovery is not None and any(one.rejected_reason for one in discovery.client.types()):
            # A response that was refused whole never came to a table.
            for one in discovery.client.status().types:
                for status in one.resources:
                    if status.rejected_at > at:
                        newest = _joined(one.type, one.source, status, None)
                        at = status.rejected_at
        return newest

    def _missing(self) -> Iterator[Missing]:
        controller = self._controller
        discovery = controller.control_planes.discovery
        live = controller.live_since
        if discovery is not None:
            for kind, since in discovery.awaited.items():
                yield Missing(_KINDS[kind], "*", since)
        for resource_type, _, active, warming, _ in self._tables():
            for name, record in warming.items():
                if name not in active and record.warming is not None:
                    since = record.warming.since
                    yield Missing(
                        _KINDS[resource_type], name, since, _waits(record), not live or since <= live
                    )
        for entry in controller.wanted.entries.values():
            if entry.value is None:
                what = _KINDS[entry.want.type]
                yield Missing(what, entry.want.name, entry.since, (), not live or entry.since <= live)

    def _snapshot(self) -> Snapshot | None:
        surviving = self._controller.control_planes.surviving
        if surviving is None:
            return None
        use = surviving.use()
        in_use = tuple((kind, len(names)) for kind, names in use.unconfirmed.items())
        return Snapshot(use.path, use.saved, use.confirmed, in_use)

    def unready_targets(self) -> Mapping[str, Sequence[str]]:
        """What listeners wait for, in Envoy's words."""
        found: dict[str, Sequence[str]] = {}
        for name, record in self._controller.listeners.warming.items():
            if record.warming is not None and record.warming.waits:
                number = xxhash.xxh64_intdigest(record.plan.serialized)
                manager = f"init manager Listener-local-init-manager {name} {number}"
                found[manager] = [_target(key) for key in sorted(record.warming.waits)]
        return found


def _joined(kind: ResourceType, source: str, status: ResourceStatus, known: Discovered | None) -> Discovered:
    """One that the client knows, with what its table knows of it."""
    if known is not None:
        return known
    refusal = None
    if status.rejected_reason:
        path = status.rejected_path or _path_in(status.rejected_reason)
        refusal = Refusal(status.rejected_version, status.rejected_reason, path, status.rejected_at)
    return Discovered(
        kind,
        status.name,
        source,
        status.client_status,
        status.version,
        status.last_updated,
        waiting_since=status.waiting_since,
        refusal=refusal,
    )


def _refusal(error: UpdateError | None) -> Refusal | None:
    if error is None:
        return None
    return Refusal(error.version, error.reason, _path_in(error.reason), error.at, error.serialized)


def _path_in(reason: str) -> str:
    path = _PATH.match(reason)
    return path.group() if path else ""


def _serialized(record: ClusterRecord | ListenerRecord | None) -> bytes:
    if record is None:
        return b""
    return record.serialized if isinstance(record, ClusterRecord) else record.plan.serialized


def _waits(record: ClusterRecord | ListenerRecord | None) -> tuple[str, ...]:
    return _described(record.warming.waits) if record is not None and record.warming is not None else ()


def _described(waits: Iterable[str]) -> tuple[str, ...]:
    """Keys of wants (`ResourceWant.key`) in words."""
    return tuple(_in_words(key) for key in sorted(waits))


def _in_words(key: str) -> str:
    kind, _, rest = key.partition("/")
    if kind not in ResourceType.__members__:
        return key
    return f"{_KINDS[ResourceType[kind]]} {rest.partition('/')[2]}"


def _target(key: str) -> str:
    kind, _, rest = key.partition("/")
    name = rest.partition("/")[2]
    template = _TARGETS.get(ResourceType[kind]) if kind in ResourceType.__members__ else None
    return f"target {_in_words(key)}" if template is None else template.format(name)
