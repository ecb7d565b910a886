"""When each request of an open loop is due. Pure functions: whether replies come back changes nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Schedule:
    """Requests a second that go evenly from `start` to `end` within `duration` seconds, and stay there."""

    start: float
    end: float
    duration: float = math.inf

    def due(self, number: int) -> float:
        """Seconds from the beginning at which request `number` (from 0) is due; infinite if it never is.

        The inverse of `number = start * t + slope * t² / 2`.
        """
        if self.start == self.end:
            return number / self.start
        slope = (self.end - self.start) / self.duration
        ramp = (self.start + self.end) / 2 * self.duration
        if number >= ramp:
            return self.duration + (number - ramp) / self.end if self.end else math.inf
        return 2 * number / (self.start + math.sqrt(self.start**2 + 2 * slope * number)) if number else 0.0
