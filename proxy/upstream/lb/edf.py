"""Earliest-deadline-first scheduling: weighted rotation that spreads the picks of a heavy host evenly.

Each host has a deadline one period (1 / weight) after its last; the earliest is next. Equal deadlines go in
the order of insertion. This is the schedule of Envoy's `EdfScheduler`, so both proxies pick in the same
order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heapreplace

from proxy.upstream.host import Host


class EdfScheduler:
    """A schedule over at least one host. `weight_of` gives a positive number, asked anew at each pick."""

    __slots__ = ("_heap", "_order", "_weight_of")

    def __init__(self, hosts: Sequence[Host], weight_of: Callable[[Host], float], picks: int = 0) -> None:
        """Start as if `picks` hosts had been picked already, so that workers do not start in step."""
        self._weight_of = weight_of
        weights = [weight_of(host) for host in hosts]
        rate = sum(weights)
        heap: list[tuple[float, int, Host]] = []
        for order, (host, weight) in enumerate(zip(hosts, weights, strict=True)):
            served = int(picks * weight / rate)
            picks_left = served + 1
            heap.append((picks_left / weight, order, host))
        done = sum(int(picks * weight / rate) for weight in weights)
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
        heapreplace(heap, (deadline + 1.0 / self._weight_of(host), order, host))
        return host
