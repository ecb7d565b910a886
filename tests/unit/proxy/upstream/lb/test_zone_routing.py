"""Zone-aware routing: the examples of Envoy's documentation."""

import random
from collections import Counter

import pytest

from proxy.base.address import Address
from proxy.upstream.cluster_stats import ClusterStats
from proxy.upstream.host import Host, Locality
from proxy.upstream.host_set import HostSet
from proxy.upstream.lb.zone_routing import ZoneRoute, choose_zone, zone_route

OWN = Locality("r", "a")


def hosts(weight=1, **zones):
    members = [
        Host(Address("10.0.0.1", port), weight=weight if zone == "a" else 1, locality=Locality("r", zone))
        for zone, count in zones.items()
        for port in range(count)
    ]
    return HostSet(members, own_locality=OWN)


def route(upstream, local, least=1, force=None, by_weight=False):
    stats = ClusterStats("c")
    return zone_route(upstream, local, least, force, by_weight, stats), stats


def test_all_stays_in_a_zone_that_has_enough_hosts():
    assert route(hosts(a=2, b=1), hosts(a=1, b=1))[0] == ZoneRoute(True)


def test_what_is_too_much_for_the_own_zone_goes_where_there_is_room():
    found, stats = route(hosts(a=1, b=2, c=1), hosts(a=2, b=1, c=1))
    assert found == ZoneRoute(False, 5000, (0, 2500, 2500))
    draw = random.Random(1)
    counts = Counter(choose_zone(found, lambda: draw.getrandbits(64), stats) for _ in range(2000))
    assert abs(counts[0] - 1000) < 120
    assert set(counts) == {0, 1}
    assert stats.lb_zone_routing_sampled == counts[0]
    assert stats.lb_zone_routing_cross_zone == counts[1]


def test_a_zone_without_hosts_sends_everything_away():
    assert route(hosts(b=1, c=1), hosts(a=1, b=1))[0] == ZoneRoute(False, 0, (0, 5000))


def test_without_room_anywhere_a_zone_is_drawn():
    stats = ClusterStats("c")
    assert choose_zone(ZoneRoute(False, 0, (0, 0)), lambda: 3, stats) == 1
    assert stats.lb_zone_no_capacity_left == 1


@pytest.mark.parametrize(
    ("upstream", "local", "counter"),
    [
        (hosts(a=3), hosts(a=1, b=1), None),
        (hosts(a=1, b=1), hosts(a=1), None),
        (hosts(a=1, b=1), hosts(b=1, c=1), "lb_local_cluster_not_ok"),
    ],
)
def test_where_zones_do_not_matter(upstream, local, counter):
    found, stats = route(upstream, local)
    assert found is None
    assert counter is None or getattr(stats, counter) == 1


def test_small_clusters_are_not_divided():
    found, stats = route(hosts(a=1, b=1), hosts(a=1, b=1), least=3)
    assert found is None
    assert stats.lb_zone_cluster_too_small == 1


def test_the_own_zone_may_be_forced():
    assert route(hosts(a=1, b=5), hosts(a=1), force=1)[0] == ZoneRoute(True)


def test_the_own_zone_is_forced_from_so_many_hosts_on():
    assert route(hosts(a=2, b=5), hosts(a=2, b=1), force=2)[0] == ZoneRoute(True)
    found = route(hosts(a=2, b=5), hosts(a=2, b=1), force=3)[0]
    assert (found.direct, found.local_share) == (False, 2857 * 10000 // 6666)


def test_zones_may_weigh_what_their_hosts_do():
    assert route(hosts(a=1, b=2), hosts(a=1, b=1))[0].local_share == 3333 * 10000 // 5000
    assert route(hosts(weight=2, a=1, b=2), hosts(a=1, b=1), by_weight=True)[0] == ZoneRoute(True)
