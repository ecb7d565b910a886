"""Resources of which a reference means many: the scopes of a list, the virtual hosts of a route table.

Workers get them together, as one value: a `ScopedRouteConfigurationsList`, or a `RouteConfiguration` that has the
virtual hosts. What is wrong with one refuses all that came with it, as in Envoy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from envoy.config.route.v3 import route_components_pb2, route_pb2, scoped_route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf.message import DecodeError

from proxy.discovery.named_consumer import NamedConsumer
from proxy.discovery.wanted import Wanted, WantedResources
from xds_client.api import WILDCARD, Rejection, Update
from xds_client.resource_types import ResourceType

#: What comes under one reference: bodies by name.
Members = Mapping[str, bytes]


class GatheredConsumer(NamedConsumer):
    """See module; the base of those that know what belongs together."""

    #: What a resource is.
    message_type: Any

    def __init__(self, wanted: WantedResources, kind: ResourceType, source: bytes) -> None:
        super().__init__(wanted, kind, source)
        self._members: dict[str, Members] = {}

    async def apply(self, update: Update) -> Sequence[Rejection]:
        """See `Consumer`. Unlike resources that are named, those that are removed go."""
        changes = self._touched(update)
        rejections = []
        for resource in update.added:
            changes.setdefault(self._owner(resource.name), {})[resource.name] = resource.body
        for name in update.removed:
            changes.setdefault(self._owner(name), {}).setdefault(name, None)
        for owner, changed in changes.items():
            members = {**self._members.get(owner, {}), **changed}
            present = {name: body for name, body in members.items() if body is not None}
            try:
                value = self._joined(owner, present)
            except DecodeError:
                reason = f"the bytes are no {self.message_type.DESCRIPTOR.full_name}"
            else:
                reason = self._wanted.take(self._kind, self._source, owner, value, update)
            if reason:
                rejections += [Rejection(name, reason) for name in changed]
            else:
                self._members[owner] = present
        for owner in dict.fromkeys(map(self._owner, update.unchanged)):
            if owner not in changes:
                self._wanted.confirm(self._kind, self._source, owner, update.version)
        self._wanted.sweep()
        for resource in update.added:
            self._came((resource.name, *resource.aliases))
        return rejections

    def remove(self, names: Sequence[str]) -> None:
        """See `NamedConsumer`."""
        super().remove(names)
        for name in names:
            self._members.pop(name, None)

    def _touched(self, update: Update) -> dict[str, dict[str, bytes | None]]:
        """The references that an update is about even if nothing has come or gone."""
        raise NotImplementedError

    def _owner(self, name: str) -> str:
        """The reference that a resource belongs to."""
        raise NotImplementedError

    def _joined(self, owner: str, members: Members) -> bytes:
        """What workers get. Raises `DecodeError`."""
        raise NotImplementedError

    def _came(self, names: Sequence[str]) -> None:
        """These have come, with what else they are called."""


class ScopesConsumer(GatheredConsumer):
    """Scopes (SRDS): everything that the source lists."""

    message_type = scoped_route_pb2.ScopedRouteConfiguration

    def demand(self, entry: Wanted, name: str) -> None:
        """See `NamedConsumer`: the route table of an on-demand scope."""
        self._wanted.demand_reference(entry, name)

    def _touched(self, update: Update) -> dict[str, dict[str, bytes | None]]:
        del update
        return {WILDCARD: {}}

    def _owner(self, name: str) -> str:
        del name
        return WILDCARD

    def _joined(self, owner: str, members: Members) -> bytes:
        del owner
        scopes = http_connection_manager_pb2.ScopedRouteConfigurationsList()
        for name in sorted(members):
            scopes.scoped_route_configurations.add().ParseFromString(members[name])
        joined: bytes = scopes.SerializeToString()
        return joined


class VirtualHostsConsumer(GatheredConsumer):
    """Virtual hosts on demand (VHDS): those that the server brings by itself, and those that requests ask for."""

    message_type = route_components_pb2.VirtualHost

    def __init__(self, wanted: WantedResources, kind: ResourceType, source: bytes) -> None:
        super().__init__(wanted, kind, source)
        #: By name: the key of the resource that they were demanded of.
        self._awaited: dict[str, str] = {}
        self._demanded: dict[str, set[str]] = {}

    def demand(self, entry: Wanted, name: str) -> None:
        """See `NamedConsumer`: the virtual host of a domain."""
        if name in self._awaited:
            return
        self._awaited[name] = entry.want.key
        known = self._demanded.setdefault(entry.want.name, set())
        if name in known:
            # Only a name that is new to the server is answered.
            self.subscription.remove([name])
        known.add(name)
        self.subscription.add([name])

    def remove(self, names: Sequence[str]) -> None:
        """See `NamedConsumer`."""
        super().remove(names)
        for name in names:
            self.subscription.remove(sorted(self._demanded.pop(name, ())))

    def missing(self, name: str, *, said: bool = False) -> None:
        """See `Consumer`."""
        if name in self._awaited:
            self._came((name,))
        else:
            super().missing(name, said=said)

    def _came(self, names: Sequence[str]) -> None:
        for name in names:
            key = self._awaited.pop(name, None)
            if key is not None:
                self._wanted.answer(key, name)

    def _touched(self, update: Update) -> dict[str, dict[str, bytes | None]]:
        del update
        return {}

    def _owner(self, name: str) -> str:
        return name.rpartition("/")[0]

    def _joined(self, owner: str, members: Members) -> bytes:
        table = route_pb2.RouteConfiguration(name=owner)
        for name in sorted(members):
            table.virtual_hosts.add().ParseFromString(members[name])
        joined: bytes = table.SerializeToString()
        return joined


CONSUMERS: Final[dict[ResourceType, type[NamedConsumer]]] = {
    ResourceType.SCOPED_ROUTE: ScopesConsumer,
    ResourceType.VIRTUAL_HOST: VirtualHostsConsumer,
}
