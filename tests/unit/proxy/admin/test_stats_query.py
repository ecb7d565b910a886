from __future__ import annotations

import pytest

from proxy.admin.http import AdminRequest, BadParameterError, parse_target
from proxy.admin.stats_query import StatsQuery, StatsView, format_of, parse_query
from proxy.base.stats import StatsSum, StatTemplate, ZeroGroup
from tests.support.admin_state import collected

_TEMPLATE = StatTemplate({"up": 0, "down": 0}, {"hosts": 2}, ("time",))


def _total() -> StatsSum:
    total = StatsSum()
    total.update(
        0,
        collected(
            {"cluster.b.up": 3, "z": 0}, {"cluster.b.hosts": 2, "m": 0}, {"cluster.b.time": {5: 1}, "h": {}}
        ),
    )
    return total


def _numbers(target: str, zero: list[ZeroGroup]) -> list[tuple[str, int | None]]:
    view = StatsView(_total(), zero, parse_query(parse_target("GET", target)))
    return [(name, value) for name, value in view.numbers() if value is not None]


def test_names_of_groups_nobody_built_appear_in_order_with_their_first_values() -> None:
    zero = [ZeroGroup("cluster.c.", _TEMPLATE), ZeroGroup("cluster.a.", _TEMPLATE, {"hosts": 9})]
    assert _numbers("/stats", zero) == [
        ("cluster.a.down", 0),
        ("cluster.a.hosts", 9),
        ("cluster.a.up", 0),
        ("cluster.b.hosts", 2),
        ("cluster.b.up", 3),
        ("cluster.c.down", 0),
        ("cluster.c.hosts", 2),
        ("cluster.c.up", 0),
        ("m", 0),
        ("z", 0),
    ]


def test_a_name_that_a_worker_has_is_not_shown_twice() -> None:
    assert _numbers("/stats?filter=cluster.b", [ZeroGroup("cluster.b.", _TEMPLATE)]) == [
        ("cluster.b.down", 0),
        ("cluster.b.hosts", 2),
        ("cluster.b.up", 3),
    ]


def test_usedonly_hides_zeros() -> None:
    shown = _numbers("/stats?usedonly", [ZeroGroup("cluster.a.", _TEMPLATE)])
    assert shown == [("cluster.a.hosts", 2), ("cluster.b.hosts", 2), ("cluster.b.up", 3)]


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("/stats?type=Counters", ["cluster.b.up", "z"]),
        ("/stats?type=Gauges", ["cluster.b.hosts", "m"]),
        ("/stats?type=Histograms", []),
        ("/stats?filter=^z", ["z"]),
        ("/stats?filter=^z&invert_filter", ["cluster.b.hosts", "cluster.b.up", "m"]),
        ("/stats?hidden=only", []),
    ],
)
def test_a_query_selects_by_type_and_name(target: str, names: list[str]) -> None:
    assert [name for name, _ in _numbers(target, [])] == names


def test_histograms_include_those_nobody_built() -> None:
    view = StatsView(_total(), [ZeroGroup("cluster.a.", _TEMPLATE)], StatsQuery())
    assert [name for name, _ in view.all_histograms()] == ["cluster.a.time", "cluster.b.time", "h"]
    used = StatsView(_total(), [ZeroGroup("cluster.a.", _TEMPLATE)], StatsQuery(used_only=True))
    assert [name for name, _ in used.all_histograms()] == ["cluster.b.time"]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("type=x", "invalid &type= param"),
        ("hidden=x", r"usage: /stats\?hidden=\(include\|only\|exclude\)"),
        ("histogram_buckets=x", r"usage: /stats\?histogram_buckets=\(cumulative"),
        ("filter=(", "Invalid re2 regex: missing"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_is_allowed(query: str, text: str) -> None:
    with pytest.raises(BadParameterError, match=text):
        parse_query(parse_target("GET", "/stats?" + query))


def test_the_format_is_one_of_four() -> None:
    assert format_of(AdminRequest("GET", "/stats")) == "text"
    with pytest.raises(BadParameterError, match="usage"):
        format_of(AdminRequest("GET", "/stats", {"format": "xml"}))
    with pytest.raises(BadParameterError, match="active-html is not offered"):
        format_of(AdminRequest("GET", "/stats", {"format": "active-html"}))
