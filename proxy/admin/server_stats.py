"""The controller's own numbers, under Envoy's names.

The controller creates one of each in its registry and writes the attributes; `ServerStats.refresh` fills in
what is measured when somebody asks.
"""

from __future__ import annotations

from typing import ClassVar

from proxy.admin.memory import MemorySizes
from proxy.base.stats import Histogram, StatGroup

_CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx")

#: `server.state`, and ServerFacts.state.
STATES = {"LIVE": 0, "DRAINING": 1, "PRE_INITIALIZING": 2, "INITIALIZING": 3}


class ServerStats(StatGroup):
    """`server.*`; prefix "server."."""

    live: int
    state: int
    uptime: int
    concurrency: int
    total_connections: int
    parent_connections: int
    hot_restart_epoch: int
    #: 0 without hot restart; the name is there only with it.
    hot_restart_generation = 0
    version: int
    days_until_first_cert_expiring: int
    seconds_until_first_ocsp_response_expiring: int
    memory_allocated: int
    memory_heap_size: int
    memory_physical_size: int
    static_unknown_fields: int
    dynamic_unknown_fields: int
    dropped_stat_flushes: int
    initialization_time_ms: Histogram
    COUNTERS: ClassVar = (
        "debug_assertion_failures", "dropped_stat_flushes", "dynamic_unknown_fields",
        "envoy_bug_failures", "envoy_notifications", "main_thread.watchdog_mega_miss",
        "main_thread.watchdog_miss", "static_unknown_fields", "wip_protos",
    )  # fmt: skip
    GAUGES: ClassVar = (
        "compilation_settings.fips_mode", "concurrency", "days_until_first_cert_expiring",
        "hot_restart_epoch", "live", "memory_allocated", "memory_heap_size", "memory_physical_size",
        "parent_connections", "seconds_until_first_ocsp_response_expiring", "state",
        "stats_recent_lookups", "total_connections", "uptime", "version",
    )  # fmt: skip
    HISTOGRAMS: ClassVar = {"initialization_time_ms": "ms"}

    def gauges(self) -> dict[str, int]:
        """See `StatGroup`."""
        found = super().gauges()
        if self.hot_restart_generation:
            found[f"{self.prefix}hot_restart_generation"] = self.hot_restart_generation
        return found

    def refresh(
        self, state: str, uptime: float, sizes: MemorySizes, days_until_expiry: int, staple_seconds: int
    ) -> None:
        """Set what is measured at reading time; `state` is a name of `STATES`, `uptime` seconds.

        The last two are until the first certificate and the first OCSP response expire.
        """
        self.state = STATES[state]
        self.live = int(state != "DRAINING")
        self.uptime = int(uptime)
        self.memory_allocated = sizes.private
        self.memory_heap_size = sizes.heap
        self.memory_physical_size = sizes.physical
        self.days_until_first_cert_expiring = days_until_expiry
        self.seconds_until_first_ocsp_response_expiring = staple_seconds


class ListenerManagerStats(StatGroup):
    """`listener_manager.*`; prefix "listener_manager."."""

    listener_added: int
    listener_create_failure: int
    listener_create_success: int
    listener_in_place_updated: int
    listener_modified: int
    listener_removed: int
    listener_stopped: int
    total_filter_chains_draining: int
    total_listeners_active: int
    total_listeners_draining: int
    total_listeners_warming: int
    workers_started: int
    COUNTERS: ClassVar = (
        "listener_added", "listener_create_failure", "listener_create_success",
        "listener_in_place_updated", "listener_modified", "listener_removed", "listener_stopped",
    )  # fmt: skip
    GAUGES: ClassVar = (
        "total_filter_chains_draining", "total_listeners_active", "total_listeners_draining",
        "total_listeners_warming", "workers_pinned", "workers_started",
    )  # fmt: skip


class ClusterManagerStats(StatGroup):
    """`cluster_manager.*`; prefix "cluster_manager."."""

    cluster_added: int
    cluster_modified: int
    cluster_removed: int
    cluster_updated: int
    active_clusters: int
    warming_clusters: int
    COUNTERS: ClassVar = (
        "cluster_added", "cluster_modified", "cluster_removed", "cluster_updated",
        "cluster_updated_via_merge", "update_merge_cancelled", "update_out_of_merge_window",
    )  # fmt: skip
    GAUGES: ClassVar = ("active_clusters", "warming_clusters")


class RuntimeStats(StatGroup):
    """`runtime.*`; prefix "runtime."."""

    load_error: int
    load_success: int
    override_dir_exists: int
    override_dir_not_exists: int
    admin_overrides_active: int
    num_keys: int
    num_layers: int
    COUNTERS: ClassVar = (
        "deprecated_feature_use", "load_error", "load_success", "override_dir_exists",
        "override_dir_not_exists",
    )  # fmt: skip
    GAUGES: ClassVar = (
        "admin_overrides_active", "deprecated_feature_seen_since_process_start", "num_keys", "num_layers",
    )  # fmt: skip


class FilesystemStats(StatGroup):
    """`filesystem.*` of the access log files; prefix "filesystem.". Workers have one each."""

    flushed_by_timer: int
    reopen_failed: int
    write_buffered: int
    write_completed: int
    write_failed: int
    write_total_buffered: int
    COUNTERS: ClassVar = (
        "flushed_by_timer", "reopen_failed", "write_buffered", "write_completed", "write_failed",
    )  # fmt: skip
    GAUGES: ClassVar = ("write_total_buffered",)


class AdminHttpStats(StatGroup):
    """`http.admin.*`; prefix "http.admin."."""

    by_class: list[int]
    downstream_cx_active: int
    downstream_cx_destroy: int
    downstream_cx_http1_active: int
    downstream_cx_http1_total: int
    downstream_cx_protocol_error: int
    downstream_cx_rx_bytes_total: int
    downstream_cx_total: int
    downstream_cx_tx_bytes_total: int
    downstream_rq_active: int
    downstream_rq_http1_total: int
    downstream_rq_too_large: int
    downstream_rq_total: int
    downstream_cx_length_ms: Histogram
    downstream_rq_time: Histogram
    COUNTERS: ClassVar = (
        "downstream_cx_delayed_close_timeout", "downstream_cx_destroy", "downstream_cx_destroy_active_rq",
        "downstream_cx_destroy_local", "downstream_cx_destroy_local_active_rq",
        "downstream_cx_destroy_remote", "downstream_cx_destroy_remote_active_rq",
        "downstream_cx_drain_close", "downstream_cx_http1_total", "downstream_cx_http2_total",
        "downstream_cx_http3_total", "downstream_cx_idle_timeout", "downstream_cx_max_duration_reached",
        "downstream_cx_max_requests_reached", "downstream_cx_overload_disable_keepalive",
        "downstream_cx_protocol_error", "downstream_cx_rx_bytes_total", "downstream_cx_ssl_total",
        "downstream_cx_total", "downstream_cx_tx_bytes_total", "downstream_cx_upgrades_total",
        "downstream_flow_control_paused_reading_total", "downstream_flow_control_resumed_reading_total",
        "downstream_rq_failed_path_normalization", "downstream_rq_header_timeout",
        "downstream_rq_http1_total", "downstream_rq_http2_total", "downstream_rq_http3_total",
        "downstream_rq_idle_timeout", "downstream_rq_max_duration_reached",
        "downstream_rq_non_relative_path", "downstream_rq_overload_close",
        "downstream_rq_redirected_with_normalized_path", "downstream_rq_rejected_via_ip_detection",
        "downstream_rq_response_before_rq_complete", "downstream_rq_rx_reset", "downstream_rq_timeout",
        "downstream_rq_too_large", "downstream_rq_too_many_premature_resets", "downstream_rq_total",
        "downstream_rq_tx_reset", "downstream_rq_ws_on_non_ws_route", "rs_too_large",
    )  # fmt: skip
    GAUGES: ClassVar = (
        "downstream_cx_active", "downstream_cx_http1_active", "downstream_cx_http1_soft_drain",
        "downstream_cx_http2_active", "downstream_cx_http3_active", "downstream_cx_rx_bytes_buffered",
        "downstream_cx_ssl_active", "downstream_cx_tx_bytes_buffered", "downstream_cx_upgrades_active",
        "downstream_rq_active",
    )  # fmt: skip
    HISTOGRAMS: ClassVar = {"downstream_cx_length_ms": "ms", "downstream_rq_time": "ms"}

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.by_class = [0] * 10

    def count(self, status: int) -> None:
        """Count one response."""
        self.by_class[status // 100] += 1

    def counters(self) -> dict[str, int]:
        """See `StatGroup`; the status classes also stand under the listener, as in Envoy."""
        result = super().counters()
        for prefix in (self.prefix, "listener.admin." + self.prefix):
            for index, name in enumerate(_CLASSES, 1):
                result[f"{prefix}downstream_rq_{name}"] = self.by_class[index]
            result[prefix + "downstream_rq_completed"] = sum(self.by_class)
        return result


class AdminListenerStats(StatGroup):
    """`listener.admin.*`; prefix "listener.admin."."""

    downstream_cx_active: int
    downstream_cx_destroy: int
    downstream_cx_overflow: int
    downstream_cx_total: int
    downstream_cx_length_ms: Histogram
    COUNTERS: ClassVar = (
        "downstream_cx_destroy", "downstream_cx_overflow", "downstream_cx_overload_reject",
        "downstream_cx_total", "downstream_cx_transport_socket_connect_timeout",
        "downstream_global_cx_overflow", "downstream_listener_filter_error",
        "downstream_listener_filter_remote_close", "downstream_pre_cx_timeout", "no_filter_chain_match",
    )  # fmt: skip
    GAUGES: ClassVar = ("downstream_cx_active", "downstream_pre_cx_active")
    HISTOGRAMS: ClassVar = {"connections_accepted_per_socket_event": "", "downstream_cx_length_ms": "ms"}

    def counters(self) -> dict[str, int]:
        """See `StatGroup`."""
        total = self.downstream_cx_total
        return {**super().counters(), f"{self.prefix}main_thread.downstream_cx_total": total}

    def gauges(self) -> dict[str, int]:
        """See `StatGroup`."""
        active = self.downstream_cx_active
        return {**super().gauges(), f"{self.prefix}main_thread.downstream_cx_active": active}
