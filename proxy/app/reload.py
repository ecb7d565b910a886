"""Changes the static clusters, listeners and runtime of a running proxy to what its files say now: all or nothing.

Read and checked in a process of its own (`config_reading`), then prepared here: every listener that comes is bound
before anything changes. What has not changed is not touched, and a listener that differs only in its filter chains
keeps its sockets and the connections of chains that stay, as with LDS.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from proxy.app.command_line import DEFAULT_LOG_FORMAT, Options
from proxy.app.config_loading import LoadedConfig
from proxy.app.config_reading import Request, read_again
from proxy.app.unchangeable import Current
from proxy.base.errors import ConfigError
from proxy.config.context import CompileContext
from proxy.config.resources import ResourceWant
from proxy.discovery.wanted import STATIC

if TYPE_CHECKING:
    from proxy.discovery.clusters import ClusterTable
    from proxy.discovery.listeners import ListenerTable
    from proxy.discovery.wanted import WantedResources

logger = logging.getLogger("proxy.app.reload")

WATCH_SECONDS: Final = 1.0


class Reloader:
    """One at a time; what is asked for meanwhile happens once more afterwards.

    `context` makes what a check of one resource uses, given all names of clusters. `on_changed` takes the new
    configuration into use where neither table is concerned; `on_done` hears whether it was applied, and a line.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: Options,
        clusters: ClusterTable,
        listeners: ListenerTable,
        wanted: WantedResources,
        context: Callable[[], CompileContext],
        current: Callable[[], LoadedConfig],
        on_changed: Callable[[LoadedConfig], None],
        on_done: Callable[[bool, str], None],
    ) -> None:
        self._loop = loop
        self._options = options
        self._clusters = clusters
        self._listeners = listeners
        self._wanted = wanted
        self._context = context
        self._current = current
        self._on_changed = on_changed
        self._on_done = on_done
        self._task: asyncio.Task[None] | None = None
        self._again = False

    def request(self) -> None:
        """Begin, or once more when the present one has ended."""
        if self._task is not None:
            self._again = True
            return
        self._task = self._loop.create_task(self._run(), name="reload")

    async def close(self) -> None:
        """Leave off."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while True:
                self._again = False
                await self._once()
                if not self._again:
                    return
        finally:
            self._task = None

    async def _once(self) -> None:
        before = self._current()
        options = self._options
        if before.log_format:
            # It came from the file: the command line has none.
            options = replace(options, log_format=DEFAULT_LOG_FORMAT)
        try:
            config = await read_again(Request(options, Current(before.bootstrap, dict(before.clusters))))
            for warning in config.warnings:
                logger.warning("%s", warning)
            summary = await self._apply(before, config)
        except ConfigError as error:
            for problem in error.problems:
                logger.error("%s", problem)
            reason = (
                f"{len(error.problems)} problem(s), listed above; the former configuration stays in force"
            )
            logger.error("configuration not reloaded: %s", reason)
            self._on_done(False, f"not reloaded: {error.problems[0]}")
            return
        logger.info("configuration reloaded: %s", summary)
        self._on_done(True, summary)

    async def _apply(self, before: LoadedConfig, config: LoadedConfig) -> str:
        names = frozenset(name for name, _ in config.clusters) | frozenset(self._clusters.discovered())

        def context() -> CompileContext:
            made = self._context()
            made.known_clusters = names
            return made

        with ExitStack() as undo:
            clusters = self._clusters.prepare(config.clusters, context)
            undo.callback(clusters.discard)
            listeners = self._listeners.prepare(config.listeners, context)
            undo.callback(listeners.discard)
            undo.pop_all()
        # From here on nothing fails.
        self._on_changed(config)
        for warming in self._clusters.take(clusters):
            await warming.wait()
        self._clusters.flush()
        self._listeners.take(listeners)
        self._clusters.drop(clusters)
        kept = set(_keys(config))
        gone = [want for want in _wants(before) if want.key not in kept]
        self._wanted.release(gone, STATIC)
        self._wanted.sweep()
        return f"clusters {clusters.summary}; listeners {listeners.summary}"


def _wants(config: LoadedConfig) -> Iterator[ResourceWant]:
    yield from config.cluster_wants
    yield from config.listener_wants


def _keys(config: LoadedConfig) -> Iterator[str]:
    for want in _wants(config):
        yield want.key


class FileWatch:
    """Looks every second whether a file has become another one, and has stayed so until the next look."""

    def __init__(self, loop: asyncio.AbstractEventLoop, path: str, on_change: Callable[[], None]) -> None:
        self._loop = loop
        self._path = path
        self._on_change = on_change
        self._taken = self._seen = _signature(path)
        self._timer = loop.call_later(WATCH_SECONDS, self._look)

    def close(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look(self) -> None:
        self._timer = self._loop.call_later(WATCH_SECONDS, self._look)
        now = _signature(self._path)
        # A file that is being written, or is not there for a moment, is not complete.
        if now != self._taken and now == self._seen and now is not None:
            self._taken = now
            self._on_change()
        self._seen = now


def _signature(path: str) -> tuple[int, int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
