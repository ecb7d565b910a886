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


def microseconds(
    cases: dict[str, Callable[[], object]], calls: int = 200, rounds: int = 60
) -> dict[str, float]:
    """Of one call of each case, which `calls` of them in a row are timed for; the cases take turns."""

    def slice_of(function: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            for _ in repeated:
                function()

        return run

    repeated = range(calls)
    times = best_times([slice_of(function) for function in cases.values()], rounds)
    return {name: seconds / calls * 1e6 for name, seconds in zip(cases, times, strict=True)}
