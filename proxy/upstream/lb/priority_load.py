"""How much of the traffic each priority gets, by the health of its hosts: Envoy's failover between priorities.

Source: "Priority levels" and "Panic threshold" of Envoy's architecture overview; the arithmetic is in whole
percent, with what rounding leaves going to the first priority that is available.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from proxy.upstream.host import Host
from proxy.upstream.host_set import HostSet


class PriorityLoads(NamedTuple):
    """Percent of the traffic for the healthy and for the degraded hosts of each priority: together 100.

    `panic` tells of each priority whether its health is taken for wrong, so that all of its hosts serve.
    """

    healthy: tuple[int, ...]
    degraded: tuple[int, ...]
    panic: tuple[bool, ...]


def priority_loads(sets: Sequence[HostSet], panic_threshold: int) -> PriorityLoads:
    """The loads of at least one priority; `panic_threshold` is a percentage, 0 turns panic off."""
    availability = [available(one) for one in sets]
    total = min(100, sum(healthy + degraded for healthy, degraded in availability))
    calm = (False,) * len(sets)
    nothing = (0,) * len(sets)
    if not total and not panic_threshold:
        return PriorityLoads((100, *nothing[1:]), nothing, calm)
    panic = calm if total == 100 else tuple([in_panic(one, panic_threshold) for one in sets])
    if all(panic):
        return PriorityLoads(_by_size(sets), nothing, panic)
    healthy, left = _shares([one[0] for one in availability], 100, total)
    degraded, left = _shares([one[1] for one in availability], left, total)
    if left:
        first = next((place for place, one in enumerate(availability) if one[0]), None)
        if first is not None:
            healthy[first] += left
        else:
            degraded[next(place for place, one in enumerate(availability) if one[1])] += left
    return PriorityLoads(tuple(healthy), tuple(degraded), panic)


def available(hosts: HostSet) -> tuple[int, int]:
    """Percent of traffic that the healthy and that the degraded hosts are taken to bear, each up to 100."""
    if len(hosts.hosts) == len(hosts.excluded):
        return 0, 0
    policy = hosts.policy
    if policy.weighted_priority_health:
        healthy, degraded = _weight(hosts.healthy), _weight(hosts.degraded)
        counted = _weight(hosts.hosts) - _weight(hosts.excluded)
    else:
        healthy, degraded = len(hosts.healthy), len(hosts.degraded)
        counted = len(hosts.hosts) - len(hosts.excluded)
    factor = policy.overprovisioning_factor
    return min(100, factor * healthy // counted), min(100, factor * degraded // counted)


def in_panic(hosts: HostSet, threshold: int) -> bool:
    """Whether fewer than `threshold` percent of the hosts are available."""
    counted = len(hosts.hosts) - len(hosts.excluded)
    if not counted:
        return threshold > 0
    return 100.0 * len(hosts.healthy) / counted + 100.0 * len(hosts.degraded) / counted < threshold


def _weight(hosts: Sequence[Host]) -> int:
    return sum([host.weight for host in hosts])


def _shares(availability: Sequence[int], left: int, total: int) -> tuple[list[int], int]:
    shares = []
    for one in availability:
        share = min(left, one * 100 // total)
        shares.append(share)
        left -= share
    return shares, left


def _by_size(sets: Sequence[HostSet]) -> tuple[int, ...]:
    """The loads where no priority's health is believed."""
    total = sum(len(one.hosts) for one in sets)
    if not total:
        return (100, *(0 for _ in sets[1:]))
    shares = [100 * len(one.hosts) // total for one in sets]
    first = next(place for place, one in enumerate(sets) if one.hosts)
    shares[first] += 100 - sum(shares)
    return tuple(shares)
