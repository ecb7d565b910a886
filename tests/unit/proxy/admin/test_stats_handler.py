from __future__ import annotations

import json

import pytest

from proxy.base.stats import StatTemplate, ZeroGroup
from tests.support.admin_state import FakeAdminState, ask, collected


def _state() -> FakeAdminState:
    state = FakeAdminState()
    state.total.update(0, collected({"http.in.rq_total": 2}, {"server.live": 1}, {"h": {26: 1}}))
    state.zero = [ZeroGroup("cluster.a.", StatTemplate({"up": 0}, {}, ()))]
    return state


def test_text_json_html_and_prometheus_show_the_same_stats() -> None:
    assert ask(_state(), "/stats?type=Counters") == (
        200,
        "text/plain; charset=UTF-8",
        "cluster.a.up: 0\nhttp.in.rq_total: 2\n",
    )
    status, content_type, text = ask(_state(), "/stats?type=Counters&format=json")
    assert (status, content_type) == (200, "application/json")
    assert len(json.loads(text)["stats"]) == 2
    status, content_type, text = ask(_state(), "/stats?format=html")
    assert content_type == "text/html; charset=UTF-8"
    assert "http.in.rq_total: 2" in text
    assert text.rstrip().endswith("</html>")
    by_format = ask(_state(), "/stats?format=prometheus")
    assert by_format == ask(_state(), "/stats/prometheus")
    assert 'envoy_cluster_up{envoy_cluster_name="a"} 0\n' in by_format[2]


def test_histogram_buckets_of_prometheus_are_cumulative_or_a_summary() -> None:
    assert 'h_bucket{le="50"} 1' in ask(_state(), "/stats/prometheus")[2]
    assert 'h{quantile="0.5"} 26.5' in ask(_state(), "/stats/prometheus?histogram_buckets=summary")[2]
    status, _, text = ask(_state(), "/stats/prometheus?histogram_buckets=disjoint")
    assert status == 400
    assert text.startswith("unsupported prometheus histogram bucket mode\n")


@pytest.mark.parametrize("query", ["format=xml", "type=x", "filter=[", "histogram_buckets=x"])
def test_wrong_parameters_are_refused(query: str) -> None:
    assert ask(_state(), "/stats?" + query)[0] == 400
