"""When a schedule is needed."""

from proxy.base.address import Address
from proxy.upstream.host import Host
from proxy.upstream.lb.round_robin import RoundRobin


def hosts(*weights):
    return [Host(Address("10.0.0.1", port), weight=weight) for port, weight in enumerate(weights, 1)]


def picked(picker, count):
    return [picker.pick(None).address.port for _ in range(count)]


def test_new_weights_count_when_the_hosts_are_renewed():
    members = hosts(1, 1)
    picker = RoundRobin(members, lambda: 0)
    assert picked(picker, 4) == [1, 2, 1, 2]
    members[1].weight = 3
    picker.renew(members)
    assert picked(picker, 8).count(2) == 6
    members[0].weight = 3
    picker.renew(members)
    assert picked(picker, 8).count(2) == 4


def test_a_host_of_a_weight_that_nobody_had_makes_a_new_schedule():
    members = hosts(2, 3, 7)
    picker = RoundRobin(members[:2], lambda: 0)
    picker.health_changed(members, members[2])
    assert picked(picker, 24).count(3) == 14
