"""Which priorities a retry may use: those that earlier tries have not used.

Source: `envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig`, and what Envoy makes
of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proxy.upstream.host import Host
from proxy.upstream.host_set import HostSet
from proxy.upstream.lb.priority_load import PriorityLoads, available

#: The place of a host's priority among those that the load is for, None if it has none (any more).
PlaceOf = Callable[[Host], "int | None"]


class PreviousPriorities:
    """The priorities that one request has tried; `frequency`, at least 1, is after how many tries they are counted.

    Once nothing is left that could serve, all are forgotten and the priorities share the load as if none had been
    tried.
    """

    __slots__ = ("_attempted", "_excluded", "_frequency", "_loads")

    def __init__(self, frequency: int) -> None:
        self._frequency = frequency
        self._attempted: list[Host] = []
        self._excluded: set[int] = set()
        self._loads: PriorityLoads | None = None

    def note(self, host: Host) -> None:
        """A try went to this host."""
        self._attempted.append(host)

    def loads(self, sets: Sequence[HostSet], usual: PriorityLoads, place_of: PlaceOf) -> PriorityLoads:
        """The loads for a retry; `usual` itself where nothing is to be changed."""
        count = len(self._attempted)
        if count < self._frequency:
            return usual
        if count % self._frequency == 0:
            self._excluded.update(
                place for place in map(place_of, self._attempted) if place is not None and place < len(sets)
            )
            availability = [available(one) for one in sets]
            left = loads_without(availability, self._excluded)
            if left is None:
                self._excluded.clear()
                self._attempted.clear()
                left = loads_without(availability, self._excluded)
            if left is None:
                return usual
            self._loads = PriorityLoads(*left, usual.panic)
        return usual if self._loads is None else self._loads


def loads_without(
    availability: Sequence[tuple[int, int]], excluded: set[int]
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Percent of the traffic for the healthy and the degraded hosts of each priority, together 100.

    `availability` is what `available` gives for each priority. None if all that could serve are `excluded`.
    """
    usable = [(0, 0) if place in excluded else one for place, one in enumerate(availability)]
    total = min(100, sum(healthy + degraded for healthy, degraded in usable))
    if not total:
        return None
    loads = ([0] * len(usable), [0] * len(usable))
    left = 100
    # What rounding leaves goes around once more.
    while left:
        for kind, shares in enumerate(loads):
            for place, one in enumerate(usable):
                share = min(left, one[kind] * 100 // total)
                shares[place] += share
                left -= share
    return tuple(loads[0]), tuple(loads[1])
