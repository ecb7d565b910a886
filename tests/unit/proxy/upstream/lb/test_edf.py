"""The weighted schedule."""

from collections import Counter

from proxy.base.address import Address
from proxy.upstream.host import Host
from proxy.upstream.lb.edf import EdfScheduler


def hosts(*weights):
    return [Host(Address("10.0.0.1", port), weight=weight) for port, weight in enumerate(weights, 1)]


def picks(scheduler, count):
    return [scheduler.pick().address.port for _ in range(count)]


def test_picks_follow_envoys_order():
    # Deadlines: host 1 at 1/3, 2/3, 1, ...; host 2 at 1/2, 1, ...; equal ones in the order of insertion.
    assert picks(EdfScheduler(hosts(3, 2), lambda host: host.weight), 8) == [1, 2, 1, 2, 1, 1, 2, 1]


def test_every_round_holds_the_weights():
    scheduler = EdfScheduler(hosts(5, 1, 2), lambda host: host.weight)
    for _ in range(5):
        assert Counter(picks(scheduler, 8)) == {1: 5, 2: 1, 3: 2}


def test_starting_later_is_the_same_schedule():
    members = hosts(5, 3)
    started = EdfScheduler(members, lambda host: host.weight)
    picks(started, 4)
    later = EdfScheduler(members, lambda host: host.weight, picks=4)
    assert picks(later, 3) == picks(started, 3)


def test_a_weight_that_changes_counts_from_the_next_pick_on():
    weights = {1: 1.0, 2: 1.0}
    scheduler = EdfScheduler(hosts(1, 1), lambda host: weights[host.address.port])
    picks(scheduler, 2)
    weights[1] = 3.0
    assert Counter(picks(scheduler, 41))[1] > 29


def test_whole_weights_keep_to_one_cycle_wherever_it_starts():
    cycle = picks(EdfScheduler(hosts(5, 1, 2), lambda host: host.weight, whole=True), 8)
    for start in range(8):
        scheduler = EdfScheduler(hosts(5, 1, 2), lambda host: host.weight, picks=start, whole=True)
        assert picks(scheduler, 24) == (cycle * 4)[start : start + 24]
