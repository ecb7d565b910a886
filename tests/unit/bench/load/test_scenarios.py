"""The scenario files: all are read, and a mistake in one is named."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bench.load.measures.registry import MEASURES
from bench.load.scenario import GROUPS, all_scenarios, read_scenario
from bench.micro.run import NAMES


def test_each_scenario_can_be_played_and_is_shown_in_order() -> None:
    scenarios = all_scenarios()
    assert {scenario.measure for scenario in scenarios.values()} <= set(MEASURES)
    assert {scenario.micro for scenario in scenarios.values()} - {""} <= set(NAMES)
    places = [GROUPS.index(scenario.group) for scenario in scenarios.values()]
    assert places == sorted(places)
    assert sum(scenario.short for scenario in scenarios.values()) > 5


def test_the_figures_asked_in_the_issues_are_bounds_of_scenarios() -> None:
    asked = {
        (name, figure): limit for name, one in all_scenarios().items() for figure, limit in one.asked.items()
    }
    assert asked["keepalive", "cpu_us_per_request"].ratio_at_most == 0.6
    assert asked["tcp", "cpu_us_per_request"].ratio_at_most == 0.85
    assert asked["grpc", "cpu_us_per_request"].ratio_at_most == 0.75
    assert asked["latency-http1", "p99_ms"].ratio_at_most == 1.0


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("title: x\ngroup: TCP\nmeasure: throughput\nlaod: {}\n", "laod"),
        ("title: x\ngroup: TCP\nmeasure: throughput\nload: {connections: many}\n", "$.load.connections"),
        ("title: x\ngroup: TCP\n", "measure"),
        ("title: x\ngroup: TCP\nmeasure: throughput\nasked: {cpu: {}}\n", "a bound is needed"),
        ("title: x\ngroup: TCP\nmeasure: throughput\npeers: [squid]\n", "squid"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(msgspec.ValidationError) as raised:
        read_scenario(path)
    assert named in str(raised.value)
