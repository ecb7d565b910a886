from __future__ import annotations

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf import json_format

from proxy.base.address import Address
from proxy.upstream.cluster_stats import ClusterStats
from proxy.upstream.health_flags import Health
from proxy.upstream.host import Host
from proxy.upstream.tracked import TrackConfig, Tracked, compile_tracked


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"track_cluster_stats": {}}, None),
        ({"track_timeout_budgets": True}, TrackConfig(timeout_budgets=True)),
        ({"track_cluster_stats": {"timeout_budgets": True}}, TrackConfig(timeout_budgets=True)),
        ({"track_cluster_stats": {"per_endpoint_stats": True}}, TrackConfig(per_endpoint_stats=True)),
    ],
)
def test_what_is_asked_for(fields: dict[str, object], expected: TrackConfig | None) -> None:
    assert compile_tracked(json_format.ParseDict(fields, cluster_pb2.Cluster())) == expected


def test_only_what_is_asked_for_is_there() -> None:
    assert set(Tracked(TrackConfig(timeout_budgets=True), tuple).histograms()) == {
        "upstream_rq_timeout_budget_percent_used",
        "upstream_rq_timeout_budget_per_try_percent_used",
    }
    assert len(Tracked(TrackConfig(request_response_sizes=True), tuple).histograms()) == 6
    assert not Tracked(TrackConfig(per_endpoint_stats=True), tuple).histograms()


def test_numbers_of_hosts() -> None:
    good, bad = Host(Address("::1", 80)), Host(Address("10.0.0.1", 80), health=Health.UNHEALTHY)
    good.stats.rq_total = 7
    stats = ClusterStats("c")
    stats.tracked = Tracked(TrackConfig(per_endpoint_stats=True), lambda: (good, bad))
    assert stats.counters()["cluster.c.endpoint.[__1]_80.rq_total"] == 7
    assert stats.gauges()["cluster.c.endpoint.[__1]_80.healthy"] == 1
    assert stats.gauges()["cluster.c.endpoint.10.0.0.1_80.healthy"] == 0
    # Two workers that find a host healthy do not make it twice so.
    assert "endpoint.10.0.0.1_80.healthy" in stats.shared()
    stats.rest()
    assert not any(".endpoint." in name for name in stats.gauges())


def test_another_cluster_of_the_name_counts_on() -> None:
    config = TrackConfig(timeout_budgets=True)
    former = Tracked(config, tuple)
    former.record("upstream_rq_timeout_budget_percent_used", 5)
    renewed = Tracked(config, tuple, former)
    assert renewed.histograms()["upstream_rq_timeout_budget_percent_used"].counts == {5: 1}
