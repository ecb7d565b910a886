"""Hashing over priorities."""

import time

import pytest

from proxy.base.address import Address
from proxy.base.runtime import Runtime
from proxy.upstream.cluster_stats import ClusterStats
from proxy.upstream.host import Health, Host
from proxy.upstream.host_set import PrioritySet
from proxy.upstream.lb.api import HashingConfig, LbConfig, LbPolicy
from proxy.upstream.lb.balancer import Surroundings, make_balancer

SMALL = HashingConfig(table_size=101, minimum_ring_size=64)


def made(policy, *hosts):
    around = Surroundings(Runtime(), lambda: 7, time.monotonic, ClusterStats("c"))
    return make_balancer(LbConfig(policy, hashing=SMALL), around, PrioritySet(hosts))


def host(port, priority=0, health=Health.HEALTHY):
    return Host(Address("10.0.0.1", port), priority=priority, health=health)


POLICIES = pytest.mark.parametrize("policy", [LbPolicy.RING_HASH, LbPolicy.MAGLEV])


@POLICIES
def test_the_hash_decides_the_priority_too(policy):
    balancer = made(policy, host(1), host(2, health=Health.UNHEALTHY), host(3, 1))
    assert {balancer.choose(100 * number + 69).address.port for number in range(9)} == {1}
    assert {balancer.choose(100 * number + 70).address.port for number in range(9)} == {3}


@POLICIES
def test_without_a_hash_a_random_number_is_one(policy):
    balancer = made(policy, host(1), host(2))
    assert balancer.choose(None) is balancer.choose(7)


@POLICIES
def test_panic_is_counted(policy):
    balancer = made(policy, *[host(port, health=Health.UNHEALTHY) for port in (1, 2, 3)])
    assert {balancer.choose(number * 2**57).address.port for number in range(128)} == {1, 2, 3}
    assert balancer.around.stats.lb_healthy_panic == 128


@POLICIES
def test_a_sick_host_gets_nothing(policy):
    first, second, third = members = [host(port) for port in (1, 2, 3)]
    balancer = made(policy, *members)
    second.health = Health.UNHEALTHY
    balancer.health_changed(balancer.priorities.with_health_of(second), second)
    assert {balancer.choose(number * 2**57) for number in range(128)} == {first, third}


@POLICIES
def test_degraded_hosts_serve_in_panic_only(policy):
    balancer = made(policy, host(1, health=Health.DEGRADED))
    assert balancer.choose(3) is None
    assert balancer.level(0, True)(3, 0) is None


def test_numbers_are_there_before_the_first_host():
    assert made(LbPolicy.MAGLEV).numbers() == {
        "maglev_lb.min_entries_per_host": 0,
        "maglev_lb.max_entries_per_host": 0,
    }
    assert made(LbPolicy.RING_HASH, host(1)).numbers()["ring_hash_lb.size"] == 64
