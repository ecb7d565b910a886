"""Latencies in bounded memory, as HdrHistogram keeps them: buckets that grow with the value."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

#: A bucket is at most 1/128 of its value wide and its middle stands for it: an error below 0.4 %.
_SUB_BITS: Final = 7
_EXACT: Final = 2 << _SUB_BITS


def bucket_of(nanoseconds: int) -> int:
    """The bucket's number (from 0) of a value of at least 0; below 256 each value has its own."""
    shift = nanoseconds.bit_length() - _SUB_BITS - 1
    return nanoseconds if shift <= 0 else (shift << _SUB_BITS) + (nanoseconds >> shift)


def bucket_bounds(number: int) -> tuple[int, int]:
    """The least value of a bucket, and the least above it, in nanoseconds."""
    if number < _EXACT:
        return number, number + 1
    shift = (number >> _SUB_BITS) - 1
    least = ((number & (_EXACT // 2 - 1)) + _EXACT // 2) << shift
    return least, least + (1 << shift)


class Histogram:
    """Counts by bucket; times go in and come out as seconds. Two hours have fewer than 5,000 buckets."""

    __slots__ = ("buckets", "count", "greatest", "least", "total")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.least = math.inf
        self.greatest = 0.0

    def record(self, seconds: float) -> None:
        """Count one time; one below 0 counts as 0."""
        seconds = max(seconds, 0.0)
        number = bucket_of(int(seconds * 1e9))
        self.buckets[number] = self.buckets.get(number, 0) + 1
        self.count += 1
        self.total += seconds
        if seconds > self.greatest:
            self.greatest = seconds
        if seconds < self.least:
            self.least = seconds

    def add(self, other: Histogram) -> None:
        """Take over what the other has counted."""
        for number, count in other.buckets.items():
            self.buckets[number] = self.buckets.get(number, 0) + count
        self.count += other.count
        self.total += other.total
        self.least = min(self.least, other.least)
        self.greatest = max(self.greatest, other.greatest)

    @property
    def mean(self) -> float:
        """Seconds; 0 where nothing was counted."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, share: float) -> float:
        """The seconds that `share` percent (0 to 100) did not exceed; 0 where nothing was counted."""
        wanted = max(1, math.ceil(self.count * share / 100 - 1e-9))
        seen = 0
        for number in sorted(self.buckets):
            seen += self.buckets[number]
            if seen >= wanted:
                least, above = bucket_bounds(number)
                return min(max((least + above) / 2e9, self.least), self.greatest)
        return 0.0

    def __iter__(self) -> Iterator[tuple[float, float, int]]:
        """(from, to, count) of each bucket in use, in seconds, ascending."""
        for number in sorted(self.buckets):
            least, above = bucket_bounds(number)
            yield least / 1e9, above / 1e9, self.buckets[number]
