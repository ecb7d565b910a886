"""Counts what updates of endpoints change: `cluster_manager.cluster_updated`, `cluster.<name>.update_no_rebuild`.

Envoy builds anew what balances a cluster where something differs, and counts either.
"""

from __future__ import annotations

from typing import Any

from envoy.config.endpoint.v3 import endpoint_pb2

from proxy.admin.server_stats import ClusterManagerStats
from proxy.discovery.clusters import ClusterTable
from proxy.discovery.wanted import Wanted


class HostChanges:
    """Called with endpoints whose present value is about to be replaced. Clusters that warm do not count."""

    def __init__(self, clusters: ClusterTable, stats: ClusterManagerStats) -> None:
        self._clusters = clusters
        self._stats = stats

    def __call__(self, entry: Wanted, value: bytes) -> None:
        """`value` is a sound `ClusterLoadAssignment`."""
        active = sum(map(self._clusters.holds, entry.holders))
        if active:
            if entry.value is not None and _hosts(entry.value) == _hosts(value):
                entry.unbuilt += 1
            else:
                self._stats.cluster_updated += active


def _hosts(body: bytes) -> tuple[Any, ...]:
    """What makes the hosts of a serialised `ClusterLoadAssignment`: the order of localities and hosts does not."""
    message = endpoint_pb2.ClusterLoadAssignment.FromString(body)
    seen: set[bytes] = set()
    groups: dict[tuple[int, bytes], tuple[list[int], list[bytes]]] = {}
    for group in message.endpoints:
        if not group.lb_endpoints:
            continue
        locality = group.locality.SerializeToString(deterministic=True)
        weights, hosts = groups.setdefault((group.priority, locality), ([], []))
        weights.append(group.load_balancing_weight.value)
        for one in group.lb_endpoints:
            address = one.endpoint.address.SerializeToString(deterministic=True)
            if address not in seen:
                seen.add(address)
                hosts.append(one.SerializeToString(deterministic=True))
    for _, hosts in groups.values():
        hosts.sort()
    policy = message.policy
    return policy.overprovisioning_factor.value, policy.weighted_priority_health, groups
