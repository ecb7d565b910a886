"""RANDOM."""

from proxy.base.address import Address
from proxy.upstream.host import Host
from proxy.upstream.lb.random_pick import random_pick


def test_the_draw_decides_and_weights_do_not():
    hosts = [Host(Address("10.0.0.1", port), weight=port * 10) for port in (1, 2, 3)]
    draws = iter([0, 4, 2**64 - 1])
    choose = random_pick(hosts, draws.__next__)
    assert [choose(None).address.port for _ in range(3)] == [1, 2, 1]


def test_nobody_to_choose():
    assert random_pick([], lambda: 0)(None) is None
