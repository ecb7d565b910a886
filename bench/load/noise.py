"""How much of the machine others used while something was measured."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec

from bench.load.processes import cpu_by_process, cpu_seconds, tree

_TICK = os.sysconf("SC_CLK_TCK")
#: Fields of a `cpu` line of /proc/stat: user, nice, system, and what the hypervisor took.
_BUSY = (1, 2, 3, 8)


class _Reading(msgspec.Struct, frozen=True):
    """Seconds; `others` by process id."""

    time: float
    busy: float
    own: float
    others: dict[int, float]


class Noise:
    """Counts from its making, and again from each `share`."""

    def __init__(self) -> None:
        self._last = self._read()

    def share(self) -> float:
        """The share of all CPU time since the last call that went to others, 0 to 1.

        Two estimates, of which the less counts: busy time of the machine without that of this process and its
        children, which takes the time of a child that nobody waited for as foreign; and the time of all other
        processes, which counts twice what they waited for.
        """
        now, last = self._read(), self._last
        self._last = now
        busy = now.busy - last.busy - (now.own - last.own)
        foreign = sum(spent - last.others.get(pid, 0.0) for pid, spent in now.others.items())
        least = min(max(0.0, busy), max(0.0, foreign))
        return least / max(1e-9, (now.time - last.time) * (os.cpu_count() or 1))

    @staticmethod
    def _read() -> _Reading:
        own = os.getpid()
        line = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
        busy = sum(int(line[index]) for index in _BUSY if index < len(line)) / _TICK
        return _Reading(time.monotonic(), busy, cpu_seconds(own), _others(set(tree(own))))


def _others(own: set[int]) -> dict[int, float]:
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return cpu_by_process(pid for pid in pids if pid not in own)
