"""Names of listener statistics."""

from __future__ import annotations

from proxy.downstream.listener_stats import ListenerStats


def test_each_worker_has_twins_of_the_connection_counts() -> None:
    stats = ListenerStats("listener.a.", 3)
    stats.downstream_cx_total = 5
    stats.downstream_cx_active = 2
    assert stats.counters()["listener.a.downstream_cx_total"] == 5
    assert stats.counters()["listener.a.worker_3.downstream_cx_total"] == 5
    assert stats.gauges()["listener.a.worker_3.downstream_cx_active"] == 2


def test_nothing_accepted_leaves_the_histogram_empty() -> None:
    histograms = ListenerStats("listener.a.", 0).histograms()
    assert histograms["listener.a.connections_accepted_per_socket_event"].counts == {}
