"""The command: `python -m bench.load.run --scenario keepalive --rounds 3 --duration 4`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from bench.load.report import errors, machine, table, write_result
from bench.load.scenarios import SCENARIOS
from bench.load.settings import Scenario, Settings
from bench.load.subjects import NAMES, cpus

_RESULTS = Path(__file__).resolve().parents[1] / "results" / "local"


def _parser() -> argparse.ArgumentParser:
    defaults = Settings()
    parser = argparse.ArgumentParser(
        prog="python -m bench.load.run",
        description="The same load through Outrider and through Envoy, in turn, on pinned CPUs.",
        epilog="Scenarios: " + "; ".join(f"{name}: {scenario.title}" for name, scenario in SCENARIOS.items()),
    )
    parser.add_argument("--scenario", action="append", choices=[*SCENARIOS, "all"], help="may be repeated")
    parser.add_argument("--rounds", type=int, default=defaults.rounds)
    parser.add_argument("--duration", type=float, default=defaults.duration, help="seconds per sample")
    parser.add_argument("--connections", type=int, default=defaults.connections)
    parser.add_argument("--clusters", type=int, default=defaults.clusters, help="of the cold start")
    parser.add_argument("--requests", type=int, default=defaults.requests, help="of the soak")
    parser.add_argument("--only", choices=NAMES, help="run one proxy, without ratios")
    parser.add_argument("--output", type=Path, default=_RESULTS, help="directory of the result files")
    return parser


def _chosen(names: list[str] | None) -> list[Scenario]:
    if not names:
        return [scenario for scenario in SCENARIOS.values() if scenario.default]
    if "all" in names:
        return [scenario for scenario in SCENARIOS.values() if scenario.name != "soak"]
    return [SCENARIOS[name] for name in names]


def main() -> int:
    """Run the scenarios; 1 if one of them saw errors, whose figures are then not shown."""
    given = _parser().parse_args()
    settings = Settings(
        rounds=given.rounds,
        duration=given.duration,
        connections=given.connections,
        clusters=given.clusters,
        requests=given.requests,
        proxies=(given.only,) if given.only else NAMES,
    )
    command = shlex.join(["python", "-m", "bench.load.run", *sys.argv[1:]])
    proxy_cpus, other_cpus = cpus()
    os.sched_setaffinity(0, other_cpus)
    if proxy_cpus == other_cpus:
        print("only one CPU: proxy and load generator share it, so requests/s and latencies mean little")
    failed = False
    for scenario in _chosen(given.scenario):
        print(f"\n{scenario.name}: {scenario.title}", flush=True)
        before = machine()
        rounds = []
        for samples in scenario.run(settings):
            rounds.append(samples)
            if scenario.series:
                print("  ", samples, flush=True)
        count = errors(rounds)
        if count:
            print(f"{count:g} requests failed: no figures from a run with errors")
            failed = True
            continue
        if not scenario.series:
            print(table(rounds, scenario))
        path = write_result(given.output, scenario.name, command, scenario.generator, before, rounds)
        print(f"written to {path}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
