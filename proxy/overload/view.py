"""What a worker knows of the overload: the states that the controller has told it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol
from weakref import WeakSet

from proxy.base.stats import StatGroup
from proxy.overload.names import REDUCE_TIMEOUTS, REJECT_INCOMING_CONNECTIONS, TCP_LISTENER_ACCEPT
from proxy.overload.triggers import TimerMinimum

_ALL: Final = 1 << 64


class OverloadWatcher(Protocol):
    """Who does something else while there is pressure."""

    def on_overload(self) -> None:
        """States have changed."""
        ...


class ShedStats(StatGroup):
    """`overload.<point>.shed_load_count` of load shed points."""

    def __init__(self, points: Iterable[str]) -> None:
        super().__init__("overload.")
        self.shed = dict.fromkeys(points, 0)

    def counters(self) -> dict[str, int]:
        """See `StatGroup`."""
        return {f"{self.prefix}{point}.shed_load_count": count for point, count in self.shed.items()}


class OverloadView:
    """See module. `draw` gives an integer from 0 to 2**64-1; `points` and `timers` are those of the config."""

    def __init__(
        self,
        draw: Callable[[], int],
        points: Iterable[str],
        timers: Mapping[str, TimerMinimum] | None = None,
    ) -> None:
        self._timers = timers or {}
        self._draw = draw
        self._states: Mapping[str, float] = {}
        self._watchers: WeakSet[OverloadWatcher] = WeakSet()
        self.stats = ShedStats(points)

    def watch(self, watcher: OverloadWatcher) -> None:
        """Tell `watcher` of changes, for as long as somebody else holds it."""
        self._watchers.add(watcher)

    def use(self, states: Mapping[str, float]) -> None:
        """Take the states by name; those of 0.0 may be left out."""
        self._states = states
        for watcher in list(self._watchers):
            watcher.on_overload()

    def state(self, name: str) -> float:
        """From 0.0, inactive, to 1.0, saturated."""
        return self._states.get(name, 0.0)

    def reduced(self, timer: str, timeout: float) -> float:
        """What a timeout of the config is now, in seconds; 0.0 stays none."""
        least = self._timers.get(timer)
        state = self.state(REDUCE_TIMEOUTS)
        return least.reduced(timeout, state) if least is not None and state and timeout else timeout

    def has_point(self, *points: str) -> bool:
        """Whether any of these load shed points is configured."""
        return any(point in self.stats.shed for point in points)

    def happens(self, action: str) -> bool:
        """Whether an action is taken this time: as often as its state says."""
        state = self._states.get(action, 0.0)
        return state > 0.0 and (state >= 1.0 or self._draw() < state * _ALL)

    def sheds(self, point: str) -> bool:
        """As `happens`, for a load shed point; what it sheds is counted."""
        if not self.happens(point):
            return False
        self.stats.shed[point] += 1
        return True

    def rejects_connection(self) -> bool:
        """Whether a connection is closed as it comes."""
        return bool(self._states) and (
            self.sheds(TCP_LISTENER_ACCEPT) or self.happens(REJECT_INCOMING_CONNECTIONS)
        )
