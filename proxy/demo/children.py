"""Starting, watching and ending child processes so that none outlives the demo.

Each child leads its own session: Ctrl-C reaches the demo alone, which then ends the children in order, and a
child that does not end is killed with everything that it started. If the demo itself is killed, the kernel
sends its children SIGTERM.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

_PR_SET_PDEATHSIG: Final = 1
# How much of a dead child's output is worth showing, in bytes.
_TAIL: Final = 2000
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """One running process; its output goes to `log`."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - a command of our own
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - the demo has one thread
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def ended(self) -> str | None:
        """Why the process is gone, with the end of its output; None while it runs."""
        code = self._process.poll()
        if code is None:
            return None
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with status {code}"
        output = self._log.read_bytes()
        tail = output if len(output) <= _TAIL else output[-_TAIL:].partition(b"\n")[2]
        said = tail.decode(errors="replace").strip()
        return f"{self.name} (pid {self.pid}) {how}" + (f"; it said:\n{said}" if said else "")

    def terminate(self) -> None:
        """Ask it to end."""
        if self._process.poll() is None:
            self._process.terminate()

    def finish(self, deadline: float) -> None:
        """Wait until monotonic time `deadline`, then kill what is left of its process group."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, deadline - time.monotonic()))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


class Children:
    """All processes of the demo. Use as a context manager: leaving it ends them.

    `grace` is how many seconds they get after SIGTERM.
    """

    def __init__(self, directory: Path, grace: float = 4.0) -> None:
        self._directory = directory
        self._grace = grace
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start one more process."""
        log = self._directory / f"{name.replace(' ', '-')}.log"
        self._children.append(Child(name, command, log))

    def first_ended(self) -> str | None:
        """What to tell about a process that has ended by itself; None while all run."""
        return next((text for child in self._children if (text := child.ended())), None)

    def stop(self) -> None:
        """End all, the edge first as it was started last, so that no request runs into a missing upstream."""
        children = self._children[::-1]
        self._children = []
        for child in children:
            child.terminate()
        deadline = time.monotonic() + self._grace
        for child in children:
            child.finish(deadline)
