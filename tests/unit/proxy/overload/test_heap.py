"""Memory goes back to the system."""

from __future__ import annotations

import os

from proxy.admin.memory import read_memory
from proxy.overload.heap import shrink_heap


def test_what_nobody_refers_to_is_given_back() -> None:
    # Blocks below the size that the allocator maps on its own, with live ones between them and the end.
    kept, gone = [], []
    for _ in range(2000):
        gone.append(bytearray(20_000))
        kept.append(bytearray(600))
    held = read_memory([os.getpid()]).physical
    gone.clear()
    shrink_heap()
    assert held - read_memory([os.getpid()]).physical > 20_000_000
    assert len(kept) == 2000
