"""Long work in short turns, so that the admin server and other streams have theirs."""

from __future__ import annotations

import asyncio
import time
from typing import Final

_TURN_SECONDS: Final = 0.005


class Turns:
    """`if turns.over: await turns.next()` between two pieces of work."""

    __slots__ = ("_end",)

    def __init__(self) -> None:
        self._end = time.perf_counter() + _TURN_SECONDS

    @property
    def over(self) -> bool:
        """Whether this turn has lasted long enough."""
        return time.perf_counter() >= self._end

    async def next(self) -> None:
        """Let the event loop do what has come meanwhile."""
        await asyncio.sleep(0)
        self._end = time.perf_counter() + _TURN_SECONDS
