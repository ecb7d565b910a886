"""What a tree of processes costs, from /proc: CPU time, memory, descriptors."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

_TICK = os.sysconf("SC_CLK_TCK")


class TreeMemory(msgspec.Struct, frozen=True):
    """Memory of a tree in MiB. RSS counts a page once per process, PSS shares it out."""

    rss: float
    pss: float


def tree(root: int) -> list[int]:
    """`root` and all its descendants, whichever thread started them."""
    found = []
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        try:
            tasks = list(Path(f"/proc/{pid}/task").iterdir())
        except OSError:
            continue
        for task in tasks:
            try:
                waiting += [int(child) for child in (task / "children").read_text().split()]
            except OSError:
                continue
    return found


def cpu_by_process(pids: Iterable[int]) -> dict[int, float]:
    """User and system time in seconds of each process that is there, with ended children that it waited for."""
    found = {}
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        found[pid] = sum(int(fields[index]) for index in (11, 12, 13, 14)) / _TICK
    return found


def cpu_seconds(root: int) -> float:
    """The same of a whole tree."""
    return sum(cpu_by_process(tree(root)).values())


def memory(root: int) -> TreeMemory:
    """Memory of the tree now."""
    rss = pss = 0
    for pid in tree(root):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith("Rss:"):
                rss += int(line.split()[1])
            elif line.startswith("Pss:"):
                pss += int(line.split()[1])
    return TreeMemory(rss / 1024, pss / 1024)


def descriptors(root: int) -> int:
    """Open file descriptors of the tree."""
    count = 0
    for pid in tree(root):
        try:
            count += len(os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            continue
    return count
