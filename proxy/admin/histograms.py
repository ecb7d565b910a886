"""Quantiles, buckets and sums of recorded counts, computed as Envoy's circllhist does.

A recorded value stands for a bin: of width 0.1 from 1, of 1 from 10, of 10 from 100, and so on; 0 is a bin of
width 0. The n values of a bin are taken to lie at equal distances inside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

QUANTILES: Final = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1.0)

#: Upper bounds of Envoy's buckets, its `Histogram::ConstSupportedBuckets` default.
DEFAULT_BUCKETS: Final = (
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0, 30000.0, 60000.0,
    300000.0, 600000.0, 1800000.0, 3600000.0,
)  # fmt: skip

#: Stat name → upper bounds of its buckets, ascending.
BucketsOf = Callable[[str], Sequence[float]]


def default_buckets(_name: str) -> Sequence[float]:
    """`DEFAULT_BUCKETS` for every histogram."""
    return DEFAULT_BUCKETS


def bin_width(lower: int) -> float:
    """The width of the bin that begins at a recorded value."""
    if lower == 0:
        return 0.0
    return float(10.0 ** (len(str(lower)) - 2))


def quantiles(counts: Mapping[int, int]) -> list[float]:
    """The values at `QUANTILES`, ten NaN if nothing was recorded."""
    total = sum(counts.values())
    if not total:
        return [math.nan] * len(QUANTILES)
    bins = iter(sorted(counts.items()))
    lower, count = next(bins)
    before = 0
    result = []
    for quantile in QUANTILES:
        # The fraction is kept from just overshooting a whole rank, as 0.9 * 10 would.
        rank = max(1, math.ceil(quantile * total - 1e-9))
        while rank > before + count:
            before += count
            lower, count = next(bins)
        result.append(lower + bin_width(lower) * (rank - before) / (count + 1))
    return result


def cumulative_buckets(counts: Mapping[int, int], bounds: Sequence[float]) -> list[int]:
    """For each upper bound the number of values recorded in bins that begin at or below it."""
    bins = sorted(counts.items())
    result = []
    running = position = 0
    for bound in bounds:
        while position < len(bins) and bins[position][0] <= bound:
            running += bins[position][1]
            position += 1
        result.append(running)
    return result


def disjoint_buckets(counts: Mapping[int, int], bounds: Sequence[float]) -> list[int]:
    """As `cumulative_buckets`, without what lies in the buckets before."""
    running = cumulative_buckets(counts, bounds)
    return [value - before for value, before in zip(running, [0, *running], strict=False)]


def approximate_sum(counts: Mapping[int, int]) -> float:
    """The sum of what was recorded: each value taken at the harmonic mean of its bin's edges."""
    total = 0.0
    for lower, count in counts.items():
        upper = lower + bin_width(lower)
        if lower:
            total += count * (2.0 * lower * upper / (lower + upper))
    return total


def number(value: float) -> str:
    """A float as Envoy prints it: shortest form that reads back, no `.0`, `nan` for not-a-number."""
    if math.isnan(value):
        return "nan"
    text = repr(value)
    return text.removesuffix(".0")


def quantile_summary(interval: Mapping[int, int], cumulative: Mapping[int, int]) -> str:
    """`P0(1,1) P25(...) ...`, each with the last interval's and the cumulative value."""
    return " ".join(
        f"P{number(100 * quantile)}({number(recent)},{number(ever)})"
        for quantile, recent, ever in zip(QUANTILES, quantiles(interval), quantiles(cumulative), strict=True)
    )


def bucket_summary(bounds: Sequence[float], interval: Sequence[int], cumulative: Sequence[int]) -> str:
    """`B0.5(0,0) B1(2,3) ...` of bucket counts."""
    return " ".join(
        f"B{bound:g}({recent},{ever})"
        for bound, recent, ever in zip(bounds, interval, cumulative, strict=True)
    )


def detail(counts: Mapping[int, int]) -> str:
    """`lower,width:count` of every bin."""
    return ", ".join(f"{lower},{number(bin_width(lower))}:{counts[lower]}" for lower in sorted(counts))
