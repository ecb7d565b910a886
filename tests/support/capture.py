"""`outrider iptables` on a host of a test network, and all that it could leave behind there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Self

from tests.support.capture_driver import KILLED
from tests.support.namespaces import Host
from tests.support.outrider import ROOT

_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_STATE = """
for tool in iptables-nft-save ip6tables-nft-save iptables-legacy-save ip6tables-legacy-save; do
    echo "== $tool"
    $tool 2>&1 | grep -v '^# .* on '
done
echo "== nft"; nft list ruleset
for version in 4 6; do
    echo "== ip -$version"
    ip -$version rule
    ip -$version route show table all | grep -v fe80:: # which come when the kernel is done probing
done
ip address show lo
"""


@dataclass(frozen=True)
class Outcome:
    status: int
    output: str
    errors: str

    @property
    def killed(self) -> bool:
        return self.status == KILLED


class Capture:
    """Runs the command as `host`, many times in a row. Use as a context manager."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._process: subprocess.Popen[str] = host.call(
            subprocess.Popen,
            [sys.executable, "-m", "tests.support.capture_driver"],
            cwd=ROOT,
            env={**os.environ, "PATH": _PATH, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=20)

    def attempt(self, *words: str, stop: int = -1) -> Outcome:
        """One run, whatever comes of it; it is killed after `stop` steps."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([words, stop]), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        return Outcome(answer["status"], answer["output"], answer["errors"])

    def __call__(self, *words: str) -> str:
        """One run, which must do; what it said."""
        done = self.attempt(*words)
        assert done.status == 0, f"{' '.join(words)} ended with {done.status}: {done.output}{done.errors}"
        assert "Traceback" not in done.errors
        return done.output + done.errors

    def shell(self, script: str) -> str:
        """Run a shell script as the host; what it printed."""
        return self(f"!set -e\n{script}")

    def state(self) -> str:
        """Everything that rules could be seen in."""
        return self.attempt(f"!{_STATE}").output
