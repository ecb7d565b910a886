from __future__ import annotations

from typing import Any

from envoy.service.load_stats.v3 import lrs_pb2

from proxy.discovery.load_report import LoadReport
from proxy.upstream.host import Locality
from proxy.upstream.load_counts import ClusterLoad, HostLoad

A = (0, ("r", "a", ""), ("1.1.1.1", 80, "", "", ""))
B = (0, ("r", "b", ""), ("1.1.1.2", 80, "", "", ""))
C = (1, ("r", "a", ""), ("1.1.1.3", 80, "", "", ""))
#: Names of the clusters that there are, with their service names.
THERE = {"c": "", "d": "service"}


def load(*hosts: HostLoad, dropped: int = 0, overloaded: int = 0) -> ClusterLoad:
    return (dropped, overloaded, "why" if overloaded else "", hosts)


def tracking(*names: str, own: Locality | None = None, **fields: Any) -> LoadReport:
    report = LoadReport(own)
    report.answered(lrs_pb2.LoadStatsResponse(clusters=names, **fields), THERE, 10.0)
    return report


def localities(report: LoadReport, now: float = 11.0) -> list[tuple[int, str, int, int, int, int]]:
    (stats,) = report.make(THERE, now).cluster_stats
    return [
        (
            one.priority,
            one.locality.zone,
            one.total_successful_requests,
            one.total_error_requests,
            one.total_issued_requests,
            one.total_requests_in_progress,
        )
        for one in stats.upstream_locality_stats
    ]


def test_nothing_is_reported_before_the_server_has_asked() -> None:
    report = LoadReport()
    report.add(0, {"c": load((A, 1, 0, 1, 0, None))})
    assert report.wanted == []
    assert not report.make(THERE, 1.0).cluster_stats


def test_what_workers_count_is_added_up_and_told_once() -> None:
    report = tracking("c")
    report.add(0, {"c": load((A, 1, 2, 3, 0, None), (B, 1, 0, 1, 0, None))})
    report.add(1, {"c": load((A, 10, 0, 10, 0, None))})
    assert localities(report) == [(0, "a", 11, 2, 13, 0), (0, "b", 1, 0, 1, 0)]
    assert localities(report) == []


def test_requests_in_progress_are_those_that_each_worker_told_of_last() -> None:
    report = tracking("c")
    report.add(0, {"c": load((A, 0, 0, 2, 2, None))})
    report.add(1, {"c": load((A, 0, 0, 1, 1, None))})
    report.add(0, {"c": load((A, 1, 0, 0, 1, None))})
    assert localities(report) == [(0, "a", 1, 0, 3, 2)]
    assert localities(report) == [(0, "a", 0, 0, 0, 2)]
    report.add(0, {})
    assert localities(report) == [(0, "a", 0, 0, 0, 1)]


def test_what_a_worker_had_counted_stays_when_it_ends() -> None:
    report = tracking("c")
    report.add(0, {"c": load((A, 1, 0, 2, 1, None))})
    report.lost(0)
    assert localities(report) == [(0, "a", 1, 0, 2, 0)]


def test_the_own_locality_comes_first_within_its_priority() -> None:
    report = tracking("c", own=Locality("r", "b"))
    report.add(0, {"c": load((C, 1, 0, 1, 0, None), (A, 1, 0, 1, 0, None), (B, 1, 0, 1, 0, None))})
    assert [one[:2] for one in localities(report)] == [(0, "b"), (0, "a"), (1, "a")]


def test_clusters_without_load_and_their_services_are_named() -> None:
    request = tracking("d", "gone").make(THERE, 12.5)
    (stats,) = request.cluster_stats
    assert (stats.cluster_name, stats.cluster_service_name) == ("d", "service")
    assert stats.load_report_interval.ToMicroseconds() == 2_500_000


def test_drops_are_told_with_their_category() -> None:
    report = tracking("c")
    report.add(0, {"c": load(dropped=3, overloaded=2)})
    (stats,) = report.make(THERE, 11.0).cluster_stats
    assert stats.total_dropped_requests == 3
    assert [(one.category, one.dropped_count) for one in stats.dropped_requests] == [("why", 2)]


def test_metrics_are_added_up_for_localities_and_hosts() -> None:
    report = tracking("c", report_endpoint_granularity=True)
    more = (0, A[1], ("", 0, "/sock", "", ""))
    report.add(0, {"c": load((A, 1, 0, 1, 0, {"m": (1, 0.5)}), (more, 2, 0, 2, 0, {"m": (2, 1.0)}))})
    report.add(1, {"c": load((A, 1, 0, 1, 0, {"m": (1, 0.25), "n": (1, 1.0)}))})
    (stats,) = report.make(THERE, 11.0).cluster_stats
    (locality,) = stats.upstream_locality_stats

    def metrics(of: Any) -> list[tuple[str, int, float]]:
        return [
            (one.metric_name, one.num_requests_finished_with_metric, one.total_metric_value)
            for one in of.load_metric_stats
        ]

    assert metrics(locality) == [("m", 4, 1.75), ("n", 1, 1.0)]
    first, second = locality.upstream_endpoint_stats
    assert first.address.socket_address.address == "1.1.1.1"
    assert metrics(first) == [("m", 2, 0.75), ("n", 1, 1.0)]
    assert second.address.pipe.path == "/sock"
    assert second.total_issued_requests == 2


def test_a_cluster_that_is_asked_for_again_goes_on_with_its_count() -> None:
    report = tracking("c")
    report.add(0, {"c": load((A, 1, 0, 1, 0, None))})
    report.answered(lrs_pb2.LoadStatsResponse(clusters=["d", "c"]), THERE, 20.0)
    first, second = report.make(THERE, 21.0).cluster_stats
    assert first.load_report_interval.seconds == 1
    assert second.load_report_interval.seconds == 11
    assert second.upstream_locality_stats[0].total_issued_requests == 1


def test_all_clusters_are_those_that_there_are_when_a_period_begins() -> None:
    report = tracking(send_all_clusters=True)
    assert report.wanted is None
    assert [one.cluster_name for one in report.make(THERE, 11.0).cluster_stats] == ["c", "d"]
    report.begin(["d", "new"], 11.0)
    assert list(report.tracked) == ["d", "new"]
