"""What HDS asks for and is told, in terms of clusters and of flags of hosts. Pure: nothing is checked here.

Source: envoy/service/health/v3/hds.proto; Envoy's `HdsDelegate` and `HdsCluster`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from envoy.config.cluster.v3 import cluster_pb2
from envoy.service.health.v3 import hds_pb2

from proxy.upstream.health_flags import Health, HealthFlag, coarse

_CONNECT_SECONDS: Final = 5
_TIMED_OUT: Final = int(HealthFlag.ACTIVE_HC_TIMEOUT)


def cluster_of(wanted: Any, check: Any) -> Any:
    """The `Cluster` whose hosts a `ClusterHealthCheck` wants checked by one of its `HealthCheck`s, or None."""
    cluster = cluster_pb2.Cluster(name=wanted.cluster_name, type=cluster_pb2.Cluster.STATIC)
    cluster.connect_timeout.seconds = _CONNECT_SECONDS
    if check is not None:
        cluster.health_checks.append(check)
    cluster.transport_socket_matches.extend(wanted.transport_socket_matches)
    if wanted.HasField("upstream_bind_config"):
        cluster.upstream_bind_config.CopyFrom(wanted.upstream_bind_config)
    cluster.load_assignment.cluster_name = wanted.cluster_name
    for place in wanted.locality_endpoints:
        locality = cluster.load_assignment.endpoints.add()
        locality.locality.CopyFrom(place.locality)
        for endpoint in place.endpoints:
            locality.lb_endpoints.add().endpoint.CopyFrom(endpoint)
    return cluster


def first_of_each_name(wanted: Iterable[Any], repeated: Callable[[str], None]) -> list[Any]:
    """The `ClusterHealthCheck`s that count: `repeated` hears of names that come again, as in Envoy."""
    found: list[Any] = []
    names: set[str] = set()
    for one in wanted:
        if one.cluster_name and one.cluster_name in names:
            repeated(one.cluster_name)
            continue
        names.add(one.cluster_name)
        found.append(one)
    return found


def health_of(flags: int) -> int:
    """What is told of a host with these flags, a `core.v3.HealthStatus`: degraded is unhealthy, as in Envoy."""
    if coarse(flags) is Health.HEALTHY:
        return int(Health.HEALTHY)
    return int(Health.TIMEOUT if flags & _TIMED_OUT else Health.UNHEALTHY)


def response(clusters: Iterable[tuple[Any, Sequence[int]]]) -> Any:
    """The `EndpointHealthResponse` of `ClusterHealthCheck`s, each with the flags of its endpoints in order."""
    message = hds_pb2.EndpointHealthResponse()
    for wanted, flags in clusters:
        next_flags = iter(flags)
        told = message.cluster_endpoints_health.add(cluster_name=wanted.cluster_name)
        for place in wanted.locality_endpoints:
            locality = told.locality_endpoints_health.add()
            locality.locality.CopyFrom(place.locality)
            for endpoint in place.endpoints:
                known = next(next_flags)
                if endpoint.health_check_config.disable_active_health_check:
                    continue
                health = locality.endpoints_health.add(health_status=health_of(known))
                health.endpoint.address.CopyFrom(endpoint.address)
                # Older servers read this list.
                message.endpoints_health.add().CopyFrom(health)
    return message
