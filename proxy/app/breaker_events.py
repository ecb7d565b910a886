"""Circuit breakers that open and close, as events of all workers together."""

from __future__ import annotations

from collections.abc import Callable

from proxy.base.event_log import EventLog
from proxy.upstream.breaker_watch import BreakerKey


class _Open:
    __slots__ = ("refused", "since", "workers")

    def __init__(self, since: float) -> None:
        self.since = since
        self.refused = 0
        self.workers: set[int] = set()


class BreakerEvents:
    """A breaker is open from the first worker that refuses something to the last.

    `clock` gives monotonic seconds.
    """

    def __init__(self, events: EventLog, clock: Callable[[], float]) -> None:
        self._events = events
        self._clock = clock
        self._open: dict[BreakerKey, _Open] = {}

    def opened(self, worker: int, key: BreakerKey, why: str) -> None:
        """A worker has begun to refuse."""
        one = self._open.get(key)
        if one is None:
            one = self._open[key] = _Open(self._clock())
            self._events.record("circuit_breaker_opened", _about(key), why)
        one.workers.add(worker)

    def closed(self, worker: int, key: BreakerKey, refused: int) -> None:
        """A worker has ceased to; it has refused so many times meanwhile."""
        one = self._open.get(key)
        if one is None:
            return
        one.refused += refused
        one.workers.discard(worker)
        self._conclude(key, one)

    def worker_lost(self, worker: int) -> None:
        """What it has refused is not known."""
        for key, one in list(self._open.items()):
            if worker in one.workers:
                one.workers.discard(worker)
                self._conclude(key, one)

    def _conclude(self, key: BreakerKey, one: _Open) -> None:
        if one.workers:
            return
        del self._open[key]
        lasted = self._clock() - one.since
        self._events.record(
            "circuit_breaker_closed",
            _about(key),
            f"{one.refused} refused in {lasted:.1f} s, and none in the last seconds of these",
        )


def _about(key: BreakerKey) -> dict[str, str]:
    name, priority, kind = key
    if not priority:
        return {"dns_cache": name, "resource": kind}
    return {"cluster": name, "priority": priority, "resource": kind}
