"""What a worker counts of the load of its clusters, for the reports that a control plane asked for (LRS).

Nothing is counted for it on the way of a request: it is what the numbers of the hosts have grown by.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from proxy.base.address import Address
from proxy.base.headers import HeaderMap
from proxy.upstream.host import Host
from proxy.upstream.lb.load_report import read_report

if TYPE_CHECKING:
    from proxy.upstream.cluster import Cluster

Place = tuple[int, tuple[str, str, str], tuple[str, int, str, str, str]]
"""A host: priority, locality, and the address as IP, port, path, internal listener and endpoint id."""

HostLoad = tuple[Place, int, int, int, int, Mapping[str, tuple[int, float]] | None]
"""Place, successes, errors, requests issued, requests in progress, metrics by name (requests with it, sum)."""

ClusterLoad = tuple[int, int, str, Sequence[HostLoad]]
"""Requests dropped, those of them by `drop_overloads`, the category of these, hosts with load."""

# So many hosts are looked at between two turns of the loop: about 0.1 ms.
_SLICE: Final = 500

_NOTHING: Final = (0, 0, 0)

# What a report says of a host: single numbers, and maps.
_SCALARS: Final = frozenset(
    {"cpu_utilization", "mem_utilization", "application_utilization", "eps", "rps_fractional"}
)
_MAPS: Final = frozenset({"named_metrics", "utilization", "request_cost"})


class LoadCounts:
    """The load of those `clusters` in use that were asked for; each answer tells what came since the last one."""

    def __init__(self, clusters: Callable[[], Sequence[Cluster]]) -> None:
        self._clusters = clusters
        self._names: frozenset[str] | None = frozenset()
        #: Successes, errors and requests issued that were told of already.
        self._told: dict[Host, tuple[int, int, int]] = {}
        self._told_drops: dict[Cluster, tuple[int, int]] = {}
        self._telling = asyncio.Lock()

    @property
    def wanted(self) -> bool:
        """Whether anything is to be counted."""
        return self._names is None or bool(self._names)

    async def want(self, names: Sequence[str] | None) -> None:
        """Count for these clusters, None for all: what was not counted before begins at zero."""
        async with self._telling:
            before, self._names = self._names, None if names is None else frozenset(names)
            for cluster in self._clusters():
                if _among(cluster, self._names) and not _among(cluster, before):
                    self._told_drops[cluster] = (cluster.stats.rq_dropped, cluster.stats.rq_drop_overload)
                    for host in cluster.hosts:
                        if host.stats.rq_total or host.stats.rq_error:
                            self._told[host] = _counted(host)

    async def tell(self) -> dict[str, ClusterLoad]:
        """What has come since the last time; lets other work go on in between."""
        async with self._telling:
            result: dict[str, ClusterLoad] = {}
            told: dict[Host, tuple[int, int, int]] = {}
            told_drops: dict[Cluster, tuple[int, int]] = {}
            looked_at = 0
            for cluster in self._clusters():
                if not _among(cluster, self._names):
                    continue
                hosts: list[HostLoad] = []
                endpoint_metrics = cluster.endpoint_metrics
                metrics = {} if endpoint_metrics is None else endpoint_metrics.take()
                for host in cluster.hosts:
                    looked_at += 1
                    if looked_at % _SLICE == 0:
                        await asyncio.sleep(0)
                    stats = host.stats
                    if not (stats.rq_total or stats.rq_error or stats.rq_active):
                        continue
                    now = told[host] = _counted(host)
                    last = self._told.get(host, _NOTHING)
                    measured = metrics.get(host)
                    if now != last or stats.rq_active or measured:
                        # A success may turn into an error, when its response is not what the client gets.
                        success, error, issued = [
                            max(0, one - two) for one, two in zip(now, last, strict=True)
                        ]
                        hosts.append((_place(host), success, error, issued, stats.rq_active, measured))
                drops = told_drops[cluster] = (cluster.stats.rq_dropped, cluster.stats.rq_drop_overload)
                last_drops = self._told_drops.get(cluster, (0, 0))
                dropped, overloaded = drops[0] - last_drops[0], drops[1] - last_drops[1]
                if hosts or dropped:
                    category = cluster.assignment_policy.drop_category
                    result[cluster.name] = (dropped, overloaded, category, hosts)
            self._told, self._told_drops = told, told_drops
            return result


def _among(cluster: Cluster, names: frozenset[str] | None) -> bool:
    return names is None or cluster.name in names


def _counted(host: Host) -> tuple[int, int, int]:
    stats = host.stats
    return (stats.rq_success, stats.rq_error, stats.rq_total)


def _place(host: Host) -> Place:
    address: Address = host.address
    key = (address.ip, address.port, address.path, address.listener_name, address.endpoint_id)
    region, zone, sub_zone = host.locality
    return (host.priority, (region, zone, sub_zone), key)


class EndpointMetrics:
    """The metrics that a cluster's hosts report with their responses (ORCA), summed for load reports.

    `names` are those of `Cluster.lrs_report_endpoint_metrics`, such as `cpu_utilization` or `named_metrics.*`.
    `weights` is a `lb.client_weights.ClientWeights` that reads the reports too, or None.
    """

    def __init__(self, names: Sequence[str], weights: Any = None) -> None:
        self._names = names
        self._weights = weights
        self._sums: dict[Host, dict[str, tuple[int, float]]] = {}

    def on_response(self, host: Host, headers: HeaderMap) -> bool:
        """Take the report in the fields or trailers of a response; whether there is one."""
        report = read_report(headers)
        if report is None:
            return False
        if self._weights is not None:
            self._weights.take(host, report)
        self._add(host, report)
        return True

    def _add(self, host: Host, report: Mapping[str, float]) -> None:
        sums = self._sums.setdefault(host, {})
        for name in self._names:
            if name in _SCALARS:
                _add(sums, name, report.get(name, 0.0))
            elif name.partition(".")[0] not in _MAPS:
                continue
            elif name.endswith(".*"):
                for key, value in report.items():
                    if key.startswith(name[:-1]):
                        _add(sums, key, value)
            elif name in report:
                _add(sums, name, report[name])

    def take(self) -> dict[Host, dict[str, tuple[int, float]]]:
        """The sums by host since the last time."""
        sums, self._sums = self._sums, {}
        return sums


def _add(sums: dict[str, Any], name: str, value: float) -> None:
    count, total = sums.get(name, (0, 0.0))
    sums[name] = (count + 1, total + value)
