"""Costs of single parts of Outrider, from `bench.micro`: what the other measures cannot see apart."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator

from bench.load.children import cpus, pinned
from bench.load.scenario import Scenario
from bench.load.settings import Round, Settings


def micro(scenario: Scenario, settings: Settings) -> Generator[Round]:
    """A process of its own each time, on the CPU of the proxy. There is nobody to compare with."""
    command = [sys.executable, "-m", "bench.micro.run", scenario.micro, "--json"]
    for _ in range(settings.rounds):
        with pinned(cpus()[0]):
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[1:])} failed: {done.stderr}")
        yield {"outrider": {**json.loads(done.stdout)[scenario.micro], "errors": 0}}
