"""The present endpoints of clusters as `ClusterLoadAssignment`, for `/config_dump?include_eds`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from envoy.config.endpoint.v3 import endpoint_pb2

from proxy.admin.state import ClusterStatus, ConfigResource, HostStatus
from proxy.config.address_message import set_address


def endpoint_configs(
    clusters: Iterable[ClusterStatus], discovered: Iterable[ConfigResource] = ()
) -> Iterator[ConfigResource]:
    """One resource per cluster, its hosts grouped by priority and locality; `discovered` tells of versions."""
    known = {resource.name: resource for resource in discovered}
    for cluster in clusters:
        name = cluster.eds_service_name or cluster.name
        assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
        assignment.policy.overprovisioning_factor.value = 140
        groups: dict[tuple[int, str, str, str], Any] = {}
        for host in cluster.hosts:
            key = (host.priority, host.region, host.zone, host.sub_zone)
            group = groups.get(key)
            if group is None:
                group = groups[key] = assignment.endpoints.add(priority=host.priority)
                group.load_balancing_weight.SetInParent()
                group.locality.region, group.locality.zone, group.locality.sub_zone = key[1:]
            _add_host(group.lb_endpoints.add(), host)
        source = known.get(name) if cluster.added_via_api else None
        yield ConfigResource(
            name,
            assignment.SerializeToString(),
            source.updated if source is not None else 0,
            cluster.added_via_api,
            source.version_info if source is not None else "",
            refusal=source.refusal if source is not None else None,
        )


def _add_host(endpoint: Any, host: HostStatus) -> None:
    set_address(endpoint.endpoint.address, host.address)
    endpoint.endpoint.health_check_config.SetInParent()
    endpoint.endpoint.hostname = host.hostname
    endpoint.health_status = _health_status(host.health_flags)
    endpoint.load_balancing_weight.value = host.weight
    if host.canary:
        endpoint.metadata.filter_metadata["envoy.lb"]["canary"] = True


def _health_status(flags: Sequence[str]) -> int:
    """As Envoy's `coarseHealth`: 1 healthy, 2 unhealthy, 5 degraded."""
    if any(flag.startswith("/failed") for flag in flags):
        return 2
    return 5 if any(flag.startswith("/degraded") for flag in flags) else 1
