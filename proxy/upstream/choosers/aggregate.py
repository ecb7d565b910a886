"""Aggregate clusters: the priorities of several clusters after one another, as if they were those of one.

Source: "Aggregate Cluster" of Envoy's architecture overview. A member's hosts are picked by the member's own
policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from proxy.base.services import ClusterLookup
from proxy.base.stream_info import StreamInfo
from proxy.upstream.host import Host
from proxy.upstream.host_set import HostSet
from proxy.upstream.lb.priority_load import priority_loads

if TYPE_CHECKING:
    from proxy.upstream.cluster import Cluster


class Aggregate:
    """Chooses the member and its priority; the member chooses the host."""

    def __init__(self, cluster: Cluster, names: Sequence[str], clusters: ClusterLookup) -> None:
        self._cluster = cluster
        self._names = names
        self._clusters = clusters
        self._seen: list[tuple[HostSet, ...]] = []
        #: Up to which percentage of the draw a member serves, with which priority, and whether with degraded hosts.
        self._parts: list[tuple[int, Cluster, int, bool]] = []

    def choose(self, info: StreamInfo, request_hash: int | None) -> Host | None:
        """A host of a member (see `Host.cluster`), None if no member has hosts."""
        del info
        found = [self._clusters.get(name) for name in self._names]
        members = [member for member in found if member is not None]
        sets = [member.priority_set.sets for member in members]
        if sets != self._seen:
            self._seen = sets
            self._parts = self._divide(members)
        if self._parts:
            drawn = self._cluster.draw() % 100
            for bound, member, priority, degraded in self._parts:
                if drawn < bound:
                    host: Host | None = member.balancer.level(priority, degraded)(request_hash, 0)
                    if host is not None:
                        return host
                    break
        self._cluster.stats.upstream_cx_none_healthy += 1
        return None

    def _divide(self, members: Sequence[Cluster]) -> list[tuple[int, Cluster, int, bool]]:
        places = [(member, one) for member in members for one in member.priority_set.sets if one.hosts]
        if not places:
            return []
        loads = priority_loads([one for _, one in places], self._cluster.balancer.panic_threshold())
        parts = []
        bound = 0
        for degraded in (False, True):
            shares = loads.degraded if degraded else loads.healthy
            for share, (member, one) in zip(shares, places, strict=True):
                bound += share
                if share:
                    parts.append((bound, member, one.priority, degraded))
        return parts
