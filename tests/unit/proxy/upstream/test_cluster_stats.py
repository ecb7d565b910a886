"""Envoy's names of a cluster's numbers."""

from proxy.upstream.cluster_stats import ClusterStats


def test_everything_starts_at_zero_and_codes_are_absent():
    stats = ClusterStats("a")
    counters = stats.counters()
    assert counters["cluster.a.upstream_rq_total"] == 0
    assert counters["cluster.a.upstream_rq_completed"] == 0
    assert not any("xx" in name for name in counters)
    assert not any("http1" in name and "upstream" not in name for name in counters)
    assert stats.gauges()["cluster.a.upstream_cx_active"] == 0


def test_responses_count_by_code_and_class_and_origin():
    stats = ClusterStats("a")
    stats.codes[200] += 2
    stats.codes[404] += 1
    stats.codes[600] += 1
    stats.count_internal(200)
    stats.count_canary(404)
    stats.count_zone("x", "y", 200)
    counters = stats.counters()
    assert counters["cluster.a.upstream_rq_200"] == 2
    assert counters["cluster.a.upstream_rq_2xx"] == 2
    assert counters["cluster.a.upstream_rq_unknown"] == 1
    assert counters["cluster.a.upstream_rq_completed"] == 4
    assert counters["cluster.a.internal.upstream_rq_2xx"] == 1
    assert counters["cluster.a.external.upstream_rq_200"] == 1
    assert counters["cluster.a.external.upstream_rq_completed"] == 3
    assert counters["cluster.a.canary.upstream_rq_404"] == 1
    assert counters["cluster.a.zone.x.y.upstream_rq_completed"] == 1
    assert "cluster.a.upstream_rq_6xx" not in counters


def test_codec_counters_appear_with_the_first_connection():
    stats = ClusterStats("a")
    stats.upstream_cx_http1_total += 1
    assert stats.counters()["cluster.a.http1.response_flood"] == 0


def test_request_times_split_by_origin():
    stats = ClusterStats("a")
    assert "cluster.a.upstream_rq_time" not in stats.histograms()
    stats.upstream_rq_time.record(5)
    histograms = stats.histograms()
    assert histograms["cluster.a.upstream_rq_time"].counts == {5: 1}
    assert histograms["cluster.a.external.upstream_rq_time"].counts == {5: 1}


def test_objects_do_not_share_numbers():
    first, second = ClusterStats("a"), ClusterStats("b")
    first.upstream_rq_total += 1
    assert second.upstream_rq_total == 0
