"""Panic and failover in words."""

from proxy.base.address import Address
from proxy.upstream.host import Health, Host
from proxy.upstream.host_set import HostSet
from proxy.upstream.lb.load_words import load_changes
from proxy.upstream.lb.priority_load import PriorityLoads, priority_loads


def level(priority, healthy, failed):
    healths = [Health.HEALTHY] * healthy + [Health.UNHEALTHY] * failed
    hosts = [
        Host(Address("10.0.0.1", number), health=health, priority=priority)
        for number, health in enumerate(healths)
    ]
    return HostSet(hosts, priority)


def changes(before, after, threshold=50):
    return load_changes(priority_loads(before, threshold), priority_loads(after, threshold), after, threshold)


def test_a_panic_says_on_which_numbers():
    calm, few = [level(0, 4, 0)], [level(0, 1, 3)]
    assert changes(calm, few) == [
        (
            "panic_entered",
            "priority 0: 1 of 4 hosts healthy, healthy_panic_threshold is 50 %; all of them get requests",
        )
    ]
    assert changes(few, [level(0, 3, 1)]) == [
        ("panic_left", "priority 0: 3 of 4 hosts healthy; these alone get requests")
    ]


def test_a_failover_says_who_gets_what():
    calm = [level(0, 4, 0), level(1, 4, 0)]
    assert changes(calm, [level(0, 2, 2), level(1, 4, 0)]) == [
        ("failover", "priorities get 70 %, 30 % of the requests, before 100 %, 0 %")
    ]


def test_what_stays_and_what_is_configured_anew_is_no_event():
    assert changes([level(0, 4, 0)], [level(0, 3, 1)]) == []
    assert changes([level(0, 4, 0)], [level(0, 0, 4), level(1, 4, 0)]) == []
    one = PriorityLoads((100,), (0,), (False,))
    assert load_changes(one, one, [level(0, 1, 0)], 50) == []
