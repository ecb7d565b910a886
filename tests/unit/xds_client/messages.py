"""Short forms of discovery messages and consumers for the tests of this package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.service.discovery.v3 import discovery_pb2

from xds_client.api import Rejection, Update
from xds_client.resource_types import ResourceType


def cluster(name: str, limit: int = 0) -> Any:
    message = cluster_pb2.Cluster(name=name)
    if limit:
        message.per_connection_buffer_limit_bytes.value = limit
    return message


def endpoints(name: str) -> Any:
    return endpoint_pb2.ClusterLoadAssignment(cluster_name=name)


def sotw(
    *messages: Any, version: str = "1", nonce: str = "n1", kind: ResourceType = ResourceType.CLUSTER
) -> Any:
    response = discovery_pb2.DiscoveryResponse(version_info=version, nonce=nonce, type_url=kind.type_url)
    for message in messages:
        response.resources.add().Pack(message)
    return response


def wrapped(
    name: str, message: Any = None, *, version: str = "1", ttl: float = 0, aliases: Sequence[str] = ()
) -> Any:
    wrapper = discovery_pb2.Resource(name=name, version=version, aliases=aliases)
    if message is not None:
        wrapper.resource.Pack(message)
    if ttl:
        wrapper.ttl.FromNanoseconds(int(ttl * 1e9))
    return wrapper


def delta(
    *wrappers: Any,
    removed: Sequence[str] = (),
    nonce: str = "n1",
    kind: ResourceType = ResourceType.CLUSTER,
) -> Any:
    return discovery_pb2.DeltaDiscoveryResponse(
        system_version_info="1",
        nonce=nonce,
        type_url=kind.type_url,
        resources=wrappers,
        removed_resources=removed,
    )


class Recorder:
    """A consumer that writes down what it is told; `refuse` has reasons by resource name."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.refuse: dict[str, str] = {}
        self.updates: list[Update] = []

    async def apply(self, update: Update) -> Sequence[Rejection]:
        self.updates.append(update)
        self.events.append(("+", *(resource.name for resource in update.added)))
        if update.removed:
            self.events.append(("-", *update.removed))
        names = [resource.name for resource in update.added]
        return [Rejection(name, self.refuse[name]) for name in names if name in self.refuse]

    def missing(self, name: str, *, said: bool = False) -> None:
        self.events.append(("missing", name))

    def failed(self, reason: str) -> None:
        self.events.append(("failed", reason))
