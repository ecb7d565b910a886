"""What the tries of a request so far mean for the host of the next one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proxy.upstream.host import Host
from proxy.upstream.host_set import HostSet
from proxy.upstream.lb.previous_priorities import PlaceOf, PreviousPriorities
from proxy.upstream.lb.priority_load import PriorityLoads

#: Whether a host may be tried, given those that were.
HostPredicate = Callable[[Host, "tuple[Host, ...]"], bool]


def own_priority(host: Host) -> int:
    """The place of a host's priority in its own cluster."""
    return host.priority


class RetryChoice:
    """The hosts that one request has tried. `predicates` refuse hosts, up to `attempts` times for a retry."""

    __slots__ = ("_attempts", "_predicates", "_priorities", "_tried")

    def __init__(
        self, predicates: tuple[HostPredicate, ...], attempts: int, priorities: PreviousPriorities | None
    ) -> None:
        self._predicates = predicates
        self._attempts = attempts
        self._priorities = priorities
        self._tried: tuple[Host, ...] = ()

    def note(self, host: Host) -> None:
        """A try went to this host."""
        self._tried = (*self._tried, host)
        if self._priorities is not None:
            self._priorities.note(host)

    def first_allowed(self, pick: Callable[[int], Host | None]) -> Host | None:
        """The first host that the next try may go to, or the last of as many picks as there may be.

        `pick` is told how many hosts were not wanted; None from it ends the search.
        """
        tried = self._tried
        host: Host | None = None
        for attempt in range(self._attempts + 1):
            host = pick(attempt)
            if host is None or all(allows(host, tried) for allows in self._predicates):
                break
        return host

    def loads(
        self, sets: Sequence[HostSet], usual: PriorityLoads, place_of: PlaceOf = own_priority
    ) -> PriorityLoads:
        """How the priorities share the retries; `usual` itself if that is no matter of what was tried."""
        return usual if self._priorities is None else self._priorities.loads(sets, usual, place_of)
