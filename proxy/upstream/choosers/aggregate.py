"""`envoy.clusters.aggregate`: several clusters in an order, the next taking over as the health of the first falls.

Each cluster with hosts is a priority. How much a priority takes is Envoy's rule: up to its health, which is its
share of usable hosts times 1.4; what is left goes to the next. Clusters that are aggregates count as empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from proxy.base.services import ClusterLookup
from proxy.base.stream_info import StreamInfo
from proxy.upstream.host import Health, Host
from proxy.upstream.host_set import HostSet

if TYPE_CHECKING:
    from proxy.upstream.cluster import Cluster

#: Percent; Envoy's default for `overprovisioning_factor`.
_OVERPROVISIONING: Final = 140


class Aggregate:
    """Chooses the member, which chooses the host."""

    def __init__(self, cluster: Cluster, names: Sequence[str], clusters: ClusterLookup) -> None:
        self._cluster = cluster
        self._names = names
        self._clusters = clusters
        self._seen: list[HostSet] = []
        self._members: list[Cluster] = []
        #: Of each member, up to which percentage of the draw it serves.
        self._bounds: list[int] = []

    def choose(self, info: StreamInfo, request_hash: int | None) -> Host | None:
        """A host of a member (see `Host.cluster`), None if no member has hosts."""
        del info
        found = [self._clusters.get(name) for name in self._names]
        members = [member for member in found if member is not None and member.hosts]
        sets = [member.host_set for member in members]
        if sets != self._seen:
            self._seen = sets
            self._members = members
            self._bounds = bounds([load(one) for one in sets])
        if not members:
            self._cluster.stats.upstream_cx_none_healthy += 1
            return None
        drawn = self._cluster.draw() % 100
        for member, bound in zip(self._members, self._bounds, strict=True):
            if drawn < bound:
                return member.choose_host(request_hash)
        raise AssertionError("the bounds end at 100")


def load(hosts: HostSet) -> tuple[int, int, int]:
    """Health and degraded health in percent, and the number of hosts."""
    counted = sum(host.health is not Health.DRAINING for host in hosts.hosts)
    if not counted:
        return 0, 0, len(hosts.hosts)
    return (
        min(100, _OVERPROVISIONING * len(hosts.healthy) // counted),
        min(100, _OVERPROVISIONING * len(hosts.degraded) // counted),
        len(hosts.hosts),
    )


def bounds(loads: Sequence[tuple[int, int, int]]) -> list[int]:
    """What `Aggregate._bounds` is: healthy hosts serve first, then degraded ones; all if there are none."""
    available = min(100, sum(healthy + degraded for healthy, degraded, _ in loads))
    if not available:
        weights = [count for _, _, count in loads]
        available = sum(weights)
        shares = [100 * weight // available for weight in weights] if available else []
    else:
        shares = [0] * len(loads)
        left = 100
        for kind in (0, 1):
            for place, one in enumerate(loads):
                share = min(left, one[kind] * 100 // available)
                shares[place] += share
                left -= share
    if shares:
        first = next(place for place, share in enumerate(shares) if share)
        shares[first] += 100 - sum(shares)
    return [sum(shares[: place + 1]) for place in range(len(shares))]
