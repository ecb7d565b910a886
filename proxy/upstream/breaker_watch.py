"""Which circuit breakers of a worker refuse something: from the first refusal until some seconds after the last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from proxy.base.services import Timers

#: A breaker that refuses nothing for so many seconds, and has room, is closed.
QUIET_SECONDS: Final = 5.0

#: Cluster, routing priority, resource ("requests"). A DNS cache has its name in place of the cluster's, and
#: "" for the priority.
BreakerKey = tuple[str, str, str]


class Breakers(Protocol):
    """Limits that refuse what is too much of a kind."""

    def breaker_key(self, kind: str) -> BreakerKey:
        """What the breaker of a kind is called."""

    def why_refused(self, kind: str) -> str:
        """The limit of a kind, and what is in use, in words."""

    def has_room(self, kind: str) -> bool:
        """Whether one more of a kind would be let through now, as far as is known."""


class _Open:
    __slots__ = ("last", "refused", "resources")

    def __init__(self, resources: Breakers, now: float) -> None:
        self.resources = resources
        self.refused = 0
        self.last = now


class BreakerWatch:
    """Tells when a breaker begins to refuse (`opened(key, why)`) and when it has ceased (`closed(key, refused)`).

    It costs nothing as long as nothing is refused.
    """

    def __init__(
        self,
        timers: Timers,
        now: Callable[[], float],
        opened: Callable[[BreakerKey, str], None],
        closed: Callable[[BreakerKey, int], None],
    ) -> None:
        self._timers = timers
        self._now = now
        self._opened = opened
        self._closed = closed
        self._open: dict[BreakerKey, _Open] = {}

    def refused(self, resources: Breakers, kind: str) -> None:
        """One thing too many of that kind was asked for."""
        key = resources.breaker_key(kind)
        one = self._open.get(key)
        now = self._now()
        if one is None:
            if not self._open:
                self._timers.wake(now + QUIET_SECONDS, self)
            one = self._open[key] = _Open(resources, now)
            self._opened(key, resources.why_refused(kind))
        one.refused += 1
        one.last = now

    def on_wake(self, now: float) -> None:
        """Look which breakers have been quiet."""
        for key, one in list(self._open.items()):
            if now - one.last >= QUIET_SECONDS and one.resources.has_room(key[2]):
                del self._open[key]
                self._closed(key, one.refused)
        if self._open:
            self._timers.wake(now + QUIET_SECONDS, self)
