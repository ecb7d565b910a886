"""Which circuit breakers of a worker refuse something: from the first refusal until some seconds after the last."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from proxy.base.services import Timers

if TYPE_CHECKING:
    from proxy.upstream.circuit_breaker import ResourceManager

#: A breaker that refuses nothing for so many seconds, and has room, is closed.
QUIET_SECONDS: Final = 5.0

#: Cluster, routing priority, resource ("requests").
BreakerKey = tuple[str, str, str]


class _Open:
    __slots__ = ("last", "refused", "resources")

    def __init__(self, resources: ResourceManager, now: float) -> None:
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

    def refused(self, resources: ResourceManager, kind: str) -> None:
        """One thing too many of that kind was asked for."""
        key = (resources.cluster_name, resources.priority, kind)
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
