"""Tables. That every key lands on Envoy's host is a differential test."""

from collections import Counter

from proxy.base.address import Address
from proxy.upstream.host import Host
from proxy.upstream.lb.api import HashingConfig
from proxy.upstream.lb.hash_weights import WeightedHosts
from proxy.upstream.lb.maglev import build_table


def built(weights, size):
    hosts = [Host(Address("10.0.0.1", port)) for port in range(len(weights))]
    steps = build_table(WeightedHosts(hosts, list(weights)), HashingConfig(table_size=size))
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def test_every_place_is_claimed_in_proportion_to_the_weights():
    table = built([0.2, 0.3, 0.5], 1009)
    counts = Counter(table.pick(number).address.port for number in range(1009))
    assert sum(counts.values()) == 1009
    for port, share in enumerate((0.2, 0.3, 0.5)):
        assert abs(counts[port] - 1009 * share) <= 3
    assert table.numbers["maglev_lb.min_entries_per_host"] == counts[0]
    assert table.numbers["maglev_lb.max_entries_per_host"] == counts[2]


def test_few_keys_move_when_a_host_goes():
    before, after = built([0.25] * 4, 1009), built([1 / 3] * 3, 1009)
    kept = [number for number in range(1009) if before.pick(number).address.port != 3]
    moved = [number for number in kept if before.pick(number).address.port != after.pick(number).address.port]
    assert len(moved) < len(kept) / 5


def test_another_attempt_asks_elsewhere():
    table = built([0.25] * 4, 1009)
    assert len({table.pick(5, attempt).address.port for attempt in range(12)}) > 1
