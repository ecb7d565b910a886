"""Failover between priorities: the tables of Envoy's documentation, and panic."""

import pytest

from proxy.base.address import Address
from proxy.upstream.host import Health, Host
from proxy.upstream.host_set import AssignmentPolicy, PrioritySet
from proxy.upstream.lb.priority_load import available, priority_loads


def priorities(*levels, **policy):
    """Each level is (healthy, degraded, unhealthy) numbers of hosts."""
    kinds = (Health.HEALTHY, Health.DEGRADED, Health.UNHEALTHY)
    hosts = [
        Host(Address("10.0.0.1", 1), health=kind, priority=priority)
        for priority, level in enumerate(levels)
        for kind, count in zip(kinds, level, strict=True)
        for _ in range(count)
    ]
    return PrioritySet(hosts, AssignmentPolicy(**policy)).sets


def level(healthy, degraded=0):
    return (healthy, degraded, 100 - healthy - degraded)


@pytest.mark.parametrize(
    ("levels", "healthy"),
    [
        # "Priority levels" of the documentation: percent healthy, percent of the traffic.
        ([100, 100], (100, 0)),
        ([72, 72], (100, 0)),
        ([71, 71], (99, 1)),
        ([50, 50], (70, 30)),
        ([25, 100], (35, 65)),
        ([100, 100, 100], (100, 0, 0)),
        ([72, 72, 100], (100, 0, 0)),
        ([71, 71, 100], (99, 1, 0)),
        ([50, 50, 100], (70, 30, 0)),
        ([25, 25, 100], (35, 35, 30)),
    ],
)
def test_healthy_hosts_take_the_load_of_the_priority_before(levels, healthy):
    loads = priority_loads(priorities(*map(level, levels)), 50)
    assert loads.healthy == healthy
    assert not any(loads.panic)
    assert not any(loads.degraded)


@pytest.mark.parametrize(
    ("levels", "healthy", "degraded"),
    [
        ([(100, 0)], (100,), (0,)),
        ([(50, 50)], (70,), (30,)),
        ([(0, 100)], (0,), (100,)),
        # Healthy hosts of a later priority come before degraded ones of the first.
        ([(0, 100), (100, 0)], (0, 100), (0, 0)),
        ([(50, 50), (10, 90)], (70, 14), (16, 0)),
    ],
)
def test_degraded_hosts_take_what_healthy_ones_cannot(levels, healthy, degraded):
    loads = priority_loads(priorities(*[level(*one) for one in levels]), 50)
    assert (loads.healthy, loads.degraded) == (healthy, degraded)


@pytest.mark.parametrize(
    ("levels", "healthy", "panic"),
    [
        # "Panic threshold" of the documentation.
        ([72, 72], (100, 0), (False, False)),
        ([71, 71], (99, 1), (False, False)),
        ([50, 60], (70, 30), (False, False)),
        ([25, 100], (35, 65), (False, False)),
        ([25, 25], (50, 50), (True, True)),
        ([5, 65], (8, 92), (True, False)),
    ],
)
def test_panic_is_per_priority_and_only_when_all_together_are_not_enough(levels, healthy, panic):
    loads = priority_loads(priorities(*map(level, levels)), 50)
    assert loads.panic == panic
    assert loads.healthy == healthy


def test_in_total_panic_the_load_follows_the_number_of_hosts():
    loads = priority_loads(priorities((0, 0, 1), (0, 0, 2)), 50)
    assert loads.healthy == (34, 66)
    assert loads.panic == (True, True)


def test_without_panic_nobody_serves_for_the_unhealthy():
    assert priority_loads(priorities((0, 0, 1)), 0) == ((100,), (0,), (False,))
    assert priority_loads(priorities(), 50) == ((100,), (0,), (True,))


def test_the_factor_and_weighted_health():
    assert available(priorities((50, 0, 50), overprovisioning_factor=100)[0]) == (50, 0)
    one, other = (
        Host(Address("10.0.0.1", 1), weight=weight, health=health)
        for weight, health in ((9, Health.HEALTHY), (91, Health.UNHEALTHY))
    )
    assert available(PrioritySet([one, other]).sets[0]) == (70, 0)
    weighted = AssignmentPolicy(weighted_priority_health=True)
    assert available(PrioritySet([one, other], weighted).sets[0]) == (12, 0)


def test_draining_hosts_do_not_count():
    hosts = [Host(Address("10.0.0.1", 1), health=one) for one in (Health.HEALTHY, Health.DRAINING)]
    assert available(PrioritySet(hosts).sets[0]) == (100, 0)
    assert available(PrioritySet(hosts[1:]).sets[0]) == (0, 0)
