"""ROUND_ROBIN."""

from collections import Counter

from proxy.base.address import Address
from proxy.upstream.host import Host
from proxy.upstream.lb.round_robin import RoundRobin


def hosts(*weights):
    return [Host(Address("10.0.0.1", port), weight=weight) for port, weight in enumerate(weights, 1)]


def ports(picker, count):
    return [picker.pick(None).address.port for _ in range(count)]


def test_rotation_begins_at_a_random_place():
    assert ports(RoundRobin(hosts(1, 1, 1), lambda: 0), 4) == [1, 2, 3, 1]
    assert ports(RoundRobin(hosts(1, 1, 1), lambda: 5), 4) == [3, 1, 2, 3]


def test_equal_weights_are_a_plain_rotation():
    assert ports(RoundRobin(hosts(7, 7), lambda: 0), 4) == [1, 2, 1, 2]


def test_different_weights_hold_whatever_the_start():
    for start in range(6):
        picker = RoundRobin(hosts(1, 2, 3), lambda start=start: start)
        assert Counter(ports(picker, 60)) == {1: 10, 2: 20, 3: 30}


def test_a_change_of_the_hosts_does_not_begin_anew():
    members = hosts(1, 1, 1)
    picker = RoundRobin(members, lambda: 0)
    assert ports(picker, 1) == [1]
    picker.renew(members)
    assert ports(picker, 2) == [2, 3]


def test_a_host_that_leaves_a_schedule_is_picked_no_more_and_may_come_back():
    members = hosts(3, 1, 1)
    picker = RoundRobin(members, lambda: 0)
    ports(picker, 2)
    picker.health_changed(members[:2], members[2])
    assert Counter(ports(picker, 40)) == {1: 30, 2: 10}
    picker.health_changed(members, members[2])
    assert Counter(ports(picker, 50)) == {1: 30, 2: 10, 3: 10}


def test_the_last_host_gets_everything():
    members = hosts(3, 1)
    picker = RoundRobin(members, lambda: 0)
    picker.health_changed(members[1:], members[0])
    assert set(ports(picker, 5)) == {2}
