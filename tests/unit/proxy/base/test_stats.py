from __future__ import annotations

import marshal
from typing import Any, ClassVar

import pytest

from proxy.base.stats import (
    Histogram,
    StatGroup,
    StatRegistry,
    StatsSum,
    StatTemplate,
    ZeroGroup,
    collect,
    collect_groups,
)


class _Group(StatGroup):
    COUNTERS: ClassVar[tuple[str, ...]] = ("total", "changes")
    GAUGES: ClassVar[tuple[str, ...]] = ("active", "hosts")
    HISTOGRAMS: ClassVar[dict[str, str]] = {"time": "ms"}
    SHARED: ClassVar[frozenset[str]] = frozenset({"hosts", "changes"})
    total: int
    changes: int
    active: int
    hosts: int
    time: Histogram


def _dump(
    total: int = 0, active: int = 0, times: tuple[int, ...] = (), *, hosts: int = 0, changes: int = 0
) -> dict[str, Any]:
    group = _Group("x.")
    group.total, group.active, group.hosts, group.changes = total, active, hosts, changes
    for time in times:
        group.time.record(time)
    registry = StatRegistry()
    registry.add("x", group)
    return collect(registry)


@pytest.mark.parametrize(
    ("value", "bin_start"), [(0, 0), (7, 7), (99, 99), (100, 100), (109, 100), (12_345, 12_000), (999, 990)]
)
def test_a_histogram_keeps_two_significant_digits(value: int, bin_start: int) -> None:
    histogram = Histogram()
    histogram.record(value)
    assert histogram.counts == {bin_start: 1}


def test_a_group_begins_with_zeros_and_keeps_its_names_together() -> None:
    group = _Group("x.")
    group.total += 2
    assert group.counters() == {"x.total": 2, "x.changes": 0}
    assert group.gauges() == {"x.active": 0, "x.hosts": 0}
    assert list(group.histograms()) == ["x.time"]


def test_a_removed_group_is_no_longer_collected() -> None:
    registry = StatRegistry()
    registry.add("x", _Group("x."))
    registry.remove("x")
    assert collect(registry)["counters"] == {}


def test_what_is_collected_crosses_a_process_boundary() -> None:
    dump = _dump(total=3, times=(5,))
    assert marshal.loads(marshal.dumps(dump)) == dump


def test_slices_join_to_the_whole() -> None:
    first, second = _Group("a."), _Group("b.")
    whole = collect_groups([first, second])
    joined = collect_groups([first])
    for kind, values in collect_groups([second]).items():
        joined[kind].update(values)
    assert joined == whole


def test_workers_add_up() -> None:
    total = StatsSum()
    total.update(0, _dump(total=2, active=1, times=(5,)))
    total.update(1, _dump(total=3, active=4, times=(5, 9)))
    assert total.counters()["x.total"] == 5
    assert total.gauges()["x.active"] == 5
    assert total.histograms()["x.time"].cumulative == {5: 2, 9: 1}


def test_what_every_worker_holds_alike_is_not_added_up() -> None:
    total = StatsSum()
    total.update(0, _dump(hosts=4, changes=1))
    total.update(1, _dump(hosts=4, changes=2))
    assert total.gauges()["x.hosts"] == 4
    assert total.counters()["x.changes"] == 2


def test_a_dead_worker_leaves_its_counters_and_takes_its_gauges() -> None:
    total = StatsSum()
    total.update(0, _dump(total=2, active=1, times=(5,)))
    total.lost(0)
    total.lost(0)
    assert total.counters()["x.total"] == 2
    assert total.gauges() == {}
    assert total.histograms()["x.time"].cumulative == {5: 1}
    total.update(0, _dump(total=1, active=1, times=(5,)))
    assert total.counters()["x.total"] == 3
    assert total.gauges()["x.active"] == 1
    assert total.histograms()["x.time"].cumulative == {5: 2}


def test_a_removed_scope_leaves_no_history() -> None:
    total = StatsSum()
    total.update(0, _dump(total=2, active=1, times=(5,)))
    total.lost(0)
    total.forget("x.")
    assert total.counters() == {}
    assert total.histograms() == {}
    assert not total.used("x.active")


def test_reset_counters_start_again_at_zero_for_the_reader() -> None:
    total = StatsSum()
    total.update(0, _dump(total=5))
    total.reset_counters()
    assert total.counters()["x.total"] == 0
    total.update(0, _dump(total=7))
    assert total.counters()["x.total"] == 2


def test_a_counter_that_was_born_again_after_a_reset_is_not_negative() -> None:
    total = StatsSum()
    total.update(0, _dump(total=5))
    total.reset_counters()
    total.update(0, _dump(total=1))
    assert total.counters()["x.total"] == 1


def test_the_interval_of_a_histogram_is_the_last_whole_one() -> None:
    total = StatsSum()
    total.update(0, _dump(times=(5,)))
    assert total.histograms()["x.time"].interval == {}
    total.flush()
    assert total.histograms()["x.time"].interval == {5: 1}
    total.update(0, _dump(times=(5, 5, 7)))
    assert total.histograms()["x.time"].interval == {5: 1}
    assert total.histograms()["x.time"].cumulative == {5: 2, 7: 1}
    total.flush()
    assert total.histograms()["x.time"].interval == {5: 1, 7: 1}
    total.flush()
    assert total.histograms()["x.time"].interval == {}


def test_a_gauge_that_went_back_to_zero_counts_as_used() -> None:
    total = StatsSum()
    total.update(0, _dump(active=1))
    total.update(0, _dump(active=0))
    assert total.used("x.active")
    assert not total.used("x.hosts")


def test_a_template_has_names_without_prefix_and_first_values() -> None:
    group = _Group("cluster.any.")
    group.hosts = 3
    template = StatTemplate.of(group)
    assert template.counters == {"total": 0, "changes": 0}
    assert template.gauges == {"active": 0, "hosts": 3}
    assert template.histograms == ("time",)


def test_groups_of_the_same_names_share_a_template_and_keep_their_own_values() -> None:
    templates: dict[object, StatTemplate] = {}
    one, two = _Group("a."), _Group("b.")
    one.hosts, two.changes = 3, 1
    first, second = ZeroGroup.of(one, templates), ZeroGroup.of(two, templates)
    assert first.template is second.template
    assert first.values == {}
    assert second.values == {"hosts": 0, "changes": 1}
    assert ZeroGroup.of(StatGroup("c."), templates).template is not first.template
