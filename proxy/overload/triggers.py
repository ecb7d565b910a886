"""What the pressure of resources means for actions and load shed points; no clock, no chance.

A state is a number from 0.0 (inactive) to 1.0 (saturated).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

_SHORTEST: Final = 0.001


class Trigger(Struct, frozen=True):
    """Between two pressures, 0.0 to 1.0, the state goes from 0.0 to 1.0; both are the same for a threshold."""

    resource: str
    scaling: float
    saturation: float

    def state(self, pressure: float) -> float:
        """What a pressure means. Its own value reaches a threshold, and does not leave the begin of a scale."""
        if pressure >= self.saturation:
            return 1.0
        if pressure <= self.scaling:
            return 0.0
        return (pressure - self.scaling) / (self.saturation - self.scaling)


class TimerMinimum(Struct, frozen=True):
    """What a timeout is reduced to at most: so many seconds, or where that is None, a share of it."""

    seconds: float | None
    share: float

    def reduced(self, timeout: float, state: float) -> float:
        """`timeout`, seconds above 0, under a state; never 0, which would be none."""
        least = timeout * self.share if self.seconds is None else min(timeout, self.seconds)
        return max(least + (timeout - least) * (1.0 - state), _SHORTEST)


class Subject:
    """An action or load shed point: as active as the most active of its triggers."""

    def __init__(self, name: str, triggers: Iterable[Trigger]) -> None:
        self.name = name
        self._triggers = {trigger.resource: trigger for trigger in triggers}
        self._states = dict.fromkeys(self._triggers, 0.0)
        #: That of the trigger that has changed last; Envoy's gauges of actions tell this one.
        self.told = 0.0

    @property
    def state(self) -> float:
        """From 0.0 to 1.0."""
        return max(self._states.values(), default=0.0)

    def update(self, pressures: Mapping[str, float]) -> bool:
        """Take new pressures by resource; whether the state has changed."""
        before = self.state
        for resource, trigger in self._triggers.items():
            pressure = pressures.get(resource)
            if pressure is not None:
                state = trigger.state(pressure)
                if state != self._states[resource]:
                    self._states[resource] = self.told = state
        return self.state != before
