"""Zone-aware routing: traffic stays in the own zone as far as no host gets more than its share.

The share of the proxies of this kind that are in a zone (from the local cluster) is compared with the share
of the hosts that are there. Shares are in hundredths of a percent. Source: "Zone aware routing" of Envoy's
architecture overview; it concerns priority 0 only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from proxy.upstream.host import Host, Locality
from proxy.upstream.host_set import HostSet
from proxy.upstream.lb.api import Draw

_WHOLE = 10000


class ZoneRoute(NamedTuple):
    """How to spread requests over zones.

    `direct` sends all to the own zone (the first). Otherwise `local_share` goes there and the rest to a zone
    drawn by `residual`, which are running sums of what each has left.
    """

    direct: bool
    local_share: int = 0
    residual: tuple[int, ...] = ()


class ZoneRouteStats:
    """Where zone-aware routing counts; `ClusterStats` is one."""

    lb_local_cluster_not_ok: int
    lb_zone_cluster_too_small: int
    lb_zone_no_capacity_left: int
    lb_zone_routing_all_directly: int
    lb_zone_routing_cross_zone: int
    lb_zone_routing_sampled: int


def zone_route(
    hosts: HostSet,
    local: HostSet,
    min_cluster_size: int,
    force_local: int | None,
    by_weight: bool,
    stats: ZoneRouteStats,
) -> ZoneRoute | None:
    """The route for the hosts of priority 0; None if zones do not matter.

    `force_local` and `by_weight` are those of `proxy.upstream.lb.api.ZoneAwareConfig`.
    """
    upstream = hosts.localities
    if len(upstream.healthy) < 2:
        return None
    ours = local.localities
    if len(ours.hosts) < 2 and force_local is None:
        return None
    if not ours.local or not ours.hosts[0]:
        stats.lb_local_cluster_not_ok += 1
        return None
    if len(hosts.healthy) < min_cluster_size:
        stats.lb_zone_cluster_too_small += 1
        return None
    measure = _weight if by_weight else len
    counts = {group[0].locality: measure(group) for group in ours.healthy if group}
    local_shares, upstream_shares = _shares(upstream.healthy, counts, measure)
    if upstream.local and (
        (force_local is not None and len(upstream.healthy[0]) >= force_local)
        or (upstream_shares[0] > 0 and upstream_shares[0] >= local_shares[0])
    ):
        return ZoneRoute(True)
    share = 0
    if upstream.local and local_shares[0]:
        share = upstream_shares[0] * _WHOLE // local_shares[0]
    sums, total = [], 0
    for place, (here, there) in enumerate(zip(local_shares, upstream_shares, strict=True)):
        if place or not upstream.local:
            total += max(0, there - here)
        sums.append(total)
    return ZoneRoute(False, share, tuple(sums))


def choose_zone(route: ZoneRoute, draw: Draw, stats: ZoneRouteStats) -> int:
    """The index of the zone for one request."""
    if route.direct:
        stats.lb_zone_routing_all_directly += 1
        return 0
    if draw() % _WHOLE < route.local_share:
        stats.lb_zone_routing_sampled += 1
        return 0
    stats.lb_zone_routing_cross_zone += 1
    total = route.residual[-1]
    if not total:
        stats.lb_zone_no_capacity_left += 1
        return draw() % len(route.residual)
    drawn = draw() % total
    return next(place for place, bound in enumerate(route.residual) if drawn < bound)


def _weight(hosts: Sequence[Host]) -> int:
    return sum(host.weight for host in hosts)


def _shares(
    groups: Sequence[Sequence[Host]], counts: dict[Locality, int], measure: Callable[[Sequence[Host]], int]
) -> tuple[list[int], list[int]]:
    ours = sum(counts.values())
    total = sum(map(measure, groups))
    local_shares, upstream_shares = [], []
    for group in groups:
        here = counts.get(group[0].locality, 0) if group else 0
        local_shares.append(_WHOLE * here // ours if ours else 0)
        upstream_shares.append(_WHOLE * measure(group) // total if total else 0)
    return local_shares, upstream_shares
