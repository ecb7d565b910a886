"""The resource types of xDS v3: their names, type URLs and the order in which a consistent set is applied.

This is the only list of type URLs. Source: the "xDS REST and gRPC protocol" page of Envoy's documentation.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

TYPE_PREFIX: Final = "type.googleapis.com/"


class ResourceType(Enum):
    """One type of resource; the value is the full name of its protobuf message.

    Members stand in the order that loses no traffic: clusters and their endpoints are there before a listener
    or a route table names them.
    """

    SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a message name
    RUNTIME = "envoy.service.runtime.v3.Runtime"
    EXTENSION_CONFIG = "envoy.config.core.v3.TypedExtensionConfig"
    CLUSTER = "envoy.config.cluster.v3.Cluster"
    ENDPOINT = "envoy.config.endpoint.v3.ClusterLoadAssignment"
    LISTENER = "envoy.config.listener.v3.Listener"
    SCOPED_ROUTE = "envoy.config.route.v3.ScopedRouteConfiguration"
    ROUTE = "envoy.config.route.v3.RouteConfiguration"
    VIRTUAL_HOST = "envoy.config.route.v3.VirtualHost"

    @property
    def type_url(self) -> str:
        """The `@type` of an Any and the `type_url` of a discovery request."""
        return TYPE_PREFIX + self.value


def resource_type(type_url: str) -> ResourceType | None:
    """The type with this URL, with or without the part up to the slash; None for anything else."""
    try:
        return ResourceType(type_url.rpartition("/")[2])
    except ValueError:
        return None
