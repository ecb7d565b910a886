"""Rings. That every key lands on Envoy's host is a differential test."""

from collections import Counter

import pytest

from proxy.base.address import Address
from proxy.upstream.host import Host
from proxy.upstream.lb.api import HashingConfig
from proxy.upstream.lb.hash_weights import WeightedHosts
from proxy.upstream.lb.ring_hash import Ring, build_ring


def built(weights, **config):
    hosts = [Host(Address("10.0.0.1", port)) for port in range(len(weights))]
    steps = build_ring(WeightedHosts(hosts, list(weights)), HashingConfig(**config))
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def test_a_hash_belongs_to_the_next_place():
    first, second = (Host(Address("10.0.0.1", port)) for port in (1, 2))
    ring = Ring([10, 20], [first, second], {})
    assert [ring.pick(number) for number in (0, 10, 11, 20, 21)] == [first, first, second, second, first]
    assert [ring.pick(10, attempt) for attempt in (0, 1, 2)] == [first, second, first]


@pytest.mark.parametrize(
    ("weights", "config", "size", "fewest", "most"),
    [
        ([0.5, 0.5], {}, 1024, 512, 512),
        ([0.25, 0.75], {"minimum_ring_size": 4}, 4, 1, 3),
        # The lightest has a whole number of places, so the ring grows.
        ([0.1, 0.9], {"minimum_ring_size": 5}, 10, 1, 9),
        ([0.25, 0.25, 0.25, 0.25], {"minimum_ring_size": 1, "maximum_ring_size": 2}, 2, 0, 1),
    ],
)
def test_the_numbers_of_places(weights, config, size, fewest, most):
    ring = built(weights, **config)
    assert ring.numbers == {
        "ring_hash_lb.size": size,
        "ring_hash_lb.min_hashes_per_host": fewest,
        "ring_hash_lb.max_hashes_per_host": most,
    }


def test_hosts_get_what_they_weigh():
    ring = built([0.2, 0.8], minimum_ring_size=5000)
    step = 2**64 // 10007
    counts = Counter(ring.pick(number * step).address.port for number in range(10007))
    assert abs(counts[0] / 10007 - 0.2) < 0.03
