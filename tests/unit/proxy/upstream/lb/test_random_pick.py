"""RANDOM."""

from proxy.base.address import Address
from proxy.upstream.host import Host
from proxy.upstream.lb.random_pick import RandomPick


def test_the_draw_decides_and_weights_do_not():
    hosts = [Host(Address("10.0.0.1", port), weight=port * 10) for port in (1, 2, 3)]
    draws = iter([0, 4, 2**64 - 1])
    choose = RandomPick(hosts, draws.__next__).pick
    assert [choose(None).address.port for _ in range(3)] == [1, 2, 1]


def test_another_list():
    first, second = (Host(Address("10.0.0.1", port)) for port in (1, 2))
    picker = RandomPick([first, second], lambda: 1)
    assert picker.pick(None) is second
    picker.health_changed([first], second)
    assert picker.pick(None) is first
