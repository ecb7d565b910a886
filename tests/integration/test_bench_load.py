"""The harness of our own benchmarks, once through: a real round beside Envoy, and its page."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from bench.load.result import read_result

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench.load.run", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_round_beside_envoy(tmp_path: Path) -> None:
    done = run(
        "--scenario", "tcp", "--rounds", "1", "--duration", "1", "--max-noise", "1", "--output", str(tmp_path)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "asked <= 0.85 x Envoy" in done.stdout
    (path,) = tmp_path.glob("*-tcp.json")
    (found,) = read_result(path).scenarios
    samples = found.rounds[0]
    assert {"outrider", "envoy"} <= set(samples)
    for sample in samples.values():
        assert sample["errors"] == 0
        assert sample["requests_per_second"] > 100
        assert sample["cpu_us_per_request"] > 0


def test_a_machine_that_is_too_noisy_gives_no_figures(tmp_path: Path) -> None:
    # No round is quiet enough where nothing else may run at all.
    done = run("--scenario", "header-map", "--rounds", "1", "--max-noise", "-1", "--output", str(tmp_path))
    assert done.returncode == 1
    assert "no figures: the machine was too noisy" in done.stdout
    (path,) = tmp_path.glob("*.json")
    assert msgspec.json.decode(path.read_bytes())["scenarios"][0]["rounds"] == []
