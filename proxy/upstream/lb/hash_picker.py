"""A ring or table that is in service, and its replacement, which is built in slices between other work.

Building either takes up to some 100 ms for many hosts, which no request is to wait for. The former one serves
meanwhile; hosts that may no longer be picked are passed over in it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Sequence
from math import ceil
from time import perf_counter
from typing import Any, Final, Protocol

from proxy.upstream.host import Host
from proxy.upstream.lb.api import Defer
from proxy.upstream.lb.hash_weights import HashGroups, WeightedHosts, weigh

#: Seconds of a slice.
_SLICE: Final = 0.0005
#: How often to look for another host in a ring or table that is out of date, before any that serves is taken.
_ATTEMPTS: Final = 16


class HashTable(Protocol):
    """A `Ring` or `Table`."""

    numbers: dict[str, int]

    def pick(self, request_hash: int, attempt: int = 0) -> Host:
        """The host of a hash; further attempts give others, with luck."""

    def retire(self) -> Generator[None, None, None]:
        """Free what it holds, in small steps."""


Build = Callable[[WeightedHosts], Generator[None, None, Any]]


class HashPicker:
    """Picks from the hosts of one priority by hash.

    `active_requests` gives the requests in flight to the cluster, which bounded loads (`balance_factor` in
    percent, 0 for none) need. `defer` None builds at once.
    """

    def __init__(
        self,
        build: Build,
        groups: HashGroups,
        defer: Defer | None,
        balance_factor: int = 0,
        active_requests: Callable[[], int] = int,
    ) -> None:
        self._build = build
        self._defer = defer
        self._factor = balance_factor
        self._active_requests = active_requests
        self._table: HashTable | None = None
        self._members = WeightedHosts([], [])
        self._weights: dict[Host, float] = {}
        self._building: Generator[None, None, tuple[HashTable, WeightedHosts]] | None = None
        #: What to build next: a build that runs goes on to its end, or changes in a row would keep any from ending.
        self._next: HashGroups | None = None
        #: What is left to free.
        self._retiring: Generator[None, None, None] | None = None
        self._scheduled = False
        #: While something is built: who serves by now.
        self._serving: Sequence[Host] = ()
        self._allowed: frozenset[Host] = frozenset()
        self._groups = groups
        self.renew(groups)

    @property
    def numbers(self) -> dict[str, int]:
        """Gauges of the table in service."""
        return {} if self._table is None else self._table.numbers

    def health_changed(self, groups: HashGroups) -> None:
        """Take the hosts that serve now; all weigh what they weighed."""
        if groups != self._groups:
            self.renew(groups)

    def renew(self, groups: HashGroups) -> None:
        """Take other hosts or weights."""
        self._groups = groups
        hosts = groups.hosts
        if not hosts:
            self._building = self._table = self._next = None
            return
        self._serving = hosts
        self._allowed = frozenset(hosts)
        if self._building is not None:
            self._next = groups
            return
        self._building = self._make(groups)
        if self._table is None:
            self._finish()
        else:
            self._schedule()

    def _make(self, groups: HashGroups) -> Generator[None, None, tuple[HashTable, WeightedHosts]]:
        members = yield from weigh(groups)
        table = yield from self._build(members)
        return table, members

    def pick(self, request_hash: int, attempt: int = 0) -> Host | None:
        """The host of a hash, None if there is none."""
        table = self._table
        if table is None:
            return None
        host = table.pick(request_hash, attempt)
        if self._building is not None and host not in self._allowed:
            host = self._pick_allowed(table, request_hash, attempt)
        if self._factor:
            return self._relieved(host, request_hash)
        return host

    def _pick_allowed(self, table: HashTable, request_hash: int, attempt: int) -> Host:
        for further in range(attempt + 1, attempt + _ATTEMPTS):
            host = table.pick(request_hash, further)
            if host in self._allowed:
                return host
        serving = self._serving
        return serving[(request_hash + attempt) % len(serving)]

    def _run_slice(self) -> None:
        self._scheduled = False
        end = perf_counter() + _SLICE
        work: Generator[None, None, Any] | None
        while work := self._retiring or self._building:
            try:
                while perf_counter() < end:
                    next(work)
            except StopIteration as stop:
                if work is self._retiring:
                    self._retiring = None
                else:
                    self._take(*stop.value)
                continue
            self._schedule()
            return

    def _schedule(self) -> None:
        if self._scheduled:
            return
        self._scheduled = self._defer is not None and self._defer(self._run_slice)
        if not self._scheduled:
            self._finish()

    def _finish(self) -> None:
        while self._building is not None:
            try:
                next(self._building)
            except StopIteration as stop:
                self._take(*stop.value)

    def _take(self, table: HashTable, members: WeightedHosts) -> None:
        if self._table is not None:
            self._retiring = self._table.retire()
        self._table = table
        self._members = members
        if self._factor:
            self._weights = dict(zip(*members, strict=True))
        if self._next is not None:
            self._building = self._make(self._next)
            self._next = None
            return
        self._building = None
        self._serving = ()
        self._allowed = frozenset()

    def _relieved(self, host: Host, request_hash: int) -> Host:
        """The host, or another one if it has more than its share of the requests in flight.

        Source: "Consistent Hashing with Bounded Loads" (arXiv 1608.01350), with the random jumps of arXiv
        1908.08762. The sequence of jumps is that of Envoy for the same hash.
        """
        hosts, weights = self._members
        slots = ((self._active_requests() + 1) * self._factor + 99) // 100
        least = _load(host, self._weights.get(host, 0.0), slots)
        if least <= 1.0:
            return host
        best = host
        for index in _jumps(request_hash, len(hosts)):
            other = hosts[index]
            if other is host:
                continue
            load = _load(other, weights[index], slots)
            if load <= 1.0:
                return other
            if load < least:
                best, least = other, load
        return best


def _load(host: Host, weight: float, slots: int) -> float:
    return host.stats.rq_active / max(ceil(slots * weight), 1)


def _jumps(seed: int, count: int) -> Generator[int, None, None]:
    """All of 0 .. count-1 in the order of C++'s `mt19937` with that seed."""
    twister = _twister(seed)
    moved: dict[int, int] = {}
    for place in range(count):
        width = (1 << 32) // (count - place)
        jump = count
        while jump >= count - place:
            jump = twister.getrandbits(32) // width
        there = place + jump
        found = moved.get(there, there)
        moved[there] = moved.get(place, place)
        yield found


def _twister(seed: int) -> random.Random:
    # Python spreads a seed over the state in another way than the standard of C++ does.
    words = [seed & 0xFFFFFFFF]
    for index in range(1, 624):
        last = words[-1]
        words.append((1812433253 * (last ^ last >> 30) + index) & 0xFFFFFFFF)
    made = random.Random()
    made.setstate((3, (*words, 624), None))
    return made
