from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.admin.prometheus import PrometheusRenderer
from proxy.admin.stats_query import StatsQuery, StatsView
from proxy.admin.tags import TagExtractor
from proxy.base.stats import StatsSum, StatTemplate, ZeroGroup
from tests.support.admin_state import collected


def _render(
    total: StatsSum, zero: list[ZeroGroup] | None = None, query: StatsQuery | None = None, **options: bool
) -> str:
    view = StatsView(total, zero or [], query or StatsQuery())
    return "".join(PrometheusRenderer(view, TagExtractor(), **options).render())


def _total() -> StatsSum:
    total = StatsSum()
    total.update(
        0,
        collected(
            {"cluster.a.upstream_rq_200": 3, "cluster.b.upstream_rq_200": 12_345_678, "http.in.rq_total": 4},
            {"server.live": 1, "cluster.a.circuit_breakers.default.remaining_cx_pools": 2**64 - 1},
            {"cluster.a.upstream_rq_time": {26: 1, 0: 2}},
            {"control_plane.identifier": 'x"y'},
        ),
    )
    return total


def test_counters_keep_their_names_and_print_whole_numbers() -> None:
    text = _render(_total())
    assert text.startswith(
        "# TYPE envoy_cluster_upstream_rq counter\n"
        'envoy_cluster_upstream_rq{envoy_cluster_name="a",envoy_response_code="200"} 3\n'
        'envoy_cluster_upstream_rq{envoy_cluster_name="b",envoy_response_code="200"} 12345678\n'
        "# TYPE envoy_http_rq_total counter\n"
        'envoy_http_rq_total{envoy_http_conn_manager_prefix="in"} 4\n'
    )
    assert "# TYPE envoy_server_live gauge\nenvoy_server_live 1\n" in text
    assert "HELP" not in text
    assert "_created" not in text


def test_histograms_have_buckets_sum_and_count() -> None:
    text = _render(_total())
    assert 'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="a",le="0.5"} 2\n' in text
    assert 'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="a",le="3600000"} 3\n' in text
    assert 'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="a",le="+Inf"} 3\n' in text
    assert 'envoy_cluster_upstream_rq_time_count{envoy_cluster_name="a"} 3\n' in text
    assert 'envoy_cluster_upstream_rq_time_sum{envoy_cluster_name="a"} 26.49' in text


def test_summaries_have_quantiles() -> None:
    text = _render(_total(), summaries=True)
    assert "# TYPE envoy_cluster_upstream_rq_time summary\n" in text
    assert 'envoy_cluster_upstream_rq_time{envoy_cluster_name="a",quantile="0.995"} 26.5\n' in text


def test_text_readouts_are_gauges_on_demand() -> None:
    assert "text_value" not in _render(_total())
    assert 'envoy_control_plane_identifier{text_value="x\\"y"} 1\n' in _render(_total(), text_readouts=True)


@pytest.mark.parametrize("name", ["c", "dotted.name", 'odd"na\\me'])
def test_clusters_nobody_called_have_the_same_samples_as_those_in_use(name: str) -> None:
    template = StatTemplate({"upstream_rq_200": 0, "up": 0}, {"hosts": 2}, ("upstream_rq_time",))
    by_name = _render(StatsSum(), [ZeroGroup(f"cluster.{name}.", template, {"hosts": 5})])
    total = StatsSum()
    total.update(
        0,
        collected(
            {f"cluster.{name}.upstream_rq_200": 0, f"cluster.{name}.up": 0},
            {f"cluster.{name}.hosts": 5},
            {f"cluster.{name}.upstream_rq_time": {}},
        ),
    )
    assert by_name == _render(total)


def test_a_metric_that_is_used_and_unused_has_one_type_line() -> None:
    template = StatTemplate({"upstream_rq_200": 0}, {}, ())
    zero = [ZeroGroup("cluster.a.", template), ZeroGroup("cluster.z.", template)]
    text = _render(_total(), zero)
    assert text.count("# TYPE envoy_cluster_upstream_rq counter\n") == 1
    assert text.count('{envoy_cluster_name="a",envoy_response_code="200"}') == 1
    assert '{envoy_cluster_name="z",envoy_response_code="200"} 0\n' in text


def test_a_filter_that_selects_nothing_gives_nothing() -> None:
    zero = [ZeroGroup("cluster.z.", StatTemplate({"up": 0}, {"g": 0}, ("h",)))]
    assert _render(_total(), zero, StatsQuery(keep=lambda name: False)) == ""


def test_prometheus_can_read_all_of_it() -> None:
    template = StatTemplate({"up": 0}, {}, ("upstream_rq_time",))
    text = _render(_total(), [ZeroGroup("cluster.z.", template)], text_readouts=True)
    families = {family.name: family.type for family in text_string_to_metric_families(text)}
    assert families["envoy_cluster_upstream_rq_time"] == "histogram"
    assert families["envoy_server_live"] == "gauge"
