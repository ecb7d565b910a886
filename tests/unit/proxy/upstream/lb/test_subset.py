"""Subsets: grouping, fallbacks, and what a change of the hosts does to them."""

import random
import time

import pytest
from envoy.config.core.v3 import base_pb2
from google.protobuf import json_format

from proxy.base.address import Address
from proxy.base.runtime import Runtime
from proxy.upstream.cluster_stats import ClusterStats
from proxy.upstream.host import Health, Host, Locality
from proxy.upstream.host_set import PrioritySet
from proxy.upstream.lb.api import LbConfig, LbPolicy, SubsetConfig, SubsetFallback, SubsetSelector
from proxy.upstream.lb.balancer import Surroundings
from proxy.upstream.lb.subset import SubsetBalancer, comparable

DRAW = random.Random(3)


def host(port, zone="a", weight=0, **values):
    metadata = json_format.ParseDict({"filter_metadata": {"envoy.lb": values}}, base_pb2.Metadata())
    return Host(
        Address("10.0.0.1", port), metadata=metadata, locality=Locality(zone=zone), locality_weight=weight
    )


def balancer(*hosts, locality_weighted=False, **terms):
    terms.setdefault("selectors", (SubsetSelector(("v",)),))
    config = LbConfig(LbPolicy.RANDOM, locality_weighted=locality_weighted, subset=SubsetConfig(**terms))
    around = Surroundings(Runtime(), lambda: DRAW.getrandbits(64), time.monotonic, ClusterStats("c"))
    return SubsetBalancer(config, around, PrioritySet(hosts))


def served(of, criteria, count=60):
    found = {of.choose_for(criteria, None) for _ in range(count)}
    return {None if one is None else one.address.port for one in found}


def test_hosts_with_the_value_serve():
    of = balancer(host(1, v="1"), host(2, v="2"), host(3, v="1"))
    assert served(of, {"v": "1"}) == {1, 3}
    assert served(of, {"v": "9"}) == {None}
    assert served(of, None) == {None}
    assert of.around.stats.lb_subsets_active == 2


def test_unhealthy_hosts_of_a_subset_serve_in_its_own_panic_only():
    hosts = [host(port, v="1") for port in (1, 2, 3)]
    of = balancer(*hosts, host(4, v="2"))
    assert served(of, {"v": "1"}) == {1, 2, 3}
    hosts[0].health = Health.UNHEALTHY
    of.health_changed(of.priorities.with_health_of(hosts[0]), hosts[0])
    assert served(of, {"v": "1"}) == {2, 3}
    for one in hosts[1:]:
        one.health = Health.UNHEALTHY
        of.health_changed(of.priorities.with_health_of(one), one)
    assert served(of, {"v": "1"}) == {1, 2, 3}


def test_subsets_come_and_go_with_the_hosts():
    first, second = host(1, v="1"), host(2, v="2")
    of = balancer(first)
    assert served(of, {"v": "1"}) == {1}
    of.renew(PrioritySet([second]))
    assert served(of, {"v": "1"}) == {None}
    assert served(of, {"v": "2"}) == {2}
    stats = of.around.stats
    assert (stats.lb_subsets_created, stats.lb_subsets_removed, stats.lb_subsets_active) == (2, 1, 1)


def test_new_metadata_of_a_host_counts():
    moving = host(1, v="1")
    of = balancer(moving, host(2, v="2"))
    moving.metadata = host(1, v="2").metadata
    of.renew(of.priorities)
    assert served(of, {"v": "2"}) == {1, 2}


def test_redundant_keys_may_be_left_out():
    selectors = (SubsetSelector(("stage", "v")), SubsetSelector(("v",)))
    hosts = [host(1, v="1"), host(2, v="1", stage="p")]
    asked = {"v": "1", "stage": "p", "more": "x"}
    assert served(balancer(*hosts, selectors=selectors), asked) == {None}
    assert served(balancer(*hosts, selectors=selectors, allow_redundant_keys=True), asked) == {2}


def test_a_selector_that_begins_an_earlier_one_has_no_fallback_of_its_own():
    selectors = (
        SubsetSelector(("a", "b")),
        SubsetSelector(("a",), fallback=SubsetFallback.ANY_ENDPOINT),
    )
    assert served(balancer(host(1, v="1"), selectors=selectors), {"a": "x"}) == {None}
    assert served(balancer(host(1, v="1"), selectors=selectors[1:]), {"a": "x"}) == {1}


@pytest.mark.parametrize(("scale", "share"), [(False, 0.5), (True, 0.2)])
def test_localities_weigh_as_much_as_is_left_of_them(scale, share):
    hosts = [
        host(1, "a", 100, v="1"),
        *[host(port, "a", 100, v="2") for port in (2, 3, 4)],
        host(5, "b", 100, v="1"),
    ]
    of = balancer(*hosts, locality_weighted=True, locality_weight_aware=True, scale_locality_weight=scale)
    picked = [of.choose_for({"v": "1"}, None).address.port for _ in range(500)]
    assert abs(picked.count(1) / 500 - share) < 0.05


def test_values_of_different_kinds_differ():
    assert comparable(True) != comparable(1)
    assert comparable(1) == comparable(1.0)
    assert comparable("1") != comparable(1)
    assert comparable({"a": 1, "b": 2}) == comparable({"b": 2, "a": 1})
