from __future__ import annotations

import json

import pytest

from proxy.admin.stats_query import StatsQuery, StatsView
from proxy.admin.stats_render import as_html, as_json, as_text
from proxy.base.stats import StatsSum
from tests.support.admin_state import collected


def _view(buckets: str = "summary", *, histograms: bool = True) -> StatsView:
    total = StatsSum()
    total.update(
        0, collected({"c": 1}, {"g": 2}, {"h": {26: 1}, "n": {}} if histograms else {}, {"t": "<v>"})
    )
    total.flush()
    return StatsView(total, [], StatsQuery(buckets=buckets))


def _bounds(_name: str) -> tuple[float, ...]:
    return (25.0, 50.0)


def test_text_has_readouts_then_numbers_then_histograms() -> None:
    lines = "".join(as_text(_view(), _bounds)).splitlines()
    assert lines[:3] == ['t: "<v>"', "c: 1", "g: 2"]
    assert lines[3].startswith("h: P0(26.5,26.5) P25(26.5,26.5)")
    assert lines[4] == "n: No recorded values"


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        ("cumulative", "h: B25(0,0) B50(1,1)\n"),
        ("disjoint", "h: B25(0,0) B50(1,1)\n"),
        ("detailed", "h:\n  totals=26,1:1\n  intervals=26,1:1\n  summary=P0(26.5,26.5)"),
    ],
)
def test_text_shows_buckets_on_demand(mode: str, text: str) -> None:
    assert text in "".join(as_text(_view(mode), _bounds))


@pytest.mark.parametrize("mode", ["summary", "cumulative", "disjoint", "detailed"])
def test_json_is_whole_in_every_mode(mode: str) -> None:
    stats = json.loads("".join(as_json(_view(mode), _bounds)))["stats"]
    assert stats[:3] == [{"name": "t", "value": "<v>"}, {"name": "c", "value": 1}, {"name": "g", "value": 2}]
    histograms = stats[3]["histograms"]
    if mode == "summary":
        assert histograms["supported_quantiles"] == [0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 100]
        first, second = histograms["computed_quantiles"]
        assert first["values"][0] == {"cumulative": 26.5, "interval": 26.5}
        assert second["values"][0] == {"cumulative": None, "interval": None}
    elif mode == "detailed":
        assert histograms["details"][0]["totals"] == [{"lower_bound": 26, "width": 1, "count": 1}]
    else:
        assert histograms[0]["buckets"][1] == {"upper_bound": 50, "interval": 1, "cumulative": 1}


def test_json_of_nothing_is_an_empty_list() -> None:
    view = StatsView(StatsSum(), [], StatsQuery())
    assert json.loads("".join(as_json(view, _bounds))) == {"stats": []}
    assert json.loads("".join(as_json(_view(histograms=False), _bounds)))["stats"][-1]["name"] == "g"


def test_html_escapes_values() -> None:
    assert "&lt;v&gt;" in "".join(as_html(_view(), _bounds))
