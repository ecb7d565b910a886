"""ROUND_ROBIN."""

from collections import Counter

from proxy.base.address import Address
from proxy.upstream.host import Host
from proxy.upstream.lb.round_robin import round_robin


def hosts(*weights):
    return [Host(Address("10.0.0.1", port), weight=weight) for port, weight in enumerate(weights, 1)]


def ports(choose, count):
    return [choose(None).address.port for _ in range(count)]


def test_rotation_begins_at_a_random_place():
    assert ports(round_robin(hosts(1, 1, 1), lambda: 0), 4) == [1, 2, 3, 1]
    assert ports(round_robin(hosts(1, 1, 1), lambda: 5), 4) == [3, 1, 2, 3]


def test_equal_weights_are_a_plain_rotation():
    assert ports(round_robin(hosts(7, 7), lambda: 0), 4) == [1, 2, 1, 2]


def test_different_weights_hold_whatever_the_start():
    for start in range(6):
        assert Counter(ports(round_robin(hosts(1, 2, 3), lambda start=start: start), 60)) == {
            1: 10,
            2: 20,
            3: 30,
        }


def test_nobody_to_choose():
    assert round_robin([], lambda: 0)(None) is None
