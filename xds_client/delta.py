"""The incremental protocol of one resource type, without I/O.

Source: Envoy's "xDS REST and gRPC protocol", `discovery.v3.DeltaDiscoveryRequest` and its delta subscription state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2

from xds_client.api import WILDCARD
from xds_client.messages import body_name, lifetime, set_error
from xds_client.names import normal
from xds_client.resource_types import ResourceType
from xds_client.state import Change, TypeState, wrapped


class DeltaState(TypeState):
    """One resource type by `DeltaDiscoveryRequest` and `DeltaDiscoveryResponse`."""

    def __init__(self, kind: ResourceType) -> None:
        super().__init__(kind)
        self._subscribe: dict[str, None] = {}
        self._unsubscribe: dict[str, None] = {}
        self._owed: deque[tuple[str, str]] = deque()
        """Nonces of responses not yet answered, with the error of a NACK; each gets a request of its own."""
        self._first = True

    @property
    def pending(self) -> bool:
        """Whether a request is due."""
        if self._first:
            # An empty first request would ask for everything.
            return bool(self.names)
        return bool(self._owed or self._subscribe or self._unsubscribe)

    def request(self) -> Any:
        """The next request: changed names, and the answer to the oldest response that has none."""
        self._told_server()
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=self.kind.type_url)
        if self._first:
            self._first = False
            if list(self.names) != [WILDCARD]:
                request.resource_names_subscribe.extend(self.names)
            versions = request.initial_resource_versions
            for name, record in self.records.items():
                if record.resource is not None:
                    versions[name] = record.resource.version
        else:
            request.resource_names_subscribe.extend(self._subscribe)
            request.resource_names_unsubscribe.extend(self._unsubscribe)
        self._subscribe.clear()
        self._unsubscribe.clear()
        if self._owed:
            request.response_nonce, error = self._owed.popleft()
            if error:
                set_error(request, error)
        return request

    def repeat(self) -> None:
        """Nothing: a server answers only changes."""

    def _interest_changed(self, added: Sequence[str], removed: Sequence[str]) -> None:
        for name in removed:
            self._subscribe.pop(name, None)
            self._unsubscribe[name] = None
        for name in added:
            if name in self._unsubscribe:
                del self._unsubscribe[name]
                if name == WILDCARD or self.accepted(name) is not None:
                    continue
            self._subscribe[name] = None

    def _stream_started(self) -> None:
        self._first = True
        self._subscribe.clear()
        self._unsubscribe.clear()
        self._owed.clear()

    def _owe(self, change: Change, error: str) -> None:
        if change.generation == self.generation:
            self._owed.append((change.nonce, error))

    def receive(self, response: Any) -> Change:
        """What a `DeltaDiscoveryResponse` changes."""
        change = Change(
            version=response.system_version_info,
            nonce=response.nonce,
            control_plane=response.control_plane.identifier,
            generation=self.generation,
            everything=WILDCARD in self.names,
        )
        seen: set[str] = set()
        problems: list[str] = []
        for wrapper in response.resources:
            try:
                self._read(wrapper, change, seen)
            except ValueError as error:
                problems.append(f"{wrapper.name}: {error}")
        for name in (*response.removed_resources, *(one.name for one in response.removed_resource_names)):
            try:
                self._read_removed(normal(name), change, seen)
            except ValueError as error:
                problems.append(f"{name}: {error}")
        if problems:
            return Change(
                version=change.version,
                nonce=change.nonce,
                control_plane=change.control_plane,
                generation=self.generation,
                problem="; ".join(problems),
            )
        change.errors = self._server_errors(response)
        return change

    def _read(self, wrapper: Any, change: Change, seen: set[str]) -> None:
        name = normal(wrapper.name)
        has_body = wrapper.HasField("resource")
        if not name and has_body:
            name = normal(body_name(wrapper.resource.value))
        if name in seen:
            raise ValueError(f"duplicate name {name} found among added/updated resources")
        seen.add(name)
        known = self.accepted(name)
        if not has_body:
            self._read_empty(wrapper, name, change)
            return
        if wrapper.resource.type_url != self.kind.type_url:
            raise ValueError(
                f"type URL {wrapper.resource.type_url} embedded in an individual Any does not match the "
                f"message-wide type URL {self.kind.type_url} in DeltaDiscoveryResponse {change.version}"
            )
        if not self.wants(name) and not any(alias in self.names for alias in wrapper.aliases):
            return
        body_name(wrapper.resource.value)
        resource = wrapped(wrapper, name, wrapper.version)
        change.lifetimes[name] = resource.ttl
        if known is None or known.body != resource.body or known.aliases != resource.aliases:
            change.added.append(resource)
            return
        change.unchanged.append(name)
        if known.version != resource.version:
            change.renewed.append(resource)

    def _read_empty(self, wrapper: Any, name: str, change: Change) -> None:
        """A resource without a body: a heartbeat, or the answer that an on-demand name leads nowhere."""
        known = self.accepted(name)
        if (
            known is not None
            and known.version == wrapper.version
            and self.kind is not ResourceType.VIRTUAL_HOST
        ):
            change.heartbeats.append(name)
            change.lifetimes[name] = None
            if wrapper.HasField("ttl"):
                change.lifetimes[name] = lifetime(wrapper.ttl)
        elif wrapper.aliases:
            change.absent.extend(alias for alias in wrapper.aliases if alias in self.names)
        else:
            raise ValueError(
                "has no body, and is no heartbeat of a version that was accepted: its type URL does not match the "
                f"message-wide type URL {self.kind.type_url} in DeltaDiscoveryResponse {change.version}"
            )

    def _read_removed(self, name: str, change: Change, seen: set[str]) -> None:
        if name in seen:
            raise ValueError(f"duplicate name {name} found in the union of added+removed resources")
        seen.add(name)
        if self.accepted(name) is not None:
            change.removed.append(name)
        elif name in self.names:
            change.absent.append(name)
