"""The services of the discovery protocols: gRPC methods and REST paths by resource type.

Source: envoy/service/*/v3/*.proto and their `google.api.http` options.
"""

from __future__ import annotations

from typing import Final

from xds_client.resource_types import ResourceType

_ADS: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"

_SERVICES: Final = {
    ResourceType.LISTENER: ("listener.v3.ListenerDiscoveryService", "Listeners", "listeners"),
    ResourceType.CLUSTER: ("cluster.v3.ClusterDiscoveryService", "Clusters", "clusters"),
    ResourceType.ROUTE: ("route.v3.RouteDiscoveryService", "Routes", "routes"),
    ResourceType.SCOPED_ROUTE: ("route.v3.ScopedRoutesDiscoveryService", "ScopedRoutes", "scoped-routes"),
    ResourceType.VIRTUAL_HOST: ("route.v3.VirtualHostDiscoveryService", "VirtualHosts", ""),
    ResourceType.ENDPOINT: ("endpoint.v3.EndpointDiscoveryService", "Endpoints", "endpoints"),
    ResourceType.SECRET: ("secret.v3.SecretDiscoveryService", "Secrets", "secrets"),
    ResourceType.RUNTIME: ("runtime.v3.RuntimeDiscoveryService", "Runtime", "runtime"),
    ResourceType.EXTENSION_CONFIG: (
        "extension.v3.ExtensionConfigDiscoveryService",
        "ExtensionConfigs",
        "extension_configs",
    ),
}


def ads_method(*, delta: bool) -> str:
    """The method of the aggregated stream."""
    return _ADS + ("DeltaAggregatedResources" if delta else "StreamAggregatedResources")


def stream_method(kind: ResourceType, *, delta: bool) -> str:
    """The method of a stream for one type; "" where the API has none."""
    service, noun, _ = _SERVICES[kind]
    if kind is ResourceType.VIRTUAL_HOST and not delta:
        return ""
    return f"/envoy.service.{service}/{'Delta' if delta else 'Stream'}{noun}"


def rest_path(kind: ResourceType) -> str:
    """Where a type is polled; "" where the API has no such thing."""
    noun = _SERVICES[kind][2]
    return f"/v3/discovery:{noun}" if noun else ""
