"""Compares functions that do the same work: they run in turn, and of each the best slice counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence


def best_times(functions: Sequence[Callable[[], object]], rounds: int = 60) -> list[float]:
    """Seconds of one call of each function, the least over `rounds`.

    On a shared machine the mean tells about the neighbours. The least time of many short slices repeats within a
    few percent, and taking turns gives all of them the same chances.
    """
    best = [float("inf")] * len(functions)
    for _ in range(rounds):
        for index, function in enumerate(functions):
            start = time.perf_counter()
            function()
            best[index] = min(best[index], time.perf_counter() - start)
    return best
