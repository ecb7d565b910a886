"""`http.<stat_prefix>.*`, `listener.<address>.http.<stat_prefix>.*` and `http1.*`, under Envoy's names."""

from __future__ import annotations

from typing import Final

from proxy.base.stats import Histogram, StatGroup

_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")


class _ByClass(StatGroup):
    """Counts responses by status class: one list increment a response."""

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.by_class = [0] * 10

    def counters(self) -> dict[str, int]:
        """See `StatGroup`."""
        result = super().counters()
        for index, name in enumerate(_CLASSES, 1):
            result[f"{self.prefix}downstream_rq_{name}"] = self.by_class[index]
        result[f"{self.prefix}downstream_rq_completed"] = sum(self.by_class)
        return result


class ListenerHttpStats(_ByClass):
    """Status classes per listener."""


class _Counters:
    downstream_cx_delayed_close_timeout: int = 0
    downstream_cx_destroy_active_rq: int = 0
    downstream_cx_destroy_local: int = 0
    downstream_cx_destroy_local_active_rq: int = 0
    downstream_cx_destroy_remote: int = 0
    downstream_cx_destroy_remote_active_rq: int = 0
    downstream_cx_drain_close: int = 0
    downstream_cx_http2_total: int = 0
    downstream_cx_http3_total: int = 0
    downstream_cx_idle_timeout: int = 0
    downstream_cx_max_duration_reached: int = 0
    downstream_cx_max_requests_reached: int = 0
    downstream_cx_overload_disable_keepalive: int = 0
    downstream_cx_protocol_error: int = 0
    downstream_cx_rx_bytes_total: int = 0
    downstream_cx_ssl_total: int = 0
    downstream_cx_total: int = 0
    downstream_cx_tx_bytes_total: int = 0
    downstream_cx_upgrades_total: int = 0
    downstream_flow_control_paused_reading_total: int = 0
    downstream_flow_control_resumed_reading_total: int = 0
    downstream_rq_failed_path_normalization: int = 0
    downstream_rq_header_timeout: int = 0
    downstream_rq_http1_total: int = 0
    downstream_rq_http2_total: int = 0
    downstream_rq_http3_total: int = 0
    downstream_rq_idle_timeout: int = 0
    downstream_rq_max_duration_reached: int = 0
    downstream_rq_non_relative_path: int = 0
    downstream_rq_overload_close: int = 0
    downstream_rq_redirected_with_normalized_path: int = 0
    downstream_rq_rejected_via_ip_detection: int = 0
    downstream_rq_response_before_rq_complete: int = 0
    downstream_rq_rx_reset: int = 0
    downstream_rq_timeout: int = 0
    downstream_rq_too_large: int = 0
    downstream_rq_too_many_premature_resets: int = 0
    downstream_rq_total: int = 0
    downstream_rq_tx_reset: int = 0
    downstream_rq_ws_on_non_ws_route: int = 0
    no_cluster: int = 0
    no_route: int = 0
    passthrough_internal_redirect_bad_location: int = 0
    passthrough_internal_redirect_no_route: int = 0
    passthrough_internal_redirect_predicate: int = 0
    passthrough_internal_redirect_too_many_redirects: int = 0
    passthrough_internal_redirect_unsafe_scheme: int = 0
    rq_direct_response: int = 0
    rq_overload_local_reply: int = 0
    rq_redirect: int = 0
    rq_reset_after_downstream_response_started: int = 0
    rq_total: int = 0
    rs_too_large: int = 0


class _Gauges:
    downstream_cx_http1_soft_drain: int = 0
    downstream_cx_http2_active: int = 0
    downstream_cx_http3_active: int = 0
    downstream_cx_rx_bytes_buffered: int = 0
    downstream_cx_ssl_active: int = 0
    downstream_cx_tx_bytes_buffered: int = 0
    downstream_cx_upgrades_active: int = 0
    downstream_rq_active: int = 0


class _Http1Counters:
    dropped_headers_with_underscores: int = 0
    metadata_not_supported_error: int = 0
    requests_rejected_with_underscores_in_headers: int = 0
    response_flood: int = 0


_TRACED: Final = ("client_enabled", "health_check", "not_traceable", "random_sampling", "service_forced")


def _names(group: type) -> tuple[str, ...]:
    return tuple(name for name in vars(group) if not name.startswith("_"))


class HttpStats(_Counters, _Gauges, _ByClass):
    """One connection manager's numbers; every name is a class attribute that starts at 0.

    What follows from others is derived when somebody reads: it would cost each connection an increment.
    """

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        #: By the reason of the decision to trace a request.
        self.traced = dict.fromkeys(_TRACED, 0)
        self.downstream_cx_length_ms = Histogram()
        self.downstream_rq_time = Histogram()

    def counters(self) -> dict[str, int]:
        """See `StatGroup`."""
        result = super().counters()
        for name in _names(_Counters):
            result[self.prefix + name] = getattr(self, name)
        prefix = self.prefix
        result[prefix + "downstream_cx_http1_total"] = (
            self.downstream_cx_total - self.downstream_cx_http2_total
        )
        result[prefix + "downstream_cx_destroy"] = (
            self.downstream_cx_destroy_local + self.downstream_cx_destroy_remote
        )
        for name, count in self.traced.items():
            result[f"{prefix}tracing.{name}"] = count
        return result

    def gauges(self) -> dict[str, int]:
        """See `StatGroup`."""
        prefix = self.prefix
        result = {prefix + name: getattr(self, name) for name in _names(_Gauges)}
        gone = self.downstream_cx_destroy_local + self.downstream_cx_destroy_remote
        active = self.downstream_cx_total - gone
        result[prefix + "downstream_cx_active"] = active
        result[prefix + "downstream_cx_http1_active"] = active - self.downstream_cx_http2_active
        return result

    def histograms(self) -> dict[str, Histogram]:
        """See `StatGroup`."""
        return {
            self.prefix + "downstream_cx_length_ms": self.downstream_cx_length_ms,
            self.prefix + "downstream_rq_time": self.downstream_rq_time,
        }


class Http1CodecStats(_Http1Counters, StatGroup):
    """`http1.*`: one group a worker, shared by all connection managers."""

    def __init__(self) -> None:
        super().__init__("http1.")

    def counters(self) -> dict[str, int]:
        """See `StatGroup`."""
        return {self.prefix + name: getattr(self, name) for name in _names(_Http1Counters)}
