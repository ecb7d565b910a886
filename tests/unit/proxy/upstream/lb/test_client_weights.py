"""Weights by load reports: when they count and when they end."""

from collections import Counter

from envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3 import (
    client_side_weighted_round_robin_pb2,
)

from proxy.base.address import Address
from proxy.base.headers import HeaderMap
from proxy.base.runtime import Runtime
from proxy.upstream.cluster import Cluster
from proxy.upstream.host import Host
from proxy.upstream.lb.client_weights import ClientWeights, ClientWeightsConfig
from tests.support.cluster_messages import compiled, endpoint


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def report(rate):
    headers = HeaderMap()
    headers.set("endpoint-load-metrics", f"TEXT rps_fractional={rate},cpu_utilization=1")
    return headers


def made(count):
    hosts = [Host(Address("10.0.0.1", port)) for port in range(count)]
    clock = Clock()
    changes = []
    weights = ClientWeights(ClientWeightsConfig(), lambda: hosts, clock, lambda: changes.append(1))
    weights.update()
    return hosts, clock, weights, changes


def test_a_report_counts_after_the_blackout_and_until_it_expires():
    hosts, clock, weights, changes = made(2)
    weights.on_response(hosts[0], report(30))
    clock.now += 5.0
    weights.update()
    assert [host.weight for host in hosts] == [1, 1]
    clock.now += 5.0
    weights.update()
    # Who has not reported is taken for a usual one.
    assert [host.weight for host in hosts] == [30, 30]
    assert len(changes) == 1
    clock.now += 180.0
    weights.update()
    assert [host.weight for host in hosts] == [1, 1]


def test_hosts_without_a_report_weigh_the_median():
    hosts, clock, weights, _ = made(4)
    for host, rate in zip(hosts, (10, 20, 90), strict=False):
        weights.on_response(host, report(rate))
    clock.now += 10.0
    weights.update()
    assert [host.weight for host in hosts] == [10, 20, 90, 20]


def test_reports_that_say_nothing_change_nothing():
    hosts, clock, weights, changes = made(1)
    weights.on_response(hosts[0], HeaderMap())
    clock.now += 10.0
    weights.update()
    assert not changes
    assert hosts[0].load_reports is weights


def test_a_cluster_rotates_by_the_weights():
    message = client_side_weighted_round_robin_pb2.ClientSideWeightedRoundRobin
    policy = {
        "@type": f"type.googleapis.com/{message.DESCRIPTOR.full_name}",
        "blackout_period": "0s",
    }
    config = compiled(
        endpoint(port=1),
        endpoint(port=2),
        load_balancing_policy={
            "policies": [{"typed_extension_config": {"name": "p", "typed_config": policy}}]
        },
    )
    clock = Clock()
    cluster = Cluster(config, Runtime(), lambda: 0, clock=clock)
    for host, rate in zip(cluster.hosts, (10, 30), strict=True):
        host.load_reports.on_response(host, report(rate))
    cluster.client_weights.update()
    assert Counter(cluster.choose_host(None).address.port for _ in range(40)) == {1: 10, 2: 30}
