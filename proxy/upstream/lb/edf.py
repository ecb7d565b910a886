"""Earliest-deadline-first scheduling: weighted rotation that spreads the picks of a heavy host evenly.

Each host has a deadline one period (1 / weight) after its last; the earliest is next. Equal deadlines go in
the order of insertion. This is the schedule of Envoy's `EdfScheduler`, so both proxies pick in the same
order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from heapq import heapify, heapreplace
from typing import Final

from proxy.upstream.host import Host

#: Above this many the state after the first picks is reckoned instead of played through.
_MANY_PICKS: Final = 1024
#: Beyond this the steps would be too fine to stay cheap numbers.
_LARGEST_UNIT: Final = 1 << 60


class EdfScheduler:
    """A schedule over at least one host. `weight_of` gives a positive number, asked anew at each pick."""

    __slots__ = ("_heap", "_order", "_unit", "_weight_of")

    def __init__(
        self,
        hosts: Sequence[Host],
        weight_of: Callable[[Host], float],
        picks: int = 0,
        *,
        whole: bool = False,
    ) -> None:
        """Start as if `picks` hosts had been picked already, so that workers do not start in step.

        `whole` promises that the weights are whole numbers and stay: time then runs in whole steps, so that equal
        deadlines are equal (a sum of fifths is not 1).
        """
        self._weight_of = weight_of
        weights = [weight_of(host) for host in hosts]
        self._unit: float = 1.0
        if whole:
            unit = math.lcm(*(int(weight) for weight in weights))
            self._unit = unit if unit < _LARGEST_UNIT else 1.0
        rate = sum(weights)
        # From the very start where that is quick: what is reckoned below has the deadlines right, but not the order
        # of equal ones.
        skipped = picks if picks > _MANY_PICKS else 0
        heap: list[tuple[float, int, Host]] = []
        for order, (host, weight) in enumerate(zip(hosts, weights, strict=True)):
            served = int(skipped * weight / rate)
            picks_left = served + 1
            heap.append((picks_left * self._period(weight), order, host))
        done = sum(int(skipped * weight / rate) for weight in weights)
        heapify(heap)
        self._heap = heap
        self._order = len(heap)
        for _ in range(picks - done):
            self.pick()

    def pick(self, _hash: int | None = None) -> Host:
        """The next host of the schedule."""
        heap = self._heap
        deadline, _, host = heap[0]
        self._order = order = self._order + 1
        heapreplace(heap, (deadline + self._period(self._weight_of(host)), order, host))
        return host

    def _period(self, weight: float) -> float:
        unit = self._unit
        return unit // weight if isinstance(unit, int) else unit / weight
