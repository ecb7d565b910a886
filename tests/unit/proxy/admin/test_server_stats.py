from __future__ import annotations

from proxy.admin.memory import MemorySizes
from proxy.admin.server_stats import (
    AdminHttpStats,
    AdminListenerStats,
    ClusterManagerStats,
    FilesystemStats,
    ListenerManagerStats,
    RuntimeStats,
    ServerStats,
)


def test_server_gauges_follow_the_state() -> None:
    stats = ServerStats("server.")
    stats.refresh("LIVE", 12.9, MemorySizes(1, 2, 3), 99, 7)
    gauges = stats.gauges()
    assert (gauges["server.live"], gauges["server.state"], gauges["server.uptime"]) == (1, 0, 12)
    assert gauges["server.memory_physical_size"] == 3
    assert gauges["server.days_until_first_cert_expiring"] == 99
    assert gauges["server.seconds_until_first_ocsp_response_expiring"] == 7
    stats.refresh("DRAINING", 13, MemorySizes(), 99, 7)
    assert (stats.live, stats.state) == (0, 1)
    stats.refresh("INITIALIZING", 13, MemorySizes(), 99, 7)
    assert (stats.live, stats.state) == (1, 3)


def test_names_are_those_of_envoy() -> None:
    assert "server.main_thread.watchdog_miss" in ServerStats("server.").counters()
    assert "listener_manager.workers_started" in ListenerManagerStats("listener_manager.").gauges()
    assert "cluster_manager.active_clusters" in ClusterManagerStats("cluster_manager.").gauges()
    assert "runtime.num_keys" in RuntimeStats("runtime.").gauges()
    assert "filesystem.write_failed" in FilesystemStats("filesystem.").counters()


def test_admin_responses_are_counted_by_class_in_both_places() -> None:
    stats = AdminHttpStats("http.admin.")
    stats.count(200)
    stats.count(404)
    counters = stats.counters()
    assert counters["http.admin.downstream_rq_2xx"] == 1
    assert counters["listener.admin.http.admin.downstream_rq_4xx"] == 1
    assert counters["http.admin.downstream_rq_completed"] == 2


def test_the_admin_listener_counts_in_the_main_thread() -> None:
    stats = AdminListenerStats("listener.admin.")
    stats.downstream_cx_total = 3
    stats.downstream_cx_active = 1
    assert stats.counters()["listener.admin.main_thread.downstream_cx_total"] == 3
    assert stats.gauges()["listener.admin.main_thread.downstream_cx_active"] == 1
