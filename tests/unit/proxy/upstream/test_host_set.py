"""Hosts by priority, health and locality."""

from proxy.base.address import Address
from proxy.upstream.host import Health, Host, Locality
from proxy.upstream.host_set import HostSet, PrioritySet

EAST, WEST = Locality("r", "east"), Locality("r", "west")


def host(port, health=Health.HEALTHY, priority=0, locality=EAST, weight=0):
    return Host(
        Address("10.0.0.1", port),
        health=health,
        priority=priority,
        locality=locality,
        locality_weight=weight,
    )


def test_hosts_are_sorted_by_health():
    good, bad, slow, going = (
        host(port, health)
        for port, health in enumerate((Health.UNKNOWN, Health.TIMEOUT, Health.DEGRADED, Health.DRAINING))
    )
    hosts = HostSet([good, bad, slow, going])
    assert hosts.healthy == (good,)
    assert hosts.degraded == (slow,)
    assert hosts.excluded == (going,)


def test_one_set_for_each_priority_and_at_least_one():
    first, third = host(1), host(2, priority=2)
    assert [one.hosts for one in PrioritySet([third, first]).sets] == [(first,), (), (third,)]
    assert PrioritySet([third, first]).hosts == (third, first)
    assert [one.hosts for one in PrioritySet().sets] == [()]


def test_a_change_of_health_leaves_other_lists_as_they_are():
    first, second, other = host(1), host(2), host(3, priority=1)
    before = PrioritySet([first, second, other])
    first.health = Health.DEGRADED
    after = before.with_health_of(first)
    assert after.sets[1] is before.sets[1]
    assert after.sets[0].healthy == (second,)
    assert after.sets[0].degraded == (first,)
    assert after.sets[0].excluded is before.sets[0].excluded
    first.health = Health.HEALTHY
    assert after.with_health_of(first).sets[0].healthy == (first, second)


def test_localities_are_in_order_with_the_own_one_first():
    east, west = host(1, locality=EAST, weight=3), host(2, Health.DRAINING, locality=WEST, weight=4)
    places = HostSet([west, east]).localities
    assert places.names == [EAST, WEST]
    assert not places.local
    assert places.weights == [3, 4]
    assert places.excluded == [(), (west,)]
    own = HostSet([west, east], own_locality=WEST).localities
    assert own.names == [WEST, EAST]
    assert own.local
    assert not HostSet([east], own_locality=WEST).localities.local


def test_localities_follow_a_change_of_health():
    east, west = host(1, locality=EAST), host(2, locality=WEST)
    hosts = HostSet([east, west])
    assert hosts.localities.healthy == [(east,), (west,)]
    west.health = Health.UNHEALTHY
    assert hosts.with_health_of(west).localities.healthy == [(east,), ()]


def test_a_subset_keeps_the_priorities():
    first, second, third = host(1), host(2), host(3, priority=1)
    part = PrioritySet([first, second, third]).subset(lambda one: one is not second)
    assert [one.hosts for one in part.sets] == [(first,), (third,)]
    assert part.hosts == (first, third)
    assert part.count("healthy") == 2
