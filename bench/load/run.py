"""The command: `python -m bench.load.run --scenario keepalive --rounds 3 --duration 4`."""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from bench.load import document, loads, peers
from bench.load.children import cpus
from bench.load.measures.registry import MEASURES
from bench.load.noise import Noise
from bench.load.report import table
from bench.load.result import Result, ScenarioResult, errors
from bench.load.scenario import PEERS, Scenario, all_scenarios
from bench.load.settings import Settings
from bench.load.subjects import NAMES

#: Instead of noisy ones.
_SPARE_ROUNDS = 2
_DESCRIPTORS = 65_536
_RESULTS = Path(__file__).resolve().parents[1] / "results" / "local"


def _parser(scenarios: Mapping[str, Scenario]) -> argparse.ArgumentParser:
    defaults = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m bench.load.run",
        description="The same load through Outrider, through Envoy and through others, in turn, on pinned CPUs.",
        epilog="Scenarios: " + "; ".join(f"{name}: {scenario.title}" for name, scenario in scenarios.items()),
    )
    add = parser.add_argument
    add(
        "--scenario",
        action="append",
        choices=[*scenarios, "all"],
        metavar="NAME",
        help="may be repeated; `all` is all but the soaks (default: the short set)",
    )
    add("--rounds", type=int, default=defaults.rounds)
    add("--duration", type=float, default=defaults.duration, help="seconds per sample")
    add("--connections", type=int, default=defaults.connections)
    add("--clusters", type=int, default=defaults.clusters, help="of cold-start and of the mesh")
    add("--requests", type=int, default=defaults.requests, help="of the soak")
    add("--only", action="append", choices=[*NAMES, *PEERS], help="run these alone; may be repeated")
    add("--output", type=Path, default=_RESULTS, help="directory of the result file")
    add("--document", type=Path, help="write the page and its plots here, unless --scenario chooses some")
    add(
        "--max-noise",
        type=float,
        default=0.1,
        help="the greatest share of all CPU time that others may use in a round, 0 to 1; noisier ones do not count",
    )
    return parser


def _chosen(names: list[str] | None, scenarios: Mapping[str, Scenario]) -> list[Scenario]:
    if not names:
        return [scenario for scenario in scenarios.values() if scenario.short]
    if "all" in names:
        return [scenario for scenario in scenarios.values() if not scenario.series]
    return [scenarios[name] for name in names]


def _settings(scenario: Scenario, given: argparse.Namespace, found: ScenarioResult) -> Settings:
    players = tuple(given.only or (*NAMES, *scenario.peers))
    able = ("outrider",) if scenario.micro else (*NAMES, *scenario.peers)
    playing = tuple(name for name in players if name in able)
    found.missing = [name for name in playing if name in PEERS and not peers.installed(name)]
    return Settings(
        rounds=min(given.rounds, scenario.rounds or given.rounds),
        duration=min(given.duration, scenario.seconds or given.duration),
        connections=given.connections,
        clusters=given.clusters,
        requests=given.requests,
        subjects=tuple(name for name in playing if name not in found.missing),
    )


def measure(scenario: Scenario, given: argparse.Namespace) -> ScenarioResult:
    """One scenario, with its figures or the reason why there are none."""
    found = ScenarioResult(scenario.name, loads.name_of(scenario.load))
    settings = _settings(scenario, given, found)
    needed = loads.missing(scenario.load)
    if needed or not settings.subjects:
        found.refused = f"needs {needed}" if needed else "none of those chosen can play it"
        return found
    noisy: list[float] = []
    try:
        _take_rounds(scenario, settings, given.max_noise, found, noisy)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        found.refused = str(error).strip()
        return found
    count = errors(found.rounds)
    if count:
        found.refused = f"{count:g} requests failed"
    elif len(found.rounds) < settings.rounds:
        found.refused = (
            f"the machine was too noisy: others used up to {max(noisy):.0%} of its CPU time "
            f"in {len(noisy)} of {len(noisy) + len(found.rounds)} rounds"
        )
    return found


def _take_rounds(
    scenario: Scenario, settings: Settings, max_noise: float, found: ScenarioResult, noisy: list[float]
) -> None:
    """As many quiet rounds as are wanted; a noisy one is dropped, and a few more are tried instead."""
    spare = msgspec.structs.replace(settings, rounds=settings.rounds + _SPARE_ROUNDS)
    rounds = MEASURES[scenario.measure](scenario, spare)
    noise = Noise()
    with contextlib.closing(rounds):
        for samples in rounds:
            share = noise.share()
            if share > max_noise and not scenario.series and not errors([samples]):
                noisy.append(share)
                continue
            found.rounds.append(samples)
            found.noise = max(found.noise, share)
            if scenario.series:
                print("  ", samples, flush=True)
            elif len(found.rounds) == settings.rounds or errors([samples]):
                return


def main() -> int:
    """Run the scenarios; 1 if one of them has no figures."""
    scenarios = all_scenarios()
    given = _parser(scenarios).parse_args()
    # The proxies and origins are to end with this process, however it ends.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    command = shlex.join(["python", "-m", "bench.load.run", *sys.argv[1:]])
    proxy_cpus, other_cpus = cpus()
    result = Result.begin(command)
    os.sched_setaffinity(0, other_cpus)
    _allow_descriptors()
    if proxy_cpus == other_cpus:
        print("only one CPU: proxy and load generator share it, so requests/s and latencies mean little")
    started = time.monotonic()
    for scenario in _chosen(given.scenario, scenarios):
        print(f"\n{scenario.name}: {scenario.title}", flush=True)
        found = measure(scenario, given)
        result.scenarios.append(found)
        for name in found.missing:
            print(f"  not installed: {name}")
        if found.refused:
            print(f"  no figures: {found.refused}", flush=True)
        elif not scenario.series:
            print(table(found.rounds, scenario), flush=True)
    result.seconds = round(time.monotonic() - started, 1)
    print(f"\nwritten to {result.write(given.output)}", flush=True)
    if given.document:
        _document(given, result, scenarios)
    return 1 if any(found.refused for found in result.scenarios) else 0


def _allow_descriptors() -> None:
    """For this process and all below it: a proxy holds two for each of ten thousand connections."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with contextlib.suppress(PermissionError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, max(most, _DESCRIPTORS)))
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _document(given: argparse.Namespace, result: Result, scenarios: Mapping[str, Scenario]) -> None:
    if given.scenario and "all" not in given.scenario:
        print(f"{given.document} is of whole runs: not written")
    elif all(found.refused for found in result.scenarios):
        print(f"{given.document} is not written: there are no figures")
    else:
        document.write(given.document, result, scenarios)
        print(f"written to {given.document}")


if __name__ == "__main__":
    sys.exit(main())
