"""LEAST_REQUEST."""

import random
from collections import Counter

from proxy.base.address import Address
from proxy.upstream.host import Host
from proxy.upstream.lb.least_request import LeastRequest


def hosts(*weights):
    return [Host(Address("10.0.0.1", port), weight=weight) for port, weight in enumerate(weights, 1)]


def test_the_less_busy_of_two_drawn_hosts_serves():
    members = hosts(1, 1, 1)
    members[0].stats.rq_active = 2
    draws = iter([0, 2, 2, 0, 0, 0])
    choose = LeastRequest(members, draws.__next__).pick
    assert [choose(None).address.port for _ in range(3)] == [3, 3, 1]


def test_more_choices_find_the_idle_host_more_often():
    members = hosts(1, 1, 1, 1)
    for host in members[1:]:
        host.stats.rq_active = 3
    draw = random.Random(7).getrandbits
    share = {}
    for count in (2, 4):
        choose = LeastRequest(members, lambda: draw(64), choice_count=count).pick
        share[count] = Counter(choose(None).address.port for _ in range(4000))[1] / 4000
    assert abs(share[2] - (1 - (3 / 4) ** 2)) < 0.03
    assert abs(share[4] - (1 - (3 / 4) ** 4)) < 0.03


def test_a_full_scan_always_finds_the_least_busy():
    members = hosts(1, 1, 1)
    members[0].stats.rq_active = members[1].stats.rq_active = 1
    choose = LeastRequest(members, lambda: 0, full_scan=True).pick
    assert choose(None) is members[2]


def test_different_weights_are_scheduled_and_busy_hosts_count_less():
    members = hosts(1, 2)
    choose = LeastRequest(members, lambda: 0).pick
    assert Counter(choose(None).address.port for _ in range(30)) == {1: 10, 2: 20}
    members[1].stats.rq_active = 3  # weight 2 / 4
    assert 18 <= Counter(choose(None).address.port for _ in range(30))[1] <= 21


def test_a_bias_of_zero_ignores_how_busy_hosts_are():
    members = hosts(1, 2)
    members[1].stats.rq_active = 30
    choose = LeastRequest(members, lambda: 0, bias=lambda: 0.0).pick
    assert Counter(choose(None).address.port for _ in range(30)) == {1: 10, 2: 20}


def test_one_host():
    (only,) = members = hosts(1)
    assert LeastRequest(members, lambda: 5).pick(None) is only


def test_a_host_that_leaves_a_schedule_is_picked_no_more_and_may_come_back():
    members = hosts(1, 2, 3)
    picker = LeastRequest(members, lambda: 0)
    picker.health_changed(members[:2], members[2])
    assert Counter(picker.pick(None).address.port for _ in range(30)) == {1: 10, 2: 20}
    picker.health_changed(members, members[2])
    assert Counter(picker.pick(None).address.port for _ in range(60)) == {1: 10, 2: 20, 3: 30}
