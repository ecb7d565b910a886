"""docs/benchmarks.md from one run: what was asked and what came of it, tables, plots, method.

`python -m bench.load.document RESULT.json docs/benchmarks.md` writes it again from a kept result.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.load.limits import Verdict
from bench.load.picture import Bar, Bars, Lines, Panels, Picture
from bench.load.report import ratio_text
from bench.load.result import (
    Result,
    ScenarioResult,
    figures,
    ratios,
    read_result,
    subjects,
    values,
)
from bench.load.scenario import GROUPS, Scenario, all_scenarios

#: What stands for the cost of a scenario in the overview: the first of these that it has.
_COSTS: Final = ("cpu_us_per_request", "cpu_seconds_per_gb", "seconds_to_answer", "rss_mib")
_PERCENTILES: Final = {"p50": "p50_ms", "p90": "p90_ms", "p99": "p99_ms", "p99.9": "p99_9_ms"}
_INTRO: Final = """\
# Benchmarks

Written by `make bench` from one run; do not edit it by hand. What each scenario does stands in
[bench/load/scenarios](../bench/load/scenarios), how to compare two runs in [bench/README.md](../bench/README.md).
"""
_METHOD: Final = """\
## Method

- The same config goes to Outrider and to Envoy, one worker each; other proxies get a config that asks the same of
  them.
- The whole process tree of a proxy is pinned to one CPU. Load generator, origin and runner share the others.
- All proxies of a scenario stay up; rounds go through them in turn, each round starting with another one. A ratio
  is of two figures of the same round; shown are the median of the rounds and, in brackets, the least and greatest.
- CPU is user and system time of all processes of the proxy, from `/proc`.
- A scenario in which one request failed has no figures, nor has one for which too few rounds were quiet: a round
  counts only if other processes used less than the share of CPU time that is given below.
- Latency at a constant rate counts from the time at which a request was due (`outrider bench --rate`), so a proxy
  that stalls cannot hide it. The rate is half of what Envoy carries in a closed loop on this machine.
- RSS counts a page once per process, PSS shares it out.
"""
_ELSEWHERE: Final = """\
- Asked of traffic capture (rules applied and removed within 300 ms each, at most 10 us more CPU for a redirected
  connection, five minutes of 10,000 connections a minute): it takes root and network namespaces.
- Worker scaling beyond two, and rates with several workers where the machine has no CPU to spare for the load.
"""


def write(path: Path, result: Result, scenarios: Mapping[str, Scenario]) -> None:
    """The page, and its plots in a folder of the same name beside it."""
    # Of the bench extra alone, and slow to load.
    from bench.load.plots import draw

    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    pictures: list[Picture] = []
    path.write_text(page(result, scenarios, folder.name, pictures), encoding="utf-8")
    for picture in pictures:
        draw(picture, folder)


def page(result: Result, scenarios: Mapping[str, Scenario], folder: str, pictures: list[Picture]) -> str:
    """The text, and what it shows of `folder`, added to `pictures`."""
    measured = {found.scenario: found for found in result.scenarios if not found.refused}
    text = [_INTRO, *_summary(measured, scenarios)]
    bars = _bars(measured, scenarios)
    if bars:
        pictures.append(Bars("overview", "Cost beside Envoy: CPU per request or byte, start, memory", bars))
        text.append(f"![Cost of Outrider beside Envoy in each scenario]({folder}/overview.png)\n")
    for group in GROUPS:
        text += _group(group, measured, scenarios, folder, pictures)
    text.append(_METHOD)
    text += _machine(result)
    text += _not_measured(result, scenarios)
    return "\n".join(text)


def verdicts(found: ScenarioResult, scenario: Scenario) -> Iterator[tuple[str, Verdict, str]]:
    """Figure, verdict, and what was measured as text; for each bound that could be judged."""
    compared = ratios(found.rounds)
    own = values(found.rounds, "outrider") if "outrider" in subjects(found.rounds) else {}
    for name, limit in scenario.asked.items():
        ratio, value = compared.get(name), own.get(name)
        for verdict in limit.judge(ratio.median if ratio else None, value.median if value else None):
            is_ratio = verdict.text.endswith("Envoy")
            assert (ratio if is_ratio else value) is not None
            measured = ratio_text(ratio) if is_ratio and ratio else f"{value.median:.3g}" if value else ""
            yield name, verdict, measured


def _summary(measured: Mapping[str, ScenarioResult], scenarios: Mapping[str, Scenario]) -> list[str]:
    rows = []
    met = 0
    for name, scenario in scenarios.items():
        if name not in measured:
            continue
        for figure, verdict, shown in verdicts(measured[name], scenario):
            met += verdict.met
            end = "met" if verdict.met else f"**missed by {verdict.by:.1%}**"
            rows.append((verdict.met, f"| `{name}` | {_words(figure)} | {verdict.text} | {shown} | {end} |"))
    if not rows:
        return []
    rows.sort(key=lambda row: row[0])  # what is missed comes first
    return [
        "## What was asked\n",
        f"{met} of the {len(rows)} figures that were asked and measured are met; what is missed comes first.\n",
        "| scenario | figure | asked | measured | |\n|---|---|---|---|---|",
        *(text for _, text in rows),
        "",
    ]


def _bars(measured: Mapping[str, ScenarioResult], scenarios: Mapping[str, Scenario]) -> list[Bar]:
    bars = []
    for name, scenario in scenarios.items():
        if name not in measured:
            continue
        compared = ratios(measured[name].rounds)
        figure = next((cost for cost in _COSTS if cost in compared), None)
        if figure:
            asked = scenario.asked.get(figure)
            bars.append(Bar(name, compared[figure], asked.ratio_at_most if asked else None))
    return bars


def _group(
    group: str,
    measured: Mapping[str, ScenarioResult],
    scenarios: Mapping[str, Scenario],
    folder: str,
    pictures: list[Picture],
) -> list[str]:
    names = [name for name, scenario in scenarios.items() if scenario.group == group and name in measured]
    if not names:
        return []
    text = [f"## {group}\n"]
    shown = _pictures(group, {name: measured[name] for name in names})
    pictures += shown
    text += [f"![{picture.title}]({folder}/{picture.name}.png)\n" for picture in shown]
    for name in names:
        text += _table(measured[name], scenarios[name])
    return text


def _pictures(group: str, measured: Mapping[str, ScenarioResult]) -> list[Picture]:
    """Of all subjects, where there are more than two; of the percentiles, where there are several."""
    slug = group.lower().replace("/", "").replace(".", "").replace(" ", "-")
    crowded = {}
    curves = {}
    for name, found in measured.items():
        by_subject = {one: values(found.rounds, one) for one in subjects(found.rounds)}
        has = figures(found.rounds)
        if len(by_subject) > 2 and "cpu_us_per_request" in has:
            crowded[name] = {one: seen["cpu_us_per_request"].median for one, seen in by_subject.items()}
        if set(_PERCENTILES.values()) <= set(has):
            curves[name] = {
                one: {label: seen[figure].median for label, figure in _PERCENTILES.items()}
                for one, seen in by_subject.items()
            }
    shown: list[Picture] = []
    if crowded:
        shown.append(Panels(slug, f"{group}: CPU of each proxy", crowded, "us of CPU per request"))
    if curves:
        shown.append(Lines(f"{slug}-percentiles", f"{group}: latency", curves))
    return shown


def _table(found: ScenarioResult, scenario: Scenario) -> list[str]:
    names = subjects(found.rounds)
    compared = ratios(found.rounds)
    by_subject = {name: values(found.rounds, name) for name in names}
    judged: dict[str, list[str]] = {}
    for figure, verdict, _ in verdicts(found, scenario):
        end = "met" if verdict.met else f"**missed by {verdict.by:.1%}**"
        judged.setdefault(figure, []).append(f"{verdict.text}: {end}")
    head = ["", *names, *(["Outrider / Envoy"] if compared else []), *(["asked"] if judged else [])]
    lines = [
        f"**`{scenario.name}`** {scenario.title}. Load: {found.generator}.\n"
        if found.generator != "-"
        else f"**`{scenario.name}`** {scenario.title}.\n"
    ]
    lines += [_row(head), "|---|" + "---:|" * len(names) + "---|" * (len(head) - 1 - len(names))]
    for figure in figures(found.rounds):
        cells = [_words(figure), *(f"{by_subject[name][figure].median:.4g}" for name in names)]
        if compared:
            cells.append(ratio_text(compared[figure]) if figure in compared else "")
        if judged:
            cells.append("; ".join(judged.get(figure, [])))
        lines.append(_row(cells))
    return [*lines, ""]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _words(figure: str) -> str:
    return figure.replace("_", " ")


def _machine(result: Result) -> Iterator[str]:
    machine = result.machine
    noisiest = max((found.noise for found in result.scenarios if not found.refused), default=0.0)
    yield "## Machine, versions, command\n"
    yield f"- {machine['cpu']}, {machine['cpus']} CPUs, {machine['memory_gib']} GiB, Linux {machine['kernel']}"
    yield f"- Python {machine['python']}; " + ", ".join(
        f"{name} {text}" for name, text in result.versions.items()
    )
    yield f"- Begun {result.time}, took {result.seconds / 60:.1f} minutes; `{result.command}`"
    yield f"- In the noisiest round that counts, other processes used {noisiest:.1%} of the CPU time.\n"


def _not_measured(result: Result, scenarios: Mapping[str, Scenario]) -> Iterator[str]:
    yield "## What was not measured\n"
    ran = {found.scenario for found in result.scenarios}
    for found in result.scenarios:
        if found.refused:
            yield f"- `{found.scenario}`: no figures, {found.refused.splitlines()[0]}"
    absent = sorted({name for found in result.scenarios for name in found.missing})
    if absent:
        yield f"- Not installed here: {', '.join(absent)}."
    left = [f"`{name}`" for name in scenarios if name not in ran]
    if left:
        yield f"- Not part of this run (`python -m bench.load.run --scenario NAME`): {', '.join(left)}."
    yield _ELSEWHERE


def main() -> None:
    """Write the page again."""
    result, page = sys.argv[1:]
    write(Path(page), read_result(Path(result)), all_scenarios())


if __name__ == "__main__":
    main()
