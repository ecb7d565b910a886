"""Retries leave out the priorities that were tried: which, when, and how the others share the load."""

from __future__ import annotations

import pytest

from proxy.base.address import Address
from proxy.upstream.host import Health, Host
from proxy.upstream.host_set import PrioritySet
from proxy.upstream.lb.previous_priorities import PreviousPriorities, loads_without
from proxy.upstream.lb.priority_load import PriorityLoads, priority_loads
from proxy.upstream.lb.retry_choice import own_priority


def host(priority: int, health: Health = Health.HEALTHY) -> Host:
    return Host(Address("10.0.0.1", 1), health=health, priority=priority)


@pytest.mark.parametrize(
    ("availability", "excluded", "loads"),
    [
        ([(100, 0), (100, 0)], set(), ((100, 0), (0, 0))),
        ([(100, 0), (100, 0)], {0}, ((0, 100), (0, 0))),
        ([(100, 0), (40, 0), (100, 0)], {0}, ((0, 40, 60), (0, 0, 0))),
        ([(100, 0), (20, 0), (20, 0)], {0}, ((0, 50, 50), (0, 0, 0))),
        # Rounding leaves 1, which goes to the first that is left.
        ([(100, 0), (33, 0), (33, 0), (33, 0)], {0}, ((0, 34, 33, 33), (0, 0, 0, 0))),
        ([(100, 0), (30, 70)], {0}, ((0, 30), (0, 70))),
        ([(100, 0), (0, 0)], {0}, None),
        ([(0, 0), (0, 0)], set(), None),
    ],
)
def test_the_others_share_the_load(
    availability: list[tuple[int, int]],
    excluded: set[int],
    loads: tuple[tuple[int, ...], tuple[int, ...]] | None,
) -> None:
    assert loads_without(availability, excluded) == loads


def trace(priorities: int, frequency: int, tries: int, **health: Health) -> list[tuple[int, ...]]:
    """The loads of the healthy hosts for each try, when each goes to the first priority with a load."""
    hosts = [host(one, health.get(f"p{one}", Health.HEALTHY)) for one in range(priorities)]
    sets = PrioritySet(hosts).sets
    usual = priority_loads(sets, 50)
    previous = PreviousPriorities(frequency)
    found: list[tuple[int, ...]] = []
    for _ in range(tries):
        loads = previous.loads(sets, usual, own_priority)
        found.append(loads.healthy)
        previous.note(hosts[next(place for place, share in enumerate(loads.healthy) if share)])
    return found


def test_each_try_goes_to_the_next_priority_and_then_they_begin_anew() -> None:
    first, second, third = (100, 0, 0), (0, 100, 0), (0, 0, 100)
    assert trace(3, 1, 7) == [first, second, third] * 2 + [first]


def test_priorities_are_left_out_every_so_many_tries() -> None:
    first, second = (100, 0), (0, 100)
    assert trace(2, 2, 7) == [first, first, second, second, first, first, second]


def test_a_priority_that_could_not_serve_is_passed_over() -> None:
    assert trace(3, 1, 3, p1=Health.UNHEALTHY) == [(100, 0, 0), (0, 0, 100), (100, 0, 0)]


def test_where_nobody_can_serve_the_loads_stay_as_they_are() -> None:
    hosts = [host(one, Health.UNHEALTHY) for one in range(2)]
    sets = PrioritySet(hosts).sets
    usual = PriorityLoads((50, 50), (0, 0), (True, True))
    previous = PreviousPriorities(1)
    previous.note(hosts[0])
    assert previous.loads(sets, usual, own_priority) is usual


def test_a_host_of_no_known_priority_leaves_none_out() -> None:
    hosts = [host(0), host(1)]
    sets = PrioritySet(hosts).sets
    usual = priority_loads(sets, 50)
    previous = PreviousPriorities(1)
    previous.note(hosts[0])
    assert previous.loads(sets, usual, lambda _: None).healthy == (100, 0)
