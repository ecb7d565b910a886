"""docs/benchmarks.md from a run: what was missed stands first, what has no figures says why."""

from __future__ import annotations

from pathlib import Path

from bench.load.document import page
from bench.load.picture import Bars, Panels, Picture
from bench.load.result import Result, ScenarioResult, read_result
from bench.load.scenario import all_scenarios
from bench.load.settings import Round

MACHINE = {"cpu": "a", "cpus": 2, "memory_gib": 4, "kernel": "6", "python": "3.11", "load_before": 0.1}


def rounds(**cpu: float) -> list[Round]:
    return [
        {name: {"cpu_us_per_request": value, "requests_per_second": 1e6 / value, "errors": 0}}
        | {"envoy": {"cpu_us_per_request": 100.0, "requests_per_second": 1e4, "errors": 0}}
        for name, value in cpu.items()
    ]


def result(*scenarios: ScenarioResult) -> Result:
    return Result("2026-01-01T00:00:00+00:00", "the command", MACHINE, {"outrider": "1"}, 60, list(scenarios))


def shown(*scenarios: ScenarioResult) -> tuple[str, list[Picture]]:
    pictures: list[Picture] = []
    return page(result(*scenarios), all_scenarios(), "plots", pictures), pictures


def test_what_is_missed_comes_first_with_its_share() -> None:
    text, pictures = shown(
        ScenarioResult("keepalive", "wrk", rounds=rounds(outrider=50.0)),
        ScenarioResult("tcp", "wrk", rounds=rounds(outrider=170.0)),
    )
    assert "2 of the 3 figures that were asked and measured are met" in text
    missed = text.index(
        "| `tcp` | cpu us per request | <= 0.85 x Envoy | 1.70 (1.70-1.70) | **missed by 100.0%** |"
    )
    assert missed < text.index("| `keepalive` | cpu us per request | <= 0.6 x Envoy")
    (overview,) = pictures
    assert isinstance(overview, Bars)
    assert [(bar.label, bar.asked) for bar in overview.bars] == [("keepalive", 0.6), ("tcp", 0.85)]


def test_others_than_envoy_are_drawn() -> None:
    samples = rounds(outrider=50.0)
    samples[0]["nginx"] = {"cpu_us_per_request": 20.0, "requests_per_second": 5e4, "errors": 0}
    text, pictures = shown(ScenarioResult("keepalive", "wrk", rounds=samples))
    assert "|  | outrider | envoy | nginx |" in text
    panels = [picture for picture in pictures if isinstance(picture, Panels)]
    assert panels[0].groups == {"keepalive": {"outrider": 50.0, "envoy": 100.0, "nginx": 20.0}}


def test_what_has_no_figures_says_why() -> None:
    text, pictures = shown(ScenarioResult("grpc", refused="3 requests failed", missing=["haproxy"]))
    assert "- `grpc`: no figures, 3 requests failed" in text
    assert "- Not installed here: haproxy." in text
    assert "`soak`" in text[text.index("Not part of this run") :]
    assert pictures == []


def test_a_kept_run_is_the_same_again(tmp_path: Path) -> None:
    before = result(ScenarioResult("tcp", "wrk", rounds=rounds(outrider=80.0)))
    assert read_result(before.write(tmp_path)) == before
