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
from proxy.upstream.lb.priority_load import PriorityLoads, priority_loads
from proxy.upstream.lb.retry_choice import RetryChoice

if TYPE_CHECKING:
    from proxy.router.hash_policy import HashPolicy
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
        self._places: list[tuple[Cluster, HostSet]] = []
        self._loads: PriorityLoads | None = None
        cluster.retry_by_stream = self.choose_again
        cluster.hashes = True
        cluster.member_hash_policy = self._hash_policy

    def choose(self, info: StreamInfo, request_hash: int | None) -> Host | None:
        """A host of a member (see `Host.cluster`), None if no member has hosts."""
        del info
        self._renew()
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

    def choose_again(self, info: StreamInfo, request_hash: int | None, retry: RetryChoice) -> Host | None:
        """The same for a retry. Its priority is drawn once, then the member may pick several hosts."""
        del info
        self._renew()
        host: Host | None = None
        if self._loads is not None:
            usual = self._loads
            loads = retry.loads([one for _, one in self._places], usual, self._place_of)
            parts = self._parts if loads is usual else self._divide(loads)
            drawn = self._cluster.draw() % 100
            _, member, priority, degraded = next(part for part in parts if drawn < part[0])
            pick = member.balancer.level(priority, degraded)
            host = retry.first_allowed(lambda attempt: pick(request_hash, attempt))
        if host is None:
            self._cluster.stats.upstream_cx_none_healthy += 1
        return host

    def _hash_policy(self, of_route: HashPolicy | None) -> HashPolicy | None:
        """None if no member asks for hashes."""
        self._renew()
        for _, member, _, _ in self._parts:
            if member.hashes:
                return member.config.lb.hashing.policy or self._cluster.config.hash_policy or of_route
        return None

    def _place_of(self, host: Host) -> int | None:
        for place, (member, one) in enumerate(self._places):
            if host.cluster is member and host.priority == one.priority:
                return place
        return None

    def _renew(self) -> None:
        found = [self._clusters.get(name) for name in self._names]
        members = [member for member in found if member is not None]
        sets = [member.priority_set.sets for member in members]
        if sets != self._seen:
            self._seen = sets
            self._places = places = [
                (member, one) for member in members for one in member.priority_set.sets if one.hosts
            ]
            self._loads = None
            self._parts = []
            if places:
                threshold = self._cluster.balancer.panic_threshold()
                self._loads = priority_loads([one for _, one in places], threshold)
                self._parts = self._divide(self._loads)

    def _divide(self, loads: PriorityLoads) -> list[tuple[int, Cluster, int, bool]]:
        parts = []
        bound = 0
        for degraded in (False, True):
            shares = loads.degraded if degraded else loads.healthy
            for share, (member, one) in zip(shares, self._places, strict=True):
                bound += share
                if share:
                    parts.append((bound, member, one.priority, degraded))
        return parts
