"""A control plane that asks for load reports (LRS)."""

from __future__ import annotations

from typing import Any

from envoy.service.load_stats.v3 import lrs_pb2
from google.protobuf import json_format

from tests.support.report_server import ReportServer
from xds_client.lrs import METHOD


class LoadReportServer(ReportServer):
    """See `ReportServer`."""

    method = METHOD
    report_type = lrs_pb2.LoadStatsRequest

    def answer(self, *clusters: str, interval: float = 0.3, **fields: Any) -> None:
        """Ask for reports on these clusters, every so many seconds."""
        response = lrs_pb2.LoadStatsResponse(clusters=clusters, **fields)
        response.load_reporting_interval.FromMicroseconds(int(interval * 1e6))
        self.tell(response)

    def total(self, since: int = 0) -> dict[str, Any]:
        """The reports from that one on added up, by cluster: plain values, without times."""
        result: dict[str, Any] = {}
        for report in self.reports[since:]:
            for stats in report.cluster_stats:
                _add(result.setdefault(stats.cluster_name, {}), stats)
        return result


def _add(into: dict[str, Any], stats: Any) -> None:
    into["service_name"] = stats.cluster_service_name
    into["dropped"] = into.get("dropped", 0) + stats.total_dropped_requests
    for drop in stats.dropped_requests:
        drops = into.setdefault("dropped_requests", {})
        drops[drop.category] = drops.get(drop.category, 0) + drop.dropped_count
    for locality in stats.upstream_locality_stats:
        where = locality.locality
        key = f"{locality.priority} {where.region}/{where.zone}/{where.sub_zone}"
        known = into.setdefault("localities", {}).setdefault(key, {})
        _add_numbers(known, locality)
        for endpoint in locality.upstream_endpoint_stats:
            address = str(json_format.MessageToDict(endpoint.address))
            _add_numbers(known.setdefault("endpoints", {}).setdefault(address, {}), endpoint)


def _add_numbers(into: dict[str, Any], stats: Any) -> None:
    for name in ("total_successful_requests", "total_error_requests", "total_issued_requests"):
        into[name] = into.get(name, 0) + getattr(stats, name)
    into["in_progress"] = stats.total_requests_in_progress
    for metric in stats.load_metric_stats:
        metrics = into.setdefault("metrics", {})
        count, total = metrics.get(metric.metric_name, (0, 0.0))
        metrics[metric.metric_name] = (
            count + metric.num_requests_finished_with_metric,
            total + metric.total_metric_value,
        )
