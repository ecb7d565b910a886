"""A short coverage-guided exploration of every parser, from the inputs that are saved; each run looks elsewhere."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_EXISTS = sys.version_info < (3, 14) and platform.machine() == "x86_64"


@pytest.mark.skipif(not _EXISTS, reason="there is no atheris for this Python or machine")
def test_a_short_exploration_finds_nothing() -> None:
    command = [sys.executable, "-m", "tests.fuzz.explore", "--seconds", "1", "--jobs", "6"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert " inputs" in run.stdout
