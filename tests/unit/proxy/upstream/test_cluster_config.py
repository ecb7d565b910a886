"""Endpoints become hosts."""

from proxy.base.address import Address
from proxy.upstream.cluster_config import EndpointConfig


def test_a_host_gets_its_own_counters_and_pools():
    config = EndpointConfig(Address("svc.test", 80), weight=2)
    first = config.host(Address("10.0.0.1", 80), "svc.test")
    second = config.host(Address("10.0.0.2", 80), "svc.test")
    first.stats.rq_total += 1
    first.pools[0] = object()
    assert second.stats.rq_total == 0
    assert second.pools == {}
    assert first.weight == 2
