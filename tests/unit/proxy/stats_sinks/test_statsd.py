"""Lines of statsd, and datagrams of them."""

from __future__ import annotations

import pytest

from proxy.admin.tags import TagExtractor
from proxy.base.stats import HistogramView
from proxy.stats_sinks.snapshot import Counted, Snapshot
from proxy.stats_sinks.statsd import StatsdFormat, datagrams

SNAPSHOT = Snapshot(
    (Counted("cluster.a.upstream_rq_total", 9, 2), Counted("plain", 1, 0)),
    {"cluster.a.membership_total": 3},
    {"cluster.a.upstream_rq_time": HistogramView({7: 2}, {7: 2, 8: 1})},
)


def test_statsd_has_full_names() -> None:
    assert list(StatsdFormat("").lines(SNAPSHOT)) == [
        "envoy.cluster.a.upstream_rq_total:2|c",
        "envoy.plain:0|c",
        "envoy.cluster.a.membership_total:3|g",
        "envoy.cluster.a.upstream_rq_time:7|ms",
        "envoy.cluster.a.upstream_rq_time:7|ms",
    ]


def test_dog_statsd_has_tags() -> None:
    form = StatsdFormat("p", TagExtractor())
    expected = [
        "p.cluster.upstream_rq_total:2|c|#envoy.cluster_name:a",
        "p.plain:0|c",
        "p.cluster.membership_total:3|g|#envoy.cluster_name:a",
        "p.cluster.upstream_rq_time:7|ms|#envoy.cluster_name:a",
        "p.cluster.upstream_rq_time:7|ms|#envoy.cluster_name:a",
    ]
    assert list(form.lines(SNAPSHOT)) == expected
    assert list(form.lines(SNAPSHOT)) == expected


@pytest.mark.parametrize("count", [1, 9, 10, 237, 123_456])
def test_many_equal_values_are_few_lines_that_stand_for_as_many(count: int) -> None:
    snapshot = Snapshot((), {}, {"h": HistogramView({5: count}, {5: count})})
    lines = list(StatsdFormat("").lines(snapshot))
    assert len(lines) <= 9 * 5
    rates = [line.partition("|@")[2] for line in lines]
    # Receivers cut off what is behind the point.
    assert sum(int(1 / float(rate)) if rate else 1 for rate in rates) == count


def test_a_datagram_has_as_many_lines_as_fit() -> None:
    assert list(datagrams(["aa", "bb", "cc", "dddddd"], 6)) == [b"aa\nbb", b"dddddd", b"cc"]


def test_without_a_limit_each_line_is_a_datagram() -> None:
    assert list(datagrams(["a", "b"], 0)) == [b"a", b"b"]
