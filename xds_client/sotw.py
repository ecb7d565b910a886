"""The state-of-the-world protocol of one resource type, without I/O.

Source: Envoy's "xDS REST and gRPC protocol"; nonces, ACK and NACK as its gRPC mux sends them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from envoy.service.discovery.v3 import discovery_pb2

from xds_client.api import WILDCARD, Rejection, Resource
from xds_client.messages import body_name, is_wrapper, same_type, set_error
from xds_client.names import collection_of, is_collection, normal
from xds_client.resource_types import ResourceType
from xds_client.state import Change, TypeState, wrapped

_COMPLETE: Final = frozenset({ResourceType.LISTENER, ResourceType.CLUSTER, ResourceType.SCOPED_ROUTE})
"""Types whose every response holds all resources asked for: what is not in it does not exist."""


def _no_body(version: str) -> str:
    return f"has no body; only a response of the version that was accepted last, not {version}, may be a heartbeat"


class SotwState(TypeState):
    """One resource type by `DiscoveryRequest` and `DiscoveryResponse`."""

    def __init__(self, kind: ResourceType) -> None:
        super().__init__(kind)
        self._nonce = ""
        self._error = ""
        self._due = False
        self._named_before = False
        """Whether names were sent on this stream: an empty list then no longer means everything."""

    @property
    def pending(self) -> bool:
        """Whether a request is due."""
        return self._due

    def request(self) -> Any:
        """The next request: what is asked for as a whole, with the answer owed to the last response."""
        self._due = False
        self._told_server()
        request = discovery_pb2.DiscoveryRequest(
            version_info=self.version, type_url=self.kind.type_url, response_nonce=self._nonce
        )
        names = list(self.names)
        if names != [WILDCARD] or self._named_before:
            request.resource_names.extend(names)
            self._named_before = self._named_before or bool(names)
        if self._error:
            set_error(request, self._error)
            self._error = ""
        return request

    def repeat(self) -> None:
        """Ask again: a server may answer a repeated request."""
        self._due = bool(self.names)

    def _interest_changed(self, added: Sequence[str], removed: Sequence[str]) -> None:
        # An empty list as the first request of a stream would ask for everything.
        if added or (removed and (self.names or self._named_before)):
            self._due = True

    def _stream_started(self) -> None:
        self._nonce = ""
        self._error = ""
        self._named_before = False
        self._due = bool(self.names)

    def _owe(self, change: Change, error: str) -> None:
        if change.generation == self.generation:
            self._nonce = change.nonce
            self._error = error
            self._due = True

    def receive(self, response: Any) -> Change:
        """What a `DiscoveryResponse` changes."""
        change = Change(
            version=response.version_info,
            nonce=response.nonce,
            control_plane=response.control_plane.identifier,
            generation=self.generation,
            everything=WILDCARD in self.names,
        )
        try:
            resources, heartbeats = self._read(response, change)
        except ValueError as error:
            change.problem = str(error)
            return change
        self._compare(change, resources)
        change.heartbeats.extend(name for name in heartbeats if self.accepted(name) is not None)
        # A response of heartbeats alone prolongs lives; it is not the state of the world.
        if self.kind in _COMPLETE and (resources or not heartbeats):
            self._find_gone(change, resources.keys() | heartbeats)
        change.errors = self._server_errors(response)
        return change

    def _read(self, response: Any, change: Change) -> tuple[dict[str, Resource], set[str]]:
        """The resources by name and the names of heartbeats. Raises ValueError to refuse the response."""
        resources: dict[str, Resource] = {}
        heartbeats: set[str] = set()
        problems: list[str] = []
        version = change.version
        type_url = self.kind.type_url
        # Most of a response is what was sent before; those bytes need not be read again.
        known = {
            record.resource.body: record.resource
            for record in self.records.values()
            if record.resource is not None and record.resource.ttl is None
        }
        for number, entry in enumerate(response.resources):
            body = entry.value
            resource = known.get(body) if entry.type_url == type_url else None
            if resource is None:
                try:
                    resource = self._unpack(entry, version)
                except ValueError as error:
                    problems.append(f"resources[{number}]: {error}")
                    continue
            name = resource.name
            if not resource.type_url and not resource.body:
                if version == self.version:
                    heartbeats.add(name)
                    change.lifetimes[name] = resource.ttl
                elif self.kind in _COMPLETE:
                    # Envoy takes it for a resource without a name, and removes all others.
                    problems.append(f"{name}: {_no_body(version)}")
                elif self.wants(name):
                    change.rejections.append(Rejection(name, _no_body(version)))
            elif name not in resources:
                resources[name] = resource
                change.lifetimes[name] = resource.ttl
            elif self.kind is ResourceType.SCOPED_ROUTE:
                problems.append(f"duplicate scoped route configuration '{name}' found")
            elif self.kind in _COMPLETE:
                change.further.append(resource)
        if problems:
            raise ValueError("; ".join(problems))
        return resources, heartbeats

    def _unpack(self, entry: Any, version: str) -> Resource:
        """The resource in an Any. Raises ValueError."""
        type_url = entry.type_url
        if is_wrapper(type_url):
            resource = self._unwrap(entry.value, version)
            empty = not resource.type_url and not resource.body
            if empty or same_type(resource.type_url, self.kind.value):
                return resource
            type_url = resource.type_url
            name = resource.name
        else:
            name = normal(body_name(entry.value))
            if type_url == self.kind.type_url:
                return Resource(name, version, entry.value, type_url)
        raise ValueError(
            f"{name}: {type_url} does not match the message-wide type URL {self.kind.type_url} in "
            f"DiscoveryResponse {version}"
        )

    @staticmethod
    def _unwrap(data: bytes, version: str) -> Resource:
        try:
            wrapper = discovery_pb2.Resource.FromString(data)
        except Exception as error:
            raise ValueError("a resource wrapper is not a protobuf message") from error
        name = wrapper.name or body_name(wrapper.resource.value)
        return wrapped(wrapper, normal(name), version)

    def _compare(self, change: Change, resources: dict[str, Resource]) -> None:
        everything = WILDCARD in self.names
        for name, resource in resources.items():
            if not everything and not self.wants(name):
                continue
            known = self.accepted(name)
            if known is resource or (known is not None and known.body == resource.body):
                change.unchanged.append(name)
            else:
                change.added.append(resource)

    def _find_gone(self, change: Change, present: set[str]) -> None:
        for name, record in self.records.items():
            if name in present or is_collection(name):
                continue
            if record.resource is not None:
                change.removed.append(name)
            elif name in self.names:
                change.absent.append(name)
        for name in self.names:
            if name != WILDCARD and is_collection(name) and name not in map(collection_of, present):
                change.absent.append(name)
