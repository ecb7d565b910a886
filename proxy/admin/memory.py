"""How much memory the processes take, from Linux's `/proc/PID/smaps_rollup`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct


class MemorySizes(Struct, frozen=True):
    """Bytes. `private` is memory no other process shares, `heap` anonymous memory.

    `physical` counts every page once, shared ones divided among those who share them.
    """

    private: int = 0
    heap: int = 0
    physical: int = 0


def read_memory(process_ids: Iterable[int]) -> MemorySizes:
    """The sum over processes; one that has ended meanwhile counts nothing."""
    private = heap = physical = 0
    for process_id in process_ids:
        sizes = _rollup(process_id)
        private += sizes.get("Private_Clean", 0) + sizes.get("Private_Dirty", 0)
        heap += sizes.get("Anonymous", 0)
        physical += sizes.get("Pss", 0)
    return MemorySizes(private, heap, physical)


def _rollup(process_id: int) -> dict[str, int]:
    try:
        text = Path(f"/proc/{process_id}/smaps_rollup").read_text()
    except OSError:
        return {}
    sizes = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if value.endswith("kB"):
            sizes[name] = int(value.split()[0]) * 1024
    return sizes
