"""One type of one source, as a client that remembers has it: what is accepted, and what the snapshot still has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proxy.discovery.snapshot_file import Section
from xds_client.api import WILDCARD, RefusedWhole, Rejection, Resource, Update
from xds_client.names import collection_of, is_collection
from xds_client.resource_types import ResourceType


class Part:
    """One section: what is accepted, and what the snapshot still has of it. `server` is whom it is asked of."""

    def __init__(
        self, kind: ResourceType, source: Any, serialized: bytes, collection: str, server: str
    ) -> None:
        self.type = kind
        self.message = source
        self.source = serialized
        self.collection = collection
        self.server = server
        self.accepted: dict[str, Resource] = {}
        self.version = ""
        self.answered = False
        self.released = False
        self.confirmed = 0.0
        self.kept: dict[str, Resource] = {}
        self.kept_version = ""
        self.since = 0.0
        #: What came from the snapshot and the server has not sent, by name: what listed it, "" for nothing.
        self.unconfirmed: dict[str, str] = {}

    @property
    def key(self) -> tuple[ResourceType, bytes, str]:
        """What tells it from others; see `Section.key`."""
        return self.type, self.source, self.collection

    def kept_for(self, name: str) -> list[Resource]:
        """What the snapshot has for a name that was asked for."""
        if not lists(self.type, name):
            return [self.kept[name]] if name in self.kept else []
        if name == WILDCARD:
            return list(self.kept.values())
        if is_collection(name):
            return [resource for key, resource in self.kept.items() if collection_of(key) == name]
        return [resource for key, resource in self.kept.items() if key.startswith(f"{name}/")]

    def note(self, update: Update, rejections: Sequence[Rejection]) -> None:
        """What an update leaves accepted."""
        refused = {rejection.name for rejection in rejections}
        for resource in update.added:
            if resource.name not in refused:
                self.accepted[resource.name] = resource
        for name in () if isinstance(rejections, RefusedWhole) else update.removed:
            self.accepted.pop(name, None)
        if not refused:
            self.version = update.version

    def section(self, now: float, *, connected: bool) -> Section:
        """What is to be kept. What expires is left out: it must not outlive its time."""
        if self.answered and connected:
            self.confirmed = now
        resources = {
            **self.kept,
            **self.accepted,
        }  # once it is answered, only what is still waited for is left
        kept = tuple(one for one in resources.values() if one.ttl is None)
        version = self.version if self.answered else self.version or self.kept_version
        return Section(self.type, self.source, self.collection, version, self.confirmed, kept)


def lists(kind: ResourceType, name: str) -> bool:
    """Whether a name stands for many resources: a wildcard, a collection, the virtual hosts of a route table."""
    return is_collection(name) or (kind is ResourceType.VIRTUAL_HOST and "/" not in name)
