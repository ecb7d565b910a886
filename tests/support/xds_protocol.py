"""The resources of a scriptable control plane: versions are numbers that move with every change of a type."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from proxy.control_plane import streams
from proxy.control_plane.streams import ServerStream, resource_name
from xds_client.resource_types import ResourceType

__all__ = ["Resources", "ServerStream"]


class Resources(streams.Resources):
    """See module."""

    def __init__(self, identifier: str = "test-server") -> None:
        super().__init__(identifier)

    def set(self, messages: Iterable[Any], version: str = "", ttl: float = 0.0) -> list[ResourceType]:
        """Add or replace; gives the types to push. `version` is that of the resources, if not their type's."""
        kinds: list[ResourceType] = []
        for message in messages:
            kind = ResourceType(message.DESCRIPTOR.full_name)
            if kind not in kinds:
                self._move(kind)
                kinds.append(kind)
            name = resource_name(message)
            self.by_type[kind][name] = (version or self.versions[kind], message)
            if ttl:
                self.ttls[kind, name] = ttl
        return kinds

    def remove(self, kind: ResourceType, names: Iterable[str]) -> None:
        for name in names:
            self.by_type[kind].pop(name, None)
        self._move(kind)

    def replace(self, kind: ResourceType, messages: Iterable[Any]) -> None:
        """Make these all the resources of a type; those that stay as they are keep their version."""
        self._move(kind)
        before = self.by_type[kind]
        after: dict[str, tuple[str, Any]] = {}
        for message in messages:
            name = resource_name(message)
            old = before.get(name)
            same = old is not None and old[1] == message
            after[name] = old if old is not None and same else (self.versions[kind], message)
        self.by_type[kind] = after

    def _move(self, kind: ResourceType) -> None:
        self.versions[kind] = str(int(self.versions[kind]) + 1)
