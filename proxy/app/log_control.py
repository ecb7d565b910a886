"""The log files of the controller, and what an operator may ask of those of all processes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from proxy.app.command_line import Options
from proxy.app.ipc import Message
from proxy.app.logs import LogFile, LogLevels

if TYPE_CHECKING:
    from proxy.access_log.sinks import SinkManager

logger = logging.getLogger("proxy.app.log_control")


class LogControl:
    """`file` and `levels` are of this process; `broadcast` reaches the workers."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: Options,
        file: LogFile,
        levels: LogLevels,
        broadcast: Callable[[Message], None],
    ) -> None:
        self._loop = loop
        self._options = options
        self._file = file
        self._broadcast = broadcast
        self._events: SinkManager | None = None
        self.levels = levels
        #: Who else opens files again.
        self.on_reopen: list[Callable[[], None]] = []

    def set_levels(self, levels: Mapping[str, str]) -> None:
        """Here and in every worker."""
        self.levels.set(levels)
        self._broadcast(("levels", self.levels.describe()))

    def reopen(self) -> None:
        """SIGUSR1: after log rotation."""
        try:
            self._file.reopen()
        except OSError as error:
            logger.error("cannot reopen the log file: %s", error)
        self._broadcast(("reopen_logs",))
        if self._events is not None:
            self._events.reopen()
        for reopen in self.on_reopen:
            reopen()

    def event_file(self, path: str) -> Callable[[str], None] | None:
        """What appends to a file that the bootstrap names for events; None if `path` is empty."""
        if not path:
            return None
        if self._events is None:
            from proxy.access_log.sinks import SinkManager  # few bootstraps name one

            options = self._options
            self._events = SinkManager(
                self._loop, options.file_flush_interval_msec / 1000, options.file_flush_min_size_kb * 1024
            )
        return self._events.file(path)

    def close(self) -> None:
        """Write what waits for the files of events, and close them."""
        if self._events is not None:
            self._events.close()
