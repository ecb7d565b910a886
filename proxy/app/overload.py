"""The overload manager of the controller: looks at resources, decides, and tells the workers what to do.

Source: envoy.config.overload.v3. What each action means to a worker is in `proxy.overload.view` and its users.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from proxy.app.runtime_layers import Layer
from proxy.base.stats import Histogram, StatGroup, StatRegistry
from proxy.config.context import CompileContext
from proxy.downstream.connection import GLOBAL_LIMIT_KEY
from proxy.overload.config import OverloadPlan, compile_overload, make_monitors
from proxy.overload.heap import shrink_heap
from proxy.overload.monitors import Monitor, PressureError
from proxy.overload.names import SHRINK_HEAP
from proxy.overload.triggers import Subject

logger = logging.getLogger("proxy.app.overload")

SHRINK_SECONDS: Final = 10.0
"""Between two attempts to give memory back, as in Envoy."""


def overload_layers(bootstrap: Any, context: CompileContext) -> tuple[Layer, ...]:
    """The limit on connections as a layer of the runtime, above all others as in Envoy; () where there is none."""
    plan = compile_overload(bootstrap, context)
    if plan is None or plan.most_connections is None:
        return ()
    return (Layer("overload manager", {GLOBAL_LIMIT_KEY: str(plan.most_connections)}),)


class OverloadStats(StatGroup):
    """`overload.*`: monitors, actions and load shed points by their names."""

    def __init__(
        self, monitors: Iterable[str], actions: Iterable[Subject], points: Iterable[Subject]
    ) -> None:
        super().__init__("overload.")
        self.pressures = dict.fromkeys(monitors, 0)
        self.failed = dict.fromkeys(self.pressures, 0)
        self.actions = tuple(actions)
        self.points = tuple(points)
        self.shrink_count = 0
        self.refresh_interval_delay = Histogram()

    def counters(self) -> dict[str, int]:
        """See `StatGroup`. No update is ever skipped: nothing is waited for."""
        found = {f"{self.prefix}{name}.failed_updates": count for name, count in self.failed.items()}
        found |= {f"{self.prefix}{name}.skipped_updates": 0 for name in self.failed}
        found |= {f"{self.prefix}{point.name}.shed_load_count": 0 for point in self.points}
        if any(action.name == SHRINK_HEAP for action in self.actions):
            found[f"{self.prefix}{SHRINK_HEAP}.shrink_count"] = self.shrink_count
        return found

    def gauges(self) -> dict[str, int]:
        """See `StatGroup`."""
        found = {f"{self.prefix}{name}.pressure": percent for name, percent in self.pressures.items()}
        for action in self.actions:
            found[f"{self.prefix}{action.name}.active"] = int(action.told >= 1.0)
            found[f"{self.prefix}{action.name}.scale_percent"] = int(action.told * 100)
        for point in self.points:
            found[f"{self.prefix}{point.name}.scale_percent"] = int(point.state * 100)
        return found

    def histograms(self) -> dict[str, Histogram]:
        """See `StatGroup`."""
        return {f"{self.prefix}refresh_interval_delay": self.refresh_interval_delay}


class OverloadManager:
    """See module; does nothing where none is configured. `broadcast` sends a message to every worker."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        bootstrap: Any,
        registry: StatRegistry,
        processes: Callable[[], Iterable[int]],
        connections: Callable[[], int],
        broadcast: Callable[[tuple[Any, ...]], None],
    ) -> None:
        self._loop = loop
        self._broadcast = broadcast
        # Checked when the bootstrap was loaded.
        self._plan: OverloadPlan | None = compile_overload(bootstrap, CompileContext())
        self._timers: list[asyncio.TimerHandle] = []
        self._states: dict[str, float] = {}
        self._failing: set[str] = set()
        if self._plan is None:
            return
        self._monitors: dict[str, Monitor] = make_monitors(self._plan, processes, connections)
        self._actions = [Subject(plan.name, plan.triggers) for plan in self._plan.actions]
        self._points = [Subject(plan.name, plan.triggers) for plan in self._plan.points]
        self._stats = OverloadStats(self._monitors, self._actions, self._points)
        registry.add("overload", self._stats)
        self._last = 0.0

    @property
    def settings(self) -> tuple[list[str], dict[str, tuple[float | None, float]]] | None:
        """For `OverloadView`: load shed points, and timers with their minimum; None without an overload manager."""
        if self._plan is None:
            return None
        timers = {name: (least.seconds, least.share) for name, least in self._plan.timers.items()}
        return [plan.name for plan in self._plan.points], timers

    def messages(self) -> Iterator[tuple[Any, ...]]:
        """What a new worker is told."""
        if self._states:
            yield ("overload", self._states)

    def start(self) -> None:
        """Look at the resources from now on."""
        if self._plan is None or not self._monitors:
            return
        self._last = self._loop.time()
        self._timers = [self._loop.call_later(self._plan.refresh, self._refresh)]
        if any(action.name == SHRINK_HEAP for action in self._actions):
            self._timers.append(self._loop.call_later(SHRINK_SECONDS, self._shrink))

    def close(self) -> None:
        """Look no more."""
        for timer in self._timers:
            timer.cancel()

    def _refresh(self) -> None:
        assert self._plan is not None
        pressures = dict(self._read())
        before = self._states
        for subject in (*self._actions, *self._points):
            if subject.update(pressures):
                logger.info("overload: %s went to %g%%", subject.name, subject.state * 100)
        self._states = {
            subject.name: subject.state for subject in (*self._actions, *self._points) if subject.state
        }
        if self._states != before:
            self._broadcast(("overload", self._states))
        now = self._loop.time()
        self._stats.refresh_interval_delay.record(int((now - self._last) * 1000))
        self._last = now
        self._timers[0] = self._loop.call_later(self._plan.refresh, self._refresh)

    def _read(self) -> Iterator[tuple[str, float]]:
        """The pressures that can be told. One that fails is logged when it begins to."""
        for name, monitor in self._monitors.items():
            try:
                pressure = monitor.pressure()
            except PressureError as error:
                self._stats.failed[name] += 1
                if name not in self._failing:
                    self._failing.add(name)
                    logger.warning("Failed to update resource %s: %s", name, error)
                continue
            self._failing.discard(name)
            self._stats.pressures[name] = int(pressure * 100)
            yield name, pressure

    def _shrink(self) -> None:
        self._timers[1] = self._loop.call_later(SHRINK_SECONDS, self._shrink)
        if self._states.get(SHRINK_HEAP, 0.0) >= 1.0:
            self._stats.shrink_count += 1
            self._broadcast(("shrink_heap",))
            shrink_heap()
