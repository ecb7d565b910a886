"""What a flush tells: growth of counters, whatever was reset, restarted or inherited."""

from __future__ import annotations

from typing import Any

from proxy.base.stats import PARENT, StatsSum, StatTemplate, ZeroGroup
from proxy.stats_sinks.snapshot import Snapshot, Snapshots


def numbers(counters: dict[str, int], gauges: dict[str, int] | None = None) -> dict[str, Any]:
    return {
        "counters": counters,
        "gauges": gauges or {},
        "shared_counters": {},
        "shared_gauges": {},
        "histograms": {},
        "texts": {},
    }


def deltas(snapshot: Snapshot) -> dict[str, int]:
    return {one.name: one.delta for one in snapshot.counters}


def test_counters_tell_their_growth_over_all_workers() -> None:
    total, snapshots = StatsSum(), Snapshots()
    total.update(0, numbers({"a": 3, "never": 0}))
    total.update(1, numbers({"a": 4}))
    assert deltas(snapshots.take(total)) == {"a": 7}
    total.update(1, numbers({"a": 6}))
    assert deltas(snapshots.take(total)) == {"a": 2}
    # Used once, it is told of for ever.
    assert deltas(snapshots.take(total)) == {"a": 0}


def test_a_worker_that_dies_takes_nothing_back() -> None:
    total, snapshots = StatsSum(), Snapshots()
    total.update(0, numbers({"a": 3}))
    snapshots.take(total)
    total.lost(0)
    total.update(0, numbers({"a": 1}))
    assert deltas(snapshots.take(total)) == {"a": 1}


def test_a_reset_is_no_growth() -> None:
    total, snapshots = StatsSum(), Snapshots()
    total.update(0, numbers({"a": 3}))
    snapshots.take(total)
    total.reset_counters()
    total.update(0, numbers({"a": 5}))
    assert deltas(snapshots.take(total)) == {"a": 2}


def test_a_counter_that_begins_anew_counts_from_zero() -> None:
    total, snapshots = StatsSum(), Snapshots()
    total.update(0, numbers({"cluster.a.x": 9}))
    snapshots.take(total)
    total.update(0, numbers({"cluster.a.x": 2}))
    assert deltas(snapshots.take(total)) == {"cluster.a.x": 2}


def test_what_the_process_before_has_counted_is_its_own_to_tell() -> None:
    total, snapshots = StatsSum(), Snapshots()
    total.update(PARENT, numbers({"a": 100}))
    total.update(0, numbers({"a": 1}))
    assert deltas(snapshots.take(total)) == {"a": 1}
    total.update(PARENT, numbers({"a": 110}))
    total.lost(PARENT)
    total.update(0, numbers({"a": 3}))
    assert deltas(snapshots.take(total)) == {"a": 2}
    assert total.counters() == {"a": 113}


def test_gauges_are_told_once_they_were_used() -> None:
    total, snapshots = StatsSum(), Snapshots()
    total.update(0, numbers({}, {"g": 1, "never": 0}))
    assert snapshots.take(total).gauges == {"g": 1}
    total.update(0, numbers({}, {"g": 0, "never": 0}))
    assert snapshots.take(total).gauges == {"g": 0}
    assert snapshots.take(total, gauges=False).gauges == {}


def test_what_the_matcher_refuses_does_not_exist() -> None:
    total, snapshots = StatsSum(), Snapshots(lambda name: name.startswith("a"))
    total.update(0, numbers({"a": 1, "b": 1}, {"ag": 1, "bg": 1}))
    taken = snapshots.take(total)
    assert (deltas(taken), taken.gauges) == ({"a": 1}, {"ag": 1})


def test_gauges_of_clusters_that_nobody_has_used_are_told() -> None:
    total = StatsSum()
    total.update(0, numbers({}, {"cluster.a.hosts": 7}))
    template = StatTemplate({"rq": 0}, {"hosts": 1, "active": 0}, ())
    groups = [ZeroGroup("cluster.a.", template), ZeroGroup("cluster.b.", template, {"hosts": 3, "rq": 1})]
    taken = Snapshots().take(total, groups)
    assert taken.gauges == {"cluster.a.hosts": 7, "cluster.b.hosts": 3}
    assert taken.counters == ()
