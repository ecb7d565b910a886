"""What counts as a change between two runs."""

from __future__ import annotations

import pytest

from bench.compare import changes
from bench.load.result import Result, ScenarioResult
from bench.load.settings import Round


def result(*samples: tuple[float, float], figure: str = "cpu_us_per_request", refused: str = "") -> Result:
    rounds: list[Round] = [
        {"outrider": {figure: ours, "errors": 0}, "envoy": {figure: envoys, "errors": 0}}
        for ours, envoys in samples
    ]
    return Result("t", "c", {}, {}, 0, [ScenarioResult("keepalive", refused=refused, rounds=rounds)])


def test_a_ratio_that_left_the_spread_of_the_other_run_is_a_change() -> None:
    (change,) = changes(result((50, 100), (60, 100)), result((40, 100), (45, 100)))
    assert (change.scenario, change.figure, change.better) == ("keepalive", "cpu_us_per_request", True)
    assert round(change.growth, 2) == 0.77


def test_spreads_that_overlap_are_noise() -> None:
    assert not list(changes(result((50, 100), (60, 100)), result((59, 100), (90, 100))))


def test_a_slower_machine_is_no_change() -> None:
    assert not list(changes(result((50, 100), (52, 100)), result((100, 200), (104, 200))))


@pytest.mark.parametrize("figure", ["requests_per_second", "gb_per_second", "rate_growth", "rate_of_2"])
def test_more_of_a_rate_is_better(figure: str) -> None:
    (change,) = changes(result((100, 100), figure=figure), result((150, 100), figure=figure))
    assert change.better


def test_a_run_without_figures_says_nothing() -> None:
    assert not list(changes(result((50, 100)), result((1, 100), refused="too noisy")))
