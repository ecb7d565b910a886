"""Which list a request picks from."""

import random
import time
from collections import Counter

import pytest

from proxy.base.address import Address
from proxy.base.runtime import Runtime
from proxy.upstream.cluster_stats import ClusterStats
from proxy.upstream.host import Health, Host, Locality
from proxy.upstream.host_set import HostSet, PrioritySet
from proxy.upstream.lb.api import LbConfig, LbPolicy, ZoneAwareConfig
from proxy.upstream.lb.balancer import Surroundings
from proxy.upstream.lb.zone_aware import ZoneAwareBalancer

EAST, WEST = Locality("r", "e"), Locality("r", "w")
LISTS = [LbPolicy.ROUND_ROBIN, LbPolicy.LEAST_REQUEST, LbPolicy.RANDOM]


def host(port, health=Health.HEALTHY, priority=0, locality=EAST, locality_weight=0, weight=1):
    return Host(
        Address("10.0.0.1", port), "", weight, priority, health, locality, locality_weight=locality_weight
    )


def made(*hosts, local=None, runtime=None, own=EAST, **config):
    draw = random.Random(5)
    around = Surroundings(
        Runtime(runtime or {}),
        lambda: draw.getrandbits(64),
        time.monotonic,
        ClusterStats("c"),
        local=lambda: local,
    )
    return ZoneAwareBalancer(LbConfig(**config), around, PrioritySet(hosts, own_locality=own))


def counted(balancer, count=1000):
    found = [balancer.choose(None) for _ in range(count)]
    return Counter(None if one is None else one.address.port for one in found)


@pytest.mark.parametrize("policy", LISTS)
def test_traffic_fails_over_by_load(policy):
    counts = counted(made(host(1), host(2, Health.UNHEALTHY), host(3, priority=1), policy=policy))
    assert set(counts) == {1, 3}
    assert abs(counts[1] - 700) < 80


@pytest.mark.parametrize("policy", LISTS)
def test_one_host_after_the_other_falls_ill_and_recovers(policy):
    members = [host(port, weight=port) for port in (1, 2, 3)]
    balancer = made(*members, policy=policy)
    for ill in (members[0], members[2]):
        ill.health = Health.UNHEALTHY
        balancer.health_changed(balancer.priorities.with_health_of(ill), ill)
        expected = {one.address.port for one in members if one.healthy} if ill is members[0] else {1, 2, 3}
        assert set(counted(balancer, 60)) == expected
    assert balancer.around.stats.lb_healthy_panic == 60
    for ill in (members[0], members[2]):
        ill.health = Health.HEALTHY
        balancer.health_changed(balancer.priorities.with_health_of(ill), ill)
    assert set(counted(balancer, 60)) == {1, 2, 3}


def test_a_retry_may_choose_by_other_loads():
    balancer = made(host(1), host(2, priority=1))
    loads = balancer.loads._replace(healthy=(0, 100))
    assert balancer.choose_by(loads, None).address.port == 2
    assert balancer.choose(None).address.port == 1
    assert balancer.choose_by(loads._replace(healthy=(0, 0)), None) is None


def test_traffic_may_fail_in_panic():
    sick = host(1, Health.UNHEALTHY)
    balancer = made(sick, zone_aware=ZoneAwareConfig(fail_traffic_on_panic=True))
    assert counted(balancer, 3) == {None: 3}
    assert balancer.around.stats.lb_healthy_panic == 3


def test_localities_are_drawn_by_weight_and_health():
    members = [
        host(1, locality=EAST, locality_weight=1),
        host(2, Health.UNHEALTHY, locality=EAST, locality_weight=1),
        host(3, locality=WEST, locality_weight=1),
        host(4, locality=WEST, locality_weight=1),
    ]
    counts = counted(made(*members, locality_weighted=True))
    assert abs(counts[1] - 1000 * 0.7 / 1.7) < 3


def test_localities_without_weight_are_taken_together():
    assert set(counted(made(host(1), host(2, locality=WEST), locality_weighted=True))) == {1, 2}


LOCAL = HostSet([host(8), host(9, locality=WEST)], own_locality=EAST)
ZONES = {"zone_aware": ZoneAwareConfig(min_cluster_size=1)}


def test_traffic_stays_in_the_own_zone():
    members = [host(1), host(2), host(3, locality=WEST)]
    balancer = made(*members, local=LOCAL, **ZONES)
    assert set(counted(balancer)) == {1, 2}
    stats = balancer.around.stats
    assert (stats.lb_recalculate_zone_structures, stats.lb_zone_routing_all_directly) == (1, 1000)
    # Another priority is no zone of this one.
    for one in members:
        one.priority = 1
    assert set(counted(made(*members, local=LOCAL, **ZONES))) == {1, 2, 3}


@pytest.mark.parametrize(
    "off",
    [
        {"zone_aware": ZoneAwareConfig(routing_enabled=0, min_cluster_size=1)},
        {"runtime": {"upstream.zone_routing.enabled": "0"}, **ZONES},
        {"runtime": {"upstream.zone_routing.min_cluster_size": "9"}, **ZONES},
    ],
)
def test_zones_may_be_ignored(off):
    members = [host(1), host(2), host(3, locality=WEST)]
    assert set(counted(made(*members, local=LOCAL, **off))) == {1, 2, 3}


def test_a_local_cluster_in_panic_is_not_believed():
    ill = [host(8)] + [host(port, Health.UNHEALTHY, locality=WEST) for port in range(5)]
    local = HostSet(ill, own_locality=EAST)
    members = [host(1), host(2), host(3, locality=WEST)]
    balancer = made(*members, local=local, zone_aware=ZoneAwareConfig(min_cluster_size=1, force_local=1))
    assert set(counted(balancer, 60)) == {1, 2, 3}
    assert balancer.around.stats.lb_local_cluster_not_ok == 60
