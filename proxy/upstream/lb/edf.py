"""Earliest-deadline-first scheduling: weighted rotation that spreads the picks of a heavy host evenly.

Each item has a deadline one period (1 / weight) after its last; the earliest is next. Equal deadlines go in
the order of insertion. This is the schedule of Envoy's `EdfScheduler`, so both proxies pick in the same
order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from heapq import heappop, heappush, heapreplace
from typing import Final, Generic, TypeVar

from proxy.upstream.lb.hash_weights import sort_in_steps

T = TypeVar("T")

#: Above this many the state after the first picks is reckoned instead of played through.
_MANY_PICKS: Final = 1024
#: So many items are looked at between two pauses.
_STEP: Final = 256
#: Beyond this the steps would be too fine to stay cheap numbers.
_LARGEST_UNIT: Final = 1 << 60


class EdfScheduler(Generic[T]):
    """A schedule over at least one item. `weight_of` gives a positive number, asked anew at each pick."""

    __slots__ = ("_gone", "_heap", "_now", "_order", "_unit", "_weight_of")

    def __init__(
        self,
        items: Sequence[T],
        weight_of: Callable[[T], float],
        picks: int = 0,
        *,
        whole: bool = False,
    ) -> None:
        """Start as if `picks` items had been picked already, so that workers do not start in step.

        `whole` promises that the weights are whole numbers and stay: time then runs in whole steps, so that
        equal deadlines are equal (a sum of fifths is not 1).
        """
        for _ in self._begin(items, weight_of, picks, whole):
            pass

    @classmethod
    def in_steps(
        cls, items: Sequence[T], weight_of: Callable[[T], float], picks: int = 0, *, whole: bool = False
    ) -> Generator[None, None, EdfScheduler[T]]:
        """The same, made in small steps."""
        made = cls.__new__(cls)
        yield from made._begin(items, weight_of, picks, whole)
        return made

    def _begin(
        self, items: Sequence[T], weight_of: Callable[[T], float], picks: int, whole: bool
    ) -> Generator[None, None, None]:
        self._weight_of = weight_of
        weights: list[float] = []
        for start in range(0, len(items), _STEP):
            weights += [weight_of(item) for item in items[start : start + _STEP]]
            yield
        self._unit: float = 1.0
        if whole:
            unit = math.lcm(*{int(weight) for weight in weights})
            self._unit = unit if unit < _LARGEST_UNIT else 1.0
        rate = sum(weights)
        # From the very start where that is quick: what is reckoned below has the deadlines right, but not the order
        # of equal ones.
        skipped = picks if picks > _MANY_PICKS else 0
        heap: list[tuple[float, int, T]] = []
        done = 0
        for order, (item, weight) in enumerate(zip(items, weights, strict=True)):
            served = int(skipped * weight / rate)
            done += served
            heap.append(((served + 1) * self._period(weight), order, item))
            if not order % _STEP:
                yield
        # A sorted list is a heap. Many items are brought into order piece by piece.
        self._heap = heap = yield from sort_in_steps(heap)
        self._order = len(heap)
        self._now: float = 0.0
        #: Items that are still in the heap but no longer in the schedule.
        self._gone: set[T] = set()
        for number in range(picks - done):
            self.pick()
            if not number % _STEP:
                yield

    def pick(self, _hash: int | None = None) -> T:
        """The next item of the schedule."""
        heap = self._heap
        deadline, _, item = heap[0]
        while item in self._gone:
            self._gone.discard(item)
            heappop(heap)
            deadline, _, item = heap[0]
        self._now = deadline
        self._order = order = self._order + 1
        heapreplace(heap, (deadline + self._period(self._weight_of(item)), order, item))
        return item

    def add(self, item: T) -> None:
        """Let an item in, at the end of its first period from now."""
        if item in self._gone:
            self._gone.discard(item)
            return
        self._order = order = self._order + 1
        heappush(self._heap, (self._now + self._period(self._weight_of(item)), order, item))

    def remove(self, item: T) -> None:
        """Pick this one no more; others must be left. It costs nothing now: it is dropped when its turn comes."""
        self._gone.add(item)

    def _period(self, weight: float) -> float:
        unit = self._unit
        return unit // weight if isinstance(unit, int) else unit / weight
