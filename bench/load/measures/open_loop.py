"""Latency at a constant rate: half of what Envoy can carry, which both are given.

The load is that of `outrider bench --rate`: requests are due at fixed times and latency counts from then, so that a
proxy that stalls cannot hide it (coordinated omission).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

from bench.load import loads
from bench.load.bed import bed
from bench.load.children import cpus, pinned
from bench.load.configs import tcp_request
from bench.load.generator import HOST
from bench.load.processes import cpu_seconds
from bench.load.scenario import Scenario
from bench.load.settings import Round, Sample, Settings, order
from bench.load.subjects import Subject

_SHARE: Final = 0.5
#: A generator busier than this is itself what is waited for.
_BUSY: Final = 0.85
_CONNECTIONS: Final = 64
#: Seconds that are not measured.
WARM_UP: Final = 1.0
_FAR_BEHIND: Final = 0.98


def open_loop(scenario: Scenario, settings: Settings) -> Generator[Round]:
    """The rate is taken once, from a closed loop through Envoy, or through the only subject where it is not one."""
    with bed(scenario) as made:
        subjects = {name: made.start(name) for name in settings.subjects}
        for subject in subjects.values():
            loads.run(scenario.load, subject.port, 1, settings.connections)
        pacer = subjects.get("envoy") or next(iter(subjects.values()))
        seen = loads.run(scenario.load, pacer.port, settings.duration, settings.connections)
        rate = round(seen.requests / seen.seconds * _SHARE)
        for number in range(settings.rounds):
            yield {
                name: _sample(subjects[name], scenario, settings, rate) for name in order(settings, number)
            }


def _sample(subject: Subject, scenario: Scenario, settings: Settings, rate: int) -> Sample:
    cpu = cpu_seconds(subject.pid)
    own = os.times()
    found = paced(subject.port, scenario, settings, rate)
    now = os.times()
    cpu = cpu_seconds(subject.pid) - cpu
    subject.check()
    busy = now.children_user + now.children_system - own.children_user - own.children_system
    seconds = found["seconds"] + WARM_UP
    if busy / seconds > _BUSY:
        raise RuntimeError(
            f"the load generator was busy for {busy / seconds:.0%} of the time: it was the limit"
        )
    latency = found["latency"]
    errors = sum(found["errors"].values()) + found["unsent"]
    return {
        "rate_asked": rate,
        "requests_per_second": found["rate"],
        "p50_ms": latency["p50"] * 1e3,
        "p90_ms": latency["p90"] * 1e3,
        "p99_ms": latency["p99"] * 1e3,
        "p99_9_ms": latency["p99.9"] * 1e3,
        "cpu_us_per_request": cpu * 1e6 / max(1.0, found["succeeded"] * seconds / found["seconds"]),
        "errors": errors if found["rate"] < rate * _FAR_BEHIND else sum(found["errors"].values()),
    }


def paced(
    port: int,
    scenario: Scenario,
    settings: Settings,
    rate: int,
    connections: int = _CONNECTIONS,
    *,
    new_connections: bool = False,
) -> dict[str, Any]:
    """Everything that `outrider bench` says of a load at this rate; a connection may carry one request only."""
    kind = scenario.config.kind
    scheme = "tcp" if kind == "tcp" else "h2c" if scenario.load.kind == "http2" else "http"
    options = ["-c", str(scenario.load.connections or connections), "-d", f"{settings.duration:g}"]
    if new_connections:
        options.append("--new-connection")
    if scheme == "tcp":
        request = tcp_request(HOST)
        options += ["--body-hex", request.hex(), "--expect-bytes", str(scenario.origin.size)]
    else:
        options += ["-H", f"host: {HOST}"] if scheme == "http" else ["-m", str(scenario.load.streams)]
    with tempfile.TemporaryDirectory(prefix="bench-open-") as directory, pinned(cpus()[1]):
        url = f"{scheme}://127.0.0.1:{port}/" if scheme != "tcp" else f"tcp://127.0.0.1:{port}"
        command = [sys.executable, "-m", "proxy", "bench", url, "--rate", str(rate), *options]
        command += ["--warm-up", f"{WARM_UP:g}", "--report", directory]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=settings.duration + 90, check=False
        )
        if done.returncode:
            raise RuntimeError(f"outrider bench failed: {done.stdout}{done.stderr}")
        found: dict[str, Any] = json.loads((Path(directory) / "report.json").read_text())
    return found
