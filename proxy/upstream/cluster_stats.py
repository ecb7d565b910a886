"""The numbers of one cluster under Envoy's names: `cluster.<name>.*`.

Every name is a class attribute that starts at 0, so a cluster's object holds only what has moved. Counters
per response code live in `codes`; their many names are made when somebody reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

from proxy.base.stat_names import stat_name
from proxy.base.stats import Histogram, StatGroup
from proxy.codec.http2_stats import Http2CodecStats
from proxy.upstream.circuit_breaker import PRIORITIES
from proxy.upstream.tracked import Tracked


class _Counters:
    assignment_stale: int = 0
    assignment_timeout_received: int = 0
    assignment_use_cached: int = 0
    bind_errors: int = 0
    lb_healthy_panic: int = 0
    lb_local_cluster_not_ok: int = 0
    lb_recalculate_zone_structures: int = 0
    lb_subsets_created: int = 0
    lb_subsets_fallback: int = 0
    lb_subsets_fallback_panic: int = 0
    lb_subsets_removed: int = 0
    lb_subsets_selected: int = 0
    lb_zone_cluster_too_small: int = 0
    lb_zone_no_capacity_left: int = 0
    lb_zone_routing_all_directly: int = 0
    lb_zone_routing_cross_zone: int = 0
    lb_zone_routing_sampled: int = 0
    original_dst_host_invalid: int = 0
    retry_or_shadow_abandoned: int = 0
    update_attempt: int = 0
    update_empty: int = 0
    update_failure: int = 0
    update_no_rebuild: int = 0
    update_success: int = 0
    upstream_cx_close_notify: int = 0
    upstream_cx_connect_attempts_exceeded: int = 0
    upstream_cx_connect_fail: int = 0
    upstream_cx_connect_timeout: int = 0
    upstream_cx_connect_with_0_rtt: int = 0
    upstream_cx_destroy: int = 0
    upstream_cx_destroy_local: int = 0
    upstream_cx_destroy_local_with_active_rq: int = 0
    upstream_cx_destroy_remote: int = 0
    upstream_cx_destroy_remote_with_active_rq: int = 0
    upstream_cx_destroy_with_active_rq: int = 0
    upstream_cx_http1_total: int = 0
    upstream_cx_http2_total: int = 0
    upstream_cx_http3_total: int = 0
    upstream_cx_idle_timeout: int = 0
    upstream_cx_max_duration_reached: int = 0
    upstream_cx_max_requests: int = 0
    upstream_cx_none_healthy: int = 0
    upstream_cx_overflow: int = 0
    upstream_cx_pool_overflow: int = 0
    upstream_cx_preconnect_skipped: int = 0
    upstream_cx_protocol_error: int = 0
    upstream_cx_rx_bytes_total: int = 0
    upstream_cx_total: int = 0
    upstream_cx_tx_bytes_total: int = 0
    upstream_flow_control_backed_up_total: int = 0
    upstream_flow_control_drained_total: int = 0
    upstream_flow_control_paused_reading_total: int = 0
    upstream_flow_control_resumed_reading_total: int = 0
    upstream_http3_broken: int = 0
    upstream_internal_redirect_failed_total: int = 0
    upstream_internal_redirect_succeeded_total: int = 0
    upstream_rq_0rtt: int = 0
    upstream_rq_active_overflow: int = 0
    upstream_rq_cancelled: int = 0
    upstream_rq_maintenance_mode: int = 0
    upstream_rq_max_duration_reached: int = 0
    upstream_rq_pending_failure_eject: int = 0
    upstream_rq_pending_overflow: int = 0
    upstream_rq_pending_total: int = 0
    upstream_rq_per_try_idle_timeout: int = 0
    upstream_rq_per_try_timeout: int = 0
    upstream_rq_retry: int = 0
    upstream_rq_retry_backoff_exponential: int = 0
    upstream_rq_retry_backoff_ratelimited: int = 0
    upstream_rq_retry_limit_exceeded: int = 0
    upstream_rq_retry_overflow: int = 0
    upstream_rq_retry_success: int = 0
    upstream_rq_rx_reset: int = 0
    upstream_rq_rx_reset_no_error: int = 0
    upstream_rq_timeout: int = 0
    upstream_rq_total: int = 0
    upstream_rq_tx_reset: int = 0


class _Gauges:
    lb_subsets_active: int = 0
    upstream_cx_active: int = 0
    upstream_cx_rx_bytes_buffered: int = 0
    upstream_cx_tx_bytes_buffered: int = 0
    upstream_queue_overloaded: int = 0
    upstream_rq_active: int = 0
    upstream_rq_pending_active: int = 0
    version: int = 0
    warming_state: int = 0


class _Http1Counters:
    http1_dropped_headers_with_underscores: int = 0
    http1_metadata_not_supported_error: int = 0
    http1_requests_rejected_with_underscores_in_headers: int = 0
    http1_response_flood: int = 0


def _names(group: type) -> tuple[str, ...]:
    return tuple(name for name in vars(group) if not name.startswith("_"))


_COUNTERS = _names(_Counters)
_GAUGES = _names(_Gauges)
_HTTP1 = _names(_Http1Counters)
_BREAKERS = ("cx", "cx_pool", "rq", "rq_pending", "rq_retry")
_REMAINING = ("cx", "cx_pools", "pending", "retries", "rq")
_SHARED = frozenset(
    [
        "default.total_match_count",
        "lb_subsets_single_host_per_subset_duplicate",
        "max_host_weight",
        *(f"ring_hash_lb.{what}" for what in ("size", "min_hashes_per_host", "max_hashes_per_host")),
        *(f"maglev_lb.{what}_entries_per_host" for what in ("min", "max")),
        *(f"membership_{what}" for what in ("change", "degraded", "excluded", "healthy", "total")),
        *(f"circuit_breakers.{one}.{name}_open" for one in PRIORITIES for name in _BREAKERS),
        *(f"circuit_breakers.{one}.remaining_{name}" for one in PRIORITIES for name in _REMAINING),
    ]
)


class ClusterStats(_Counters, _Gauges, _Http1Counters, StatGroup):
    """Counters, gauges and histograms of a cluster in one worker.

    The router raises `codes[status]` for each response from upstream (a `dict` with 0 for what is missing, so
    `codes[200] += 1` works), and `internal_codes` or `canary_codes` beside it when the request was internal
    or the host a canary; `upstream_rq_200`, `upstream_rq_2xx`, `upstream_rq_completed` and their
    `external.`/`internal.`/`canary.` forms are derived. `hidden_codes` are those of `codes` that show in these
    forms and as completed, but not under the cluster itself. `zone_codes[(from_zone, to_zone)]` gives
    `zone.<from>.<to>.*`.

    `common_counters` and `common_gauges` yield what is the same in all workers (membership, breakers); the
    cluster sets them.
    """

    COUNTERS = _COUNTERS
    SHARED = _SHARED
    GAUGES = _GAUGES
    HISTOGRAMS: ClassVar[dict[str, str]] = {
        "upstream_cx_connect_ms": "ms",
        "upstream_cx_length_ms": "ms",
        "upstream_rq_per_cx": "",
    }

    def __init__(self, name: str) -> None:
        self.prefix = f"cluster.{stat_name(name)}."
        self.codes = CodeCounts()
        self.internal_codes: CodeCounts | None = None
        self.canary_codes: CodeCounts | None = None
        self.retry_codes: CodeCounts | None = None
        self.hidden_codes: CodeCounts | None = None
        self.zone_codes: dict[tuple[str, str], CodeCounts] = {}
        self.common_counters: Callable[[], dict[str, int]] = dict
        self.common_gauges: Callable[[], dict[str, int]] = dict
        #: For load reports: requests that were dropped for whatever limit, and those of them by `drop_overloads`.
        self.rq_dropped = 0
        self.rq_drop_overload = 0
        #: What else the cluster is told to count.
        self.tracked: Tracked | None = None
        #: No number of Envoy's, so it shows only where it counts something: see `PoolRequest.on_stale`.
        self.upstream_rq_stale_retry = 0
        self.upstream_cx_connect_ms = Histogram()
        self.upstream_cx_length_ms = Histogram()
        self.upstream_rq_per_cx = Histogram("")
        self.upstream_rq_time = Histogram()
        self.internal_rq_time: Histogram | None = None
        self._http2: Http2CodecStats | None = None

    def rest(self) -> None:
        """No cluster counts here for now; another of the name will go on where the last one ended, as in Envoy.

        Connections and requests of the last one still count.
        """
        self.common_counters = self.common_gauges = dict
        if self.tracked is not None:
            self.tracked.rest()
        self.rq_dropped = self.rq_drop_overload = 0
        self.lb_subsets_active = 0

    def http2_stats(self) -> Http2CodecStats:
        """The numbers of the codec of HTTP/2, which show from its first connection on."""
        if self._http2 is None:
            self._http2 = Http2CodecStats(f"{self.prefix}http2.")
        return self._http2

    def count_internal(self, status: int) -> None:
        """Count a response to a request of internal origin, besides `codes`."""
        if self.internal_codes is None:
            self.internal_codes = CodeCounts()
        self.internal_codes[status] += 1

    def count_retried(self, status: int) -> None:
        """Count a response that was dropped because the request is tried again."""
        if self.retry_codes is None:
            self.retry_codes = CodeCounts()
        self.retry_codes[status] += 1

    def count_canary(self, status: int) -> None:
        """Count a response of a canary host, besides `codes`."""
        if self.canary_codes is None:
            self.canary_codes = CodeCounts()
        self.canary_codes[status] += 1

    def count_zone(self, from_zone: str, to_zone: str, status: int) -> None:
        """Count a response that crossed between named zones, besides `codes`."""
        self.zone_codes.setdefault((from_zone, to_zone), CodeCounts())[status] += 1

    def counters(self) -> dict[str, int]:
        """Full name → value; as in Envoy, without codes never seen and codecs never used."""
        prefix = self.prefix
        result = {prefix + name: getattr(self, name) for name in _COUNTERS}
        for name, value in self.common_counters().items():
            result[prefix + name] = value
        if self.upstream_cx_http1_total:
            for name in _HTTP1:
                result[f"{prefix}http1.{name.removeprefix('http1_')}"] = getattr(self, name)
        if self._http2 is not None and self.upstream_cx_http2_total:
            result.update(self._http2.counters())
        if self.upstream_rq_stale_retry:
            result[prefix + "upstream_rq_stale_retry"] = self.upstream_rq_stale_retry
        result.update(self._code_counters())
        if self.tracked is not None:
            result.update((prefix + name, value) for name, value in self.tracked.counters().items())
        return result

    def _code_counters(self) -> dict[str, int]:
        prefix = self.prefix
        codes = self.codes
        result: dict[str, int] = {prefix + "upstream_rq_completed": 0}
        codes.write(prefix, result, self.hidden_codes)
        external = codes
        if self.internal_codes is not None:
            self.internal_codes.write(prefix + "internal.", result)
            external = codes.minus(self.internal_codes)
        external.write(prefix + "external.", result)
        if self.canary_codes is not None:
            self.canary_codes.write(prefix + "canary.", result)
        if self.retry_codes is not None:
            self.retry_codes.write(prefix + "retry.", result)
        for (from_zone, to_zone), counts in self.zone_codes.items():
            counts.write(f"{prefix}zone.{from_zone}.{to_zone}.", result)
        return result

    def gauges(self) -> dict[str, int]:
        """Full name → present value."""
        prefix = self.prefix
        result = {prefix + name: getattr(self, name) for name in _GAUGES}
        for name, value in self.common_gauges().items():
            result[prefix + name] = value
        if self._http2 is not None and self.upstream_cx_http2_total:
            result.update(self._http2.gauges())
        if self.tracked is not None:
            result.update((prefix + name, value) for name, value in self.tracked.gauges().items())
        return result

    def shared(self) -> Iterable[str]:
        """See `StatGroup`."""
        return _SHARED if self.tracked is None else _SHARED | self.tracked.shared()

    def histograms(self) -> dict[str, Histogram]:
        """Full name → histogram; request times appear with the first request."""
        prefix = self.prefix
        result = {
            prefix + "upstream_cx_connect_ms": self.upstream_cx_connect_ms,
            prefix + "upstream_cx_length_ms": self.upstream_cx_length_ms,
            prefix + "upstream_rq_per_cx": self.upstream_rq_per_cx,
        }
        if self.tracked is not None:
            result.update((prefix + name, value) for name, value in self.tracked.histograms().items())
        if not self.upstream_rq_time.counts:
            return result
        result[prefix + "upstream_rq_time"] = external = self.upstream_rq_time
        if self.internal_rq_time is not None:
            result[prefix + "internal.upstream_rq_time"] = self.internal_rq_time
            external = _difference(external, self.internal_rq_time)
        if external.counts:
            result[prefix + "external.upstream_rq_time"] = external
        return result


class CodeCounts(dict[int, int]):
    """Responses by status code; a status not seen yet reads as 0."""

    __slots__ = ()

    def __missing__(self, status: int) -> int:
        return 0

    def minus(self, other: CodeCounts) -> CodeCounts:
        """The counts without those of `other`."""
        return CodeCounts({status: count - other[status] for status, count in self.items()})

    def write(self, prefix: str, into: dict[str, int], hidden: CodeCounts | None = None) -> None:
        """Add Envoy's names for these counts: per code, per class, completed; none if nothing was counted.

        Those that are `hidden` count as completed only.
        """
        completed = 0
        for status, total in self.items():
            completed += total
            count = total if hidden is None else total - hidden[status]
            if not count:
                continue
            names = (str(status), f"{status // 100}xx") if 100 <= status < 600 else ("unknown",)
            for name in names:
                name = f"{prefix}upstream_rq_{name}"
                into[name] = into.get(name, 0) + count
        if completed:
            into[prefix + "upstream_rq_completed"] = completed


def _difference(whole: Histogram, part: Histogram) -> Histogram:
    result = Histogram(whole.unit)
    for value, count in whole.counts.items():
        rest = count - part.counts.get(value, 0)
        if rest > 0:
            result.counts[value] = rest
    return result
