"""Runs a short coroutine of the event loop without a task.

A task costs as much as what it does when that is one `connect`: it registers itself, takes a turn of the loop to
begin and another one to tell of its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast


class Steps:
    """A coroutine that awaits futures only, and does not ask for its task.

    `on_end(error)` is called when it has ended, error None or what it raised; not if it was cancelled.
    """

    __slots__ = ("_coroutine", "_on_end")

    def __init__(
        self, coroutine: Coroutine[Any, Any, Any], on_end: Callable[[BaseException | None], None]
    ) -> None:
        self._coroutine: Coroutine[Any, Any, Any] | None = coroutine
        self._on_end = on_end

    def begin(self) -> None:
        """Take the first step; `on_end` may be called before this returns."""
        self._step(None)

    def _step(self, done: Any) -> None:
        del done
        coroutine = self._coroutine
        if coroutine is None:
            return
        try:
            future = cast("asyncio.Future[Any]", coroutine.send(None))
        except StopIteration:
            self._coroutine = None
            self._on_end(None)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # told to whom it concerns
            self._coroutine = None
            self._on_end(error)
        else:
            future._asyncio_future_blocking = False
            future.add_done_callback(self._step)

    def cancel(self) -> None:
        """Let go; what the coroutine holds is closed by it."""
        coroutine, self._coroutine = self._coroutine, None
        if coroutine is not None:
            coroutine.close()
