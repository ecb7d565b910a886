"""Resources that differ in names and addresses alone: what was found out about one of them holds for all.

A control plane makes its thousands of resources from few templates. The shape of one is its message in which every
name and address, once it is known to be sound, was replaced by the same placeholder. Shapes are remembered during
one update only: what a check depends on beside the message (files, say) may be another at the next.
"""

from __future__ import annotations

import re
from socket import AF_INET, inet_pton
from typing import Any, Final

from envoy.config.cluster.v3 import cluster_pb2
from msgspec import Struct

from proxy.base.stat_names import stat_name
from proxy.config.resources import ResourceWant
from xds_client.resource_types import ResourceType

_PLACEHOLDER: Final = "p"
_MAX_PORT: Final = 65535
_MAX_NAME: Final = 200
#: Names and domains that no rule refuses and that mean nothing but themselves.
_sound_domain: Final = re.compile(r"[a-z0-9._:*-]+", re.ASCII | re.IGNORECASE).fullmatch


class ClusterShape(Struct, frozen=True):
    """`key` is the shape of an EDS cluster; the names are those that it has itself."""

    key: bytes
    name: str
    service_name: str
    stat_name: str

    def want(self, like: ResourceWant) -> ResourceWant:
        """The endpoints that it refers to, where another of its shape refers to `like`."""
        return ResourceWant(
            ResourceType.ENDPOINT,
            self.service_name or self.name,
            like.source,
            f"cluster.{stat_name(self.stat_name or self.name)}.",
            like.terms,
            like.waits,
        )


def cluster_shape(message: Any) -> ClusterShape | None:
    """The shape of a `config.cluster.v3.Cluster`, which is used up; None where it has to be looked at itself."""
    if message.type != cluster_pb2.Cluster.EDS or message.HasField("cluster_type") or message.health_checks:
        return None
    name = message.name
    eds = message.eds_cluster_config
    service_name = eds.service_name
    stat_name = message.alt_stat_name
    if not name or len(name) > _MAX_NAME or name.startswith("xdstp:") or service_name.startswith("xdstp:"):
        return None
    message.name = _PLACEHOLDER
    if service_name:
        eds.service_name = _PLACEHOLDER
    if stat_name:
        message.alt_stat_name = _PLACEHOLDER
    if message.HasField("metadata"):
        # Values of any kind, which nobody checks.
        message.metadata.ClearField("filter_metadata")
    return ClusterShape(message.SerializeToString(), name, service_name, stat_name)


def endpoints_shape(message: Any) -> bytes | None:
    """The shape of a `ClusterLoadAssignment`, which is used up; None where it has to be looked at itself."""
    message.cluster_name = _PLACEHOLDER
    for group in message.endpoints:
        for entry in group.lb_endpoints:
            if (
                not entry.HasField("endpoint")
                or entry.endpoint.address.WhichOneof("address") != "socket_address"
            ):
                return None
            address = entry.endpoint.address.socket_address
            try:
                inet_pton(AF_INET, address.address)
            except (OSError, ValueError):
                return None
            if address.port_value > _MAX_PORT:
                return None
            address.address = "0.0.0.0"
            address.port_value = 1
            if entry.HasField("metadata"):
                entry.metadata.ClearField("filter_metadata")
    shape: bytes = message.SerializeToString()
    return shape


def reduced_table(message: Any) -> Any:
    """A `RouteConfiguration` with one virtual host of each shape, which is fine if and only if `message` is.

    None where that cannot be said. `message` is used up.
    """
    reduced = type(message)()
    seen: set[bytes] = set()
    domains: set[str] = set()
    count = 0
    for host in message.virtual_hosts:
        if not host.name:
            return None
        for domain in host.domains:
            if _sound_domain(domain) is None:
                return None
            domains.add(domain.lower())
            count += 1
        if not host.domains or len(domains) != count:
            return None
        del host.domains[:]
        host.name = _PLACEHOLDER
        for route in host.routes:
            _blank_route(route)
        shape = host.SerializeToString()
        if shape not in seen:
            host.domains.append(f"{_PLACEHOLDER}{len(seen)}")
            reduced.virtual_hosts.append(host)
            seen.add(shape)
    del message.virtual_hosts[:]
    reduced.MergeFrom(message)
    return reduced


def _blank_route(route: Any) -> None:
    if route.name:
        route.name = _PLACEHOLDER
    if route.HasField("decorator") and route.decorator.operation:
        route.decorator.operation = _PLACEHOLDER
    if route.HasField("route"):
        match route.route.WhichOneof("cluster_specifier"):
            case "cluster":
                if route.route.cluster:
                    route.route.cluster = _PLACEHOLDER
            case "weighted_clusters":
                for one in route.route.weighted_clusters.clusters:
                    if one.name:
                        one.name = _PLACEHOLDER
            case _:
                pass
