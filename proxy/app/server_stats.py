"""The numbers that the controller itself answers for: `server.*`, `cluster_manager.*`, `runtime.*`"""

from __future__ import annotations

from typing import ClassVar

from proxy.base.stats import StatGroup
from proxy.version import VERSION


class ServerStats(StatGroup):
    """`server.*`; `state` is 0 live, 1 draining, 2 pre-initialising, 3 initialising, as in Envoy."""

    COUNTERS: ClassVar = (
        "debug_assertion_failures",
        "dropped_stat_flushes",
        "dynamic_unknown_fields",
        "envoy_bug_failures",
        "envoy_notifications",
        "static_unknown_fields",
        "wip_protos",
        "worker_restarted",
        "main_thread.watchdog_mega_miss",
        "main_thread.watchdog_miss",
    )
    GAUGES: ClassVar = (
        "compilation_settings.fips_mode",
        "concurrency",
        "days_until_first_cert_expiring",
        "hot_restart_epoch",
        "live",
        "memory_allocated",
        "memory_heap_size",
        "memory_physical_size",
        "parent_connections",
        "seconds_until_first_ocsp_response_expiring",
        "state",
        "stats_recent_lookups",
        "total_connections",
        "uptime",
        "version",
    )
    HISTOGRAMS: ClassVar = {"initialization_time_ms": "ms"}

    def __init__(self, concurrency: int) -> None:
        super().__init__("server.")
        values = self.__dict__
        values["concurrency"] = concurrency
        values["version"] = version_number()
        # Envoy's value for "no certificate".
        values["days_until_first_cert_expiring"] = 2**32 - 1
        values["state"] = 2


class ClusterManagerStats(StatGroup):
    """`cluster_manager.*`."""

    COUNTERS: ClassVar = (
        "cluster_added",
        "cluster_modified",
        "cluster_removed",
        "cluster_updated",
        "cluster_updated_via_merge",
        "update_merge_cancelled",
        "update_out_of_merge_window",
    )
    GAUGES: ClassVar = ("active_clusters", "warming_clusters")

    active_clusters: int
    cluster_added: int
    warming_clusters: int

    def __init__(self) -> None:
        super().__init__("cluster_manager.")


class RuntimeStats(StatGroup):
    """`runtime.*`."""

    COUNTERS: ClassVar = (
        "deprecated_feature_use",
        "load_error",
        "load_success",
        "override_dir_exists",
        "override_dir_not_exists",
    )
    GAUGES: ClassVar = (
        "admin_overrides_active",
        "deprecated_feature_seen_since_process_start",
        "num_keys",
        "num_layers",
    )

    admin_overrides_active: int
    load_success: int
    num_keys: int
    num_layers: int

    def __init__(self) -> None:
        super().__init__("runtime.")


def version_number() -> int:
    """`server.version`: the version as major * 65536 + minor * 256 + patch."""
    major, minor, patch = (int(part) for part in VERSION.split(".")[:3])
    return major << 16 | minor << 8 | patch
