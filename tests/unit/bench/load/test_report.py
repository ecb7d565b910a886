from __future__ import annotations

import json
from pathlib import Path

from bench.load.report import errors, machine, ratios, table, write_result
from bench.load.settings import Scenario

ROUNDS = [
    {"envoy": {"cpu": 60.0, "errors": 0}, "outrider": {"cpu": 30.0, "errors": 0}},
    {"outrider": {"cpu": 40.0, "errors": 0}, "envoy": {"cpu": 50.0, "errors": 2}},
    {"envoy": {"cpu": 100.0, "errors": 0}, "outrider": {"cpu": 40.0, "errors": 0}},
]


def test_the_ratio_is_the_median_of_pairs_with_its_spread() -> None:
    assert ratios(ROUNDS) == {"cpu": (0.5, 0.4, 0.8)}


def test_one_proxy_alone_has_no_ratio() -> None:
    alone = [{"envoy": samples["envoy"]} for samples in ROUNDS]
    assert ratios(alone) == {}
    assert "ratio" not in table(alone)


def test_errors_of_all_rounds_count() -> None:
    assert errors(ROUNDS) == 2


def test_the_table_shows_medians_and_ratios() -> None:
    line = table(ROUNDS).splitlines()[1].split()
    assert line == ["cpu", "60", "40", "0.50", "(0.40-0.80)"]


def test_a_result_says_what_was_run_and_where(tmp_path: Path) -> None:
    path = write_result(tmp_path / "new", "keepalive", "python -m x", "wrk", machine(), ROUNDS)
    result = json.loads(path.read_text())
    assert result["command"] == "python -m x"
    assert result["machine"]["python"]
    assert len(result["rounds"]) == 3


def test_a_limit_stands_beside_its_ratio() -> None:
    rounds = [{"envoy": {"cpu": 10.0, "errors": 0}, "outrider": {"cpu": 5.0, "errors": 0}}]
    scenario = Scenario("x", "x", lambda settings: iter(()), limits={"cpu": 0.4}, ceilings={"cpu": 6})
    assert "limit 0.4: EXCEEDED" in table(rounds, scenario)
    scenario = Scenario("x", "x", lambda settings: iter(()), ceilings={"cpu": 6})
    assert "limit 6 absolute: kept" in table(rounds, scenario)
