from __future__ import annotations

from bench.load.limits import Limit
from bench.load.report import table
from bench.load.result import Spread, errors, ratios, subjects, values
from bench.load.scenario import Scenario

ROUNDS = [
    {"envoy": {"cpu": 60.0, "errors": 0}, "outrider": {"cpu": 30.0, "errors": 0}},
    {"outrider": {"cpu": 40.0, "errors": 0}, "envoy": {"cpu": 50.0, "errors": 2}},
    {"envoy": {"cpu": 100.0, "errors": 0}, "outrider": {"cpu": 40.0, "errors": 0}},
]


def scenario(**asked: Limit) -> Scenario:
    return Scenario(name="x", title="x", group="TCP", measure="throughput", asked=asked)


def test_the_ratio_is_the_median_of_pairs_with_its_spread() -> None:
    assert ratios(ROUNDS) == {"cpu": Spread(0.5, 0.4, 0.8)}


def test_one_proxy_alone_has_no_ratio() -> None:
    alone = [{"envoy": samples["envoy"]} for samples in ROUNDS]
    assert ratios(alone) == {}
    assert "ratio" not in table(alone, scenario())


def test_a_ratio_to_nothing_is_none() -> None:
    rounds = [{"envoy": {"ms": 0.0, "errors": 0}, "outrider": {"ms": 1.0, "errors": 0}}]
    assert ratios(rounds) == {}


def test_errors_of_all_rounds_count() -> None:
    assert errors(ROUNDS) == 2


def test_outrider_comes_first_then_envoy_then_the_others() -> None:
    assert subjects([{"nginx": {}, "envoy": {}, "outrider": {}}]) == ["outrider", "envoy", "nginx"]


def test_the_table_shows_medians_and_ratios() -> None:
    assert values(ROUNDS, "envoy")["cpu"].median == 60
    line = table(ROUNDS, scenario()).splitlines()[1].split()
    assert line == ["cpu", "40", "60", "0.50", "(0.40-0.80)"]


def test_what_was_asked_stands_beside_what_was_measured() -> None:
    assert "asked <= 0.5 x Envoy: met" in table(ROUNDS, scenario(cpu=Limit(ratio_at_most=0.5)))
    assert "asked <= 0.4 x Envoy: MISSED by 25.0%" in table(ROUNDS, scenario(cpu=Limit(ratio_at_most=0.4)))
    assert "asked <= 20: MISSED by 100.0%" in table(ROUNDS, scenario(cpu=Limit(at_most=20)))
    assert "asked >= 50: MISSED by 20.0%" in table(ROUNDS, scenario(cpu=Limit(at_least=50)))
