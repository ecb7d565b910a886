"""What is to be reported of the load, and the reports that are made of it: no clock, no stream.

Workers tell what they have counted since they last did; it is kept here until the next report. Source:
`service.load_stats.v3` and `config.endpoint.v3.ClusterStats`, in the manner of Envoy's `LoadStatsReporter`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from envoy.config.endpoint.v3 import load_report_pb2
from envoy.service.load_stats.v3 import lrs_pb2
from msgspec import Struct, field

from proxy.base.address import Address, InternalAddress
from proxy.config.address_message import set_address
from proxy.upstream.host import Locality
from proxy.upstream.load_counts import ClusterLoad, HostLoad, Place

NO_LOCALITY: Final = ("", "", "")


class _Counted(Struct):
    """Of one host, or of all hosts of a locality; `metrics` is name → [requests with it, sum of its values]."""

    success: int = 0
    error: int = 0
    issued: int = 0
    active: int = 0
    metrics: dict[str, list[float]] = field(default_factory=dict)

    def add(self, other: _Counted) -> None:
        self.success += other.success
        self.error += other.error
        self.issued += other.issued
        self.active += other.active
        self.add_metrics(other.metrics)

    def add_metrics(self, metrics: Mapping[str, Iterable[float]]) -> None:
        for name, (count, total) in metrics.items():
            known = self.metrics.setdefault(name, [0, 0.0])
            known[0] += count
            known[1] += total

    @property
    def worth_telling(self) -> bool:
        return bool(self.success or self.error or self.issued or self.active or self.metrics)

    def write(self, message: Any) -> None:
        """Fill an `UpstreamLocalityStats` or `UpstreamEndpointStats`."""
        message.total_successful_requests = self.success
        message.total_error_requests = self.error
        message.total_requests_in_progress = self.active
        message.total_issued_requests = self.issued
        for name, (count, total) in sorted(self.metrics.items()):
            message.load_metric_stats.add(
                metric_name=name, num_requests_finished_with_metric=int(count), total_metric_value=total
            )


class _Tracked(Struct):
    """One cluster that is reported on, since a monotonic second."""

    since: float
    dropped: int = 0
    overloaded: int = 0
    category: str = ""
    hosts: dict[Place, _Counted] = field(default_factory=dict)


class LoadReport:
    """See module. `own` is the locality of this process, whose hosts come first in a report as in Envoy."""

    def __init__(self, own: Locality | None = None) -> None:
        self._own = own
        self._response: Any = None
        self._tracked: dict[str, _Tracked] = {}
        #: Requests in progress by worker, cluster and host: what each worker told last.
        self._active: dict[int, dict[str, dict[Place, int]]] = {}

    @property
    def wanted(self) -> list[str] | None:
        """The names of the clusters to count for, None for all."""
        if self._response is None:
            return []
        return None if self._response.send_all_clusters else list(self._response.clusters)

    @property
    def tracked(self) -> Iterable[str]:
        """The names of the clusters that the next report is about."""
        return self._tracked

    def answered(self, response: Any, clusters: Iterable[str], now: float) -> None:
        """The server has said what it wants; `clusters` are the names of all there are."""
        self._response = response
        self.begin(clusters, now)

    def begin(self, clusters: Iterable[str], now: float) -> None:
        """A period begins. Clusters that are reported on already go on with what was counted for them."""
        if self._response is None:
            return
        names = clusters if self._response.send_all_clusters else self._response.clusters
        before = self._tracked
        self._tracked = {name: before.get(name) or _Tracked(now) for name in names}

    def add(self, worker: int, loads: Mapping[str, ClusterLoad]) -> None:
        """Take what a worker has counted since it last told."""
        active: dict[str, dict[Place, int]] = {}
        for name, (dropped, overloaded, category, hosts) in loads.items():
            tracked = self._tracked.get(name)
            if tracked is None:
                continue
            tracked.dropped += dropped
            tracked.overloaded += overloaded
            tracked.category = category or tracked.category
            for host in hosts:
                place, load = _split(host)
                if load.active:
                    active.setdefault(name, {})[place] = load.active
                    load.active = 0
                known = tracked.hosts.get(place)
                if known is None:
                    tracked.hosts[place] = load
                else:
                    known.add(load)
        self._active[worker] = active

    def lost(self, worker: int) -> None:
        """A worker has ended, and its requests with it; what it had counted stays."""
        self._active.pop(worker, None)

    def make(self, clusters: Mapping[str, str], now: float) -> Any:
        """A `LoadStatsRequest` of everything since the last one; the count begins anew.

        `clusters` gives the `service_name` of each cluster that there is, "" without one. Clusters without load
        are in it with their names alone.
        """
        request = lrs_pb2.LoadStatsRequest()
        for name, tracked in self._tracked.items():
            service_name = clusters.get(name)
            if service_name is None:
                continue
            message = request.cluster_stats.add(cluster_name=name, cluster_service_name=service_name)
            self._fill(message, name, tracked)
            microseconds = int((now - tracked.since) * 1_000_000)
            message.load_report_interval.FromMicroseconds(microseconds)
            self._tracked[name] = _Tracked(now, category=tracked.category)
        return request

    def _fill(self, message: Any, name: str, tracked: _Tracked) -> None:
        for active in self._active.values():
            for place, count in active.get(name, {}).items():
                tracked.hosts.setdefault(place, _Counted()).active += count
        granular = self._response is not None and self._response.report_endpoint_granularity
        groups: dict[tuple[int, bool, tuple[str, str, str]], list[tuple[Place, _Counted]]] = {}
        for place, load in tracked.hosts.items():
            if load.worth_telling:
                priority, locality, _ = place
                groups.setdefault((priority, locality != self._own, locality), []).append((place, load))
        for (priority, _, locality), hosts in sorted(groups.items(), key=lambda group: group[0]):
            stats = message.upstream_locality_stats.add(priority=priority)
            _set_locality(stats, locality)
            whole = _Counted()
            for place, load in hosts:
                whole.add(load)
                if granular:
                    _write_endpoint(stats.upstream_endpoint_stats.add(), place, load)
            whole.write(stats)
        message.total_dropped_requests = tracked.dropped
        if tracked.overloaded:
            message.dropped_requests.add(category=tracked.category, dropped_count=tracked.overloaded)


def _split(host: HostLoad) -> tuple[Place, _Counted]:
    (priority, locality, address), success, error, issued, active, metrics = host
    load = _Counted(success, error, issued, active)
    if metrics:
        load.add_metrics(metrics)
    return (priority, Locality(*locality), address), load


def _set_locality(stats: Any, locality: tuple[str, str, str]) -> None:
    region, zone, sub_zone = locality
    # Envoy names the locality of hosts without one, too.
    stats.locality.SetInParent()
    stats.locality.region, stats.locality.zone, stats.locality.sub_zone = region, zone, sub_zone


def _write_endpoint(message: load_report_pb2.UpstreamEndpointStats, place: Place, load: _Counted) -> None:
    ip, port, path, listener_name, endpoint_id = place[2]
    address = InternalAddress(listener_name, endpoint_id) if listener_name else Address(ip, port, path)
    set_address(message.address, address)
    load.write(message)
