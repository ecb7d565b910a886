"""What all policies share."""

import time

from proxy.base.address import Address
from proxy.base.runtime import Runtime
from proxy.upstream.cluster_stats import ClusterStats
from proxy.upstream.host import Host
from proxy.upstream.host_set import PrioritySet
from proxy.upstream.lb.api import LbConfig, LbPolicy
from proxy.upstream.lb.balancer import Surroundings, make_balancer


def made(runtime=None, **config):
    around = Surroundings(Runtime(runtime or {}), lambda: 0, time.monotonic, ClusterStats("c"))
    return make_balancer(LbConfig(**config), around, PrioritySet([Host(Address("10.0.0.1", 1))]))


def test_each_policy_has_a_balancer():
    for policy in LbPolicy:
        balancer = made(policy=policy)
        host = balancer.choose(3)
        assert (host is None) == (policy is LbPolicy.CLUSTER_PROVIDED)
        assert balancer.loads.healthy == (100,)
        assert balancer.level(0, False)(3, 0) is host


def test_the_runtime_may_set_the_panic_threshold():
    assert made().panic_threshold() == 50
    assert made({"upstream.healthy_panic_threshold": "7"}).panic_threshold() == 7
    assert made({"upstream.healthy_panic_threshold": "700"}).panic_threshold() == 100
