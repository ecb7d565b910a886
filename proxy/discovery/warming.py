"""The wait of one resource for those that it refers to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Warming:
    """Calls `done` once, when everything in `waits` has been `settled`; `add` what to wait for before `start`.

    `since` is in Unix seconds.
    """

    __slots__ = ("_done", "_over", "_started", "_step", "since", "waits")

    def __init__(self, since: float, done: Callable[[], None]) -> None:
        self.since = since
        self.waits: set[str] = set()
        self._over: asyncio.Event | None = None
        self._done: Callable[[], None] | None = done
        self._started = False
        self._step: Callable[[], None] | None = None

    def add(self, what: str) -> None:
        """Wait for one more thing."""
        self.waits.add(what)

    def before_end(self, step: Callable[[], None]) -> None:
        """Do `step` when everything is settled; it may add more to wait for."""
        self._step = step

    def start(self) -> None:
        """Everything was added; done at once if it has been settled."""
        self._started = True
        self._look()

    def settled(self, what: str) -> None:
        """It has come, or will not come in time."""
        self.waits.discard(what)
        self._look()

    def cancel(self) -> None:
        """Nobody waits any more."""
        self._done = self._step = None
        self.waits.clear()
        self._tell()

    async def wait(self) -> None:
        """Until there is nothing to wait for, or nobody who waits."""
        if self._done is not None:
            if self._over is None:
                self._over = asyncio.Event()
            await self._over.wait()

    def _look(self) -> None:
        if self._started and not self.waits and self._step is not None:
            step, self._step = self._step, None
            step()
        if self._started and not self.waits and self._done is not None:
            done, self._done = self._done, None
            self._tell()
            done()

    def _tell(self) -> None:
        if self._over is not None:
            self._over.set()
