"""The server's side of the discovery protocols, without a network: resources, and streams that ask for them.

Source: the "xDS REST and gRPC protocol" page of Envoy's documentation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2
from msgspec import Struct, field

from xds_client.names import collection_of, normal
from xds_client.resource_types import ResourceType, resource_type

_COMPLETE: Final = {ResourceType.CLUSTER, ResourceType.LISTENER, ResourceType.SCOPED_ROUTE}
"""Types of which a state-of-the-world response holds everything, so that an empty one says something."""

_DIGITS: Final = 12


class Resources:
    """The resources of a server: type → name → (version, message). Each type has a version of its own."""

    def __init__(self, identifier: str) -> None:
        self.identifier = identifier
        self.by_type: dict[ResourceType, dict[str, tuple[str, Any]]] = {kind: {} for kind in ResourceType}
        self.versions: dict[ResourceType, str] = dict.fromkeys(ResourceType, "0")
        self.ttls: dict[tuple[ResourceType, str], float] = {}
        self.nonce = 0

    def replace_all(self, content: Mapping[ResourceType, Mapping[str, Any]]) -> list[ResourceType]:
        """Make this all that there is; gives the types that differ. Versions are digests of the content, so
        they survive a restart of the server.
        """
        changed = []
        for kind in ResourceType:
            named = sorted(content.get(kind, {}).items())
            entries = {name: (_digest(message.SerializeToString(True)), message) for name, message in named}
            version = _digest("\n".join(f"{name} {one}" for name, (one, _) in entries.items()).encode())
            if version != self.versions[kind] and (entries or self.by_type[kind]):
                self.by_type[kind], self.versions[kind] = entries, version
                changed.append(kind)
        return changed

    def wrapper(self, kind: ResourceType, name: str, ttl: float = 0.0, *, body: bool = True) -> Any:
        """A `discovery.v3.Resource`; without a body it is a heartbeat. `ttl` is in seconds, 0 for none."""
        version, message = self.by_type[kind][name]
        wrapper = discovery_pb2.Resource(name=name, version=version)
        if body:
            wrapper.resource.Pack(message)
        if ttl:
            wrapper.ttl.FromNanoseconds(int(ttl * 1e9))
        return wrapper


class Subscribed(Struct):
    """What a stream asked for of one type. `sent` has the versions that the client has (delta)."""

    names: set[str] = field(default_factory=set)
    wildcard: bool = False
    sent: dict[str, str] = field(default_factory=dict)
    nonce: str = ""
    sent_version: str = ""
    asked: set[str] | None = None

    def wants(self, name: str) -> bool:
        """Whether a resource was asked for: by its name, by its collection or with everything."""
        return (
            self.wildcard
            or name in self.names
            or normal(name) in self.names
            or collection_of(name) in self.names
        )


class ServerStream:
    """One stream: requests in, responses out. What is to be sent is appended to `out`; types in `held` wait."""

    def __init__(self, resources: Resources, *, delta: bool) -> None:
        self.delta = delta
        self.types: dict[ResourceType, Subscribed] = {}
        self.held: set[ResourceType] = set()
        self.out: list[Any] = []
        self._resources = resources

    def take(self, message: Any) -> None:
        """A request came."""
        kind = resource_type(message.type_url)
        if kind is None:
            return
        first = kind not in self.types
        state = self.types.setdefault(kind, Subscribed())
        if self.delta:
            self._take_delta(kind, state, message, first)
        else:
            self._take_sotw(kind, state, message, first)

    def push(self, kind: ResourceType) -> None:
        """The resources of a type have changed."""
        state = self.types.get(kind)
        if state is not None and (self.delta or state.sent_version != self._resources.versions[kind]):
            self._send(kind, state)

    def next_nonce(self, state: Subscribed) -> str:
        """A nonce for the next message of a type."""
        self._resources.nonce += 1
        state.nonce = str(self._resources.nonce)
        return state.nonce

    def heartbeat(self, kind: ResourceType, name: str, ttl: float) -> None:
        """Prolong the life of a resource."""
        state = self.types.get(kind)
        if state is None:
            return
        wrapper = self._resources.wrapper(kind, name, ttl, body=False)
        message: Any
        if self.delta:
            message = discovery_pb2.DeltaDiscoveryResponse(type_url=kind.type_url, resources=[wrapper])
        else:
            packed = any_pb2.Any()
            packed.Pack(wrapper)
            version = self._resources.versions[kind]
            message = discovery_pb2.DiscoveryResponse(
                version_info=version, type_url=kind.type_url, resources=[packed]
            )
        message.nonce = self.next_nonce(state)
        self.out.append(message)

    def _take_sotw(self, kind: ResourceType, state: Subscribed, message: Any, first: bool) -> None:
        names = set(message.resource_names)
        if not first and message.response_nonce != state.nonce:
            return
        if names or state.names or not state.wildcard:
            state.wildcard = "*" in names or (not names and first)
        state.names = names - {"*"}
        if first:
            state.sent_version = message.version_info
        changed = state.asked is not None and names != state.asked
        state.asked = names
        if changed or state.sent_version != self._resources.versions[kind] or (first and names):
            self._send(kind, state)

    def _take_delta(self, kind: ResourceType, state: Subscribed, message: Any, first: bool) -> None:
        subscribe = set(message.resource_names_subscribe)
        dropped = set(message.resource_names_unsubscribe)
        if first:
            state.sent = dict(message.initial_resource_versions)
            state.wildcard = not subscribe
        state.wildcard = (state.wildcard or "*" in subscribe) and "*" not in dropped
        state.names = (state.names | subscribe - {"*"}) - dropped
        if not state.wildcard:
            state.sent = {name: version for name, version in state.sent.items() if state.wants(name)}
        if not first:
            for name in subscribe:
                state.sent.pop(name, None)
        if first or subscribe:
            self._send(kind, state, force=first and state.wildcard, asked=subscribe)

    def _send(
        self, kind: ResourceType, state: Subscribed, *, force: bool = False, asked: Iterable[str] = ()
    ) -> None:
        if kind in self.held:
            return
        if self.delta:
            self._send_delta(kind, state, force, asked)
        else:
            self._send_sotw(kind, state)

    def _send_sotw(self, kind: ResourceType, state: Subscribed) -> None:
        resources = self._resources
        found = {name: entry for name, entry in resources.by_type[kind].items() if state.wants(name)}
        if not found and not state.wildcard and kind not in _COMPLETE:
            return
        response = discovery_pb2.DiscoveryResponse(
            version_info=resources.versions[kind], type_url=kind.type_url, nonce=self.next_nonce(state)
        )
        response.control_plane.identifier = resources.identifier
        for name, (_, message) in found.items():
            ttl = resources.ttls.get((kind, name))
            response.resources.add().Pack(message if ttl is None else resources.wrapper(kind, name, ttl))
        state.sent_version = response.version_info
        self.out.append(response)

    def _send_delta(self, kind: ResourceType, state: Subscribed, force: bool, asked: Iterable[str]) -> None:
        resources = self._resources.by_type[kind]
        response = discovery_pb2.DeltaDiscoveryResponse(
            system_version_info=self._resources.versions[kind], type_url=kind.type_url
        )
        response.control_plane.identifier = self._resources.identifier
        for name, (version, _) in resources.items():
            if state.wants(name) and state.sent.get(name) != version:
                ttl = self._resources.ttls.get((kind, name), 0.0)
                response.resources.append(self._resources.wrapper(kind, name, ttl))
                state.sent[name] = version
        gone = [name for name in state.sent if name not in resources]
        # A collection that has no members is said to be missing, too.
        known = {*resources, *map(collection_of, resources), "*"}
        gone += [name for name in asked if name not in known and name not in gone]
        for name in gone:
            state.sent.pop(name, None)
        response.removed_resources.extend(gone)
        if response.resources or gone or force:
            response.nonce = self.next_nonce(state)
            self.out.append(response)


def resource_name(message: Any) -> str:
    """The name of a resource message."""
    name: str = message.cluster_name if message.DESCRIPTOR.name == "ClusterLoadAssignment" else message.name
    return name


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGITS]
