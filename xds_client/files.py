"""Resources from a file: read at the start and whenever it is replaced or written anew.

Envoy reads a file again when one is moved over it, or when anything is moved into `watched_directory`. A file that
was written in place counts here too, once its writer has closed it.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import struct
from collections.abc import Callable
from typing import Any, Final

from proxy.base.errors import ConfigError
from xds_client.api import StreamStatus
from xds_client.messages import decode_response
from xds_client.mux import Mux

logger = logging.getLogger("xds_client")

POLL_SECONDS: Final = 1.0
"""How often a file is looked at where the kernel cannot tell of changes."""

_IN_CLOSE_WRITE: Final = 0x008
_IN_MOVED_TO: Final = 0x080
_IN_GONE: Final = 0x040 | 0x200  # moved away, deleted
_IN_NONBLOCK: Final = os.O_NONBLOCK
_IN_CLOEXEC: Final = os.O_CLOEXEC
_EVENT: Final = struct.Struct("iIII")

Signature = tuple[int, int, int, int] | None


class DirectoryWatch:
    """Calls `on_change` when a file of a directory was moved there or written, with `removals` also when one is
    gone; Linux's inotify. Raises OSError.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        directory: str,
        on_change: Callable[[], None],
        *,
        removals: bool = False,
    ) -> None:
        self._loop = loop
        self._on_change = on_change
        library = ctypes.CDLL(None, use_errno=True)
        if not hasattr(library, "inotify_init1"):
            raise OSError("no inotify")
        self._descriptor: int = library.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        mask = _IN_MOVED_TO | _IN_CLOSE_WRITE | (_IN_GONE if removals else 0)
        if library.inotify_add_watch(self._descriptor, os.fsencode(directory), mask) < 0:
            number = ctypes.get_errno()
            os.close(self._descriptor)
            raise OSError(number, os.strerror(number), directory)
        loop.add_reader(self._descriptor, self._readable)

    def _readable(self) -> None:
        try:
            while os.read(self._descriptor, 64 * _EVENT.size * 8):
                pass
        except BlockingIOError:
            pass
        self._on_change()

    def close(self) -> None:
        """Watch no more."""
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)


class FileRunner:
    """The source of a mux that a file feeds. `read_response` is that of `Surroundings`."""

    def __init__(
        self, mux: Mux, path: str, watched_directory: str, read_response: Callable[[bytes, str], bytes]
    ) -> None:
        self.mux = mux
        self._path = path
        self._directory = watched_directory or os.path.dirname(path) or "."
        self._any_change = bool(watched_directory)
        self._read_response = read_response
        self._watch: DirectoryWatch | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._seen: Signature = None
        self._error = ""
        self._asked: set[str] | None = None
        mux.wake = self._asked_for

    def start(self) -> None:
        """Read the file in the next turn, and watch from now on; idempotent."""
        if self._watch is not None or self._timer is not None:
            return
        try:
            self._watch = DirectoryWatch(self.mux.loop, self._directory, self._changed)
        except OSError as error:
            logger.info("%s is looked at every %g s: %s", self._path, POLL_SECONDS, error)
            self._timer = self.mux.loop.call_later(POLL_SECONDS, self._tick)
        self._seen = _signature(self._path)
        self.mux.connected()

    async def close(self) -> None:
        """Watch no more."""
        if self._watch is not None:
            self._watch.close()
        if self._timer is not None:
            self._timer.cancel()
        await self.mux.close()

    def status(self) -> StreamStatus:
        """The snapshot for admin pages."""
        return StreamStatus(self.mux.source, self._path, not self._error, "", self._error)

    def _asked_for(self) -> None:
        """Read the file when there are names that nobody wanted before; answers need not be sent."""
        while (request := self.mux.next_request()) is not None:
            names = set(request.resource_names)
            if self._asked is None or names - self._asked:
                self.mux.loop.call_soon(self._load)
            self._asked = names

    def _tick(self) -> None:
        self._timer = self.mux.loop.call_later(POLL_SECONDS, self._tick)
        self._changed()

    def _changed(self) -> None:
        seen = _signature(self._path)
        if seen != self._seen or (self._any_change and self._watch is not None):
            self._seen = seen
            self._load()

    def _load(self) -> None:
        try:
            with open(self._path, "rb") as file:
                data = file.read()
        except OSError as error:
            self._failed(str(error))
            return
        try:
            response = decode_response(self._read_response(data, self._path), delta=False)
        except (ValueError, ConfigError) as error:
            self._failed(str(error), refused=True)
            return
        self._error = ""
        self.mux.received_for_all(response)

    def _failed(self, reason: str, *, refused: bool = False) -> None:
        self._error = reason
        logger.warning("%s cannot be used: %s", self._path, reason)
        self.mux.failed(f"{self._path}: {reason}", refused=refused)


def _signature(path: str) -> Signature:
    try:
        found: Any = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
