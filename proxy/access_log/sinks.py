"""Buffered writers, one per path and worker.

An entry is only appended to a list. The list goes out in one write when it holds 64 KiB or when the flush timer
fires; the timer runs only while there is something to flush. A write never waits: what a full pipe or a full
disk does not take is kept, up to 1 MiB per path, and offered again. Beyond that the oldest entries are dropped
and counted, for the worker must live on whatever becomes of its log. A failure is reported once, when it begins,
with the path and the reason, and once when it ends.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import ClassVar, Final

from proxy.access_log.descriptors import STANDARD_STREAMS, Descriptor
from proxy.base.stats import StatGroup
from proxy.formatter.wire import encode_wire

#: Envoy's MIN_FLUSH_SIZE, in characters (bytes, as entries are wire text).
FLUSH_SIZE: Final = 64 * 1024
#: What may wait for a blocked or failing path, in bytes.
BACKLOG_LIMIT: Final = 1024 * 1024
#: Envoy's default of `--file-flush-interval-msec`.
FLUSH_INTERVAL: Final = 10.0

_log = logging.getLogger(__name__)


class FilesystemStats(StatGroup):
    """Envoy's `filesystem.*`, and `entries_dropped`, which Envoy does not have: it waits."""

    COUNTERS: ClassVar[tuple[str, ...]] = (
        "entries_dropped",
        "flushed_by_timer",
        "reopen_failed",
        "write_buffered",
        "write_completed",
        "write_failed",
    )
    GAUGES: ClassVar[tuple[str, ...]] = ("write_total_buffered",)

    entries_dropped: int
    flushed_by_timer: int
    reopen_failed: int
    write_buffered: int
    write_completed: int
    write_failed: int
    write_total_buffered: int


class SinkManager:
    """All sinks of a worker; `flush_interval` is in seconds, `flush_size` in bytes."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        flush_interval: float = FLUSH_INTERVAL,
        flush_size: int = FLUSH_SIZE,
    ) -> None:
        self.stats = FilesystemStats("filesystem.")
        self._loop = loop
        self._interval = flush_interval
        self._flush_size = flush_size
        self._sinks: dict[str, _Sink] = {}
        self._timer: asyncio.TimerHandle | None = None

    def file(self, path: str) -> Callable[[str], None]:
        """A function that appends one entry (wire text) to the file at `path`; shared by path."""
        sink = self._sinks.get(path)
        if sink is None:
            sink = self._sinks[path] = _Sink(path, self._loop, self.stats, self._arm, self._flush_size)
        return sink.append

    def flush(self) -> None:
        """Offer everything that waits to its file now."""
        for sink in self._sinks.values():
            sink.flush()

    def reopen(self) -> None:
        """Write what waits to the old files, then open every path anew, as after a rotation."""
        for sink in self._sinks.values():
            sink.flush()
            sink.reopen()

    def close(self) -> None:
        """Flush and release everything; what a blocked path does not take now is lost and counted."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for sink in self._sinks.values():
            sink.flush()
            sink.close()
        self._sinks.clear()

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(self._interval, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.stats.flushed_by_timer += 1
        self.flush()
        if any(sink.waiting for sink in self._sinks.values()):
            self._arm()


class _Sink:
    """One path. Entries wait in `_entries`; chunks that were refused wait in `_backlog`."""

    def __init__(
        self,
        path: str,
        loop: asyncio.AbstractEventLoop,
        stats: FilesystemStats,
        arm: Callable[[], None],
        flush_size: int,
    ) -> None:
        self._path = path
        self._flush_size = flush_size
        self._loop = loop
        self._stats = stats
        self._arm = arm
        self._entries: list[str] = []
        self._size = 0
        self._backlog: deque[bytes] = deque()
        self._backlog_size = 0
        self._failing = False
        self._awaiting_reader = False
        self._descriptor: Descriptor | None = None
        self._open()

    @property
    def waiting(self) -> bool:
        """Whether anything is left to be written."""
        return bool(self._entries or self._backlog)

    def append(self, entry: str) -> None:
        """Take one entry; cheap, for it runs once per request."""
        if not self._entries:
            self._arm()
        self._entries.append(entry)
        self._size += len(entry)
        if self._size >= self._flush_size:
            self.flush()

    def flush(self) -> None:
        """Turn entries into chunks and offer all chunks."""
        if self._entries:
            entries, self._entries, self._size = self._entries, [], 0
            chunk = self._descriptor.chunk if self._descriptor is not None else 0
            for data in _chunks(entries, chunk):
                self._backlog.append(data)
                self._backlog_size += len(data)
                self._stats.write_total_buffered += len(data)
            self._stats.write_buffered += len(entries)
        if self._backlog and not self._awaiting_reader:
            self._drain()
        self._bound_backlog()

    def _drain(self) -> None:
        descriptor = self._descriptor or self._open()
        if descriptor is None:
            return
        while self._backlog:
            data = self._backlog[0]
            try:
                taken = descriptor.write(data)
            except BlockingIOError:
                self._await_reader(descriptor)
                return
            except OSError as error:
                self._stats.write_failed += 1
                self._report(f"cannot write to {self._path}: {error.strerror or error}")
                return
            self._backlog_size -= taken
            self._stats.write_total_buffered -= taken
            if taken < len(data):
                self._backlog[0] = data[taken:]
            else:
                self._backlog.popleft()
            self._stats.write_completed += 1
        self._recovered()

    def _await_reader(self, descriptor: Descriptor) -> None:
        self._report(
            f"{self._path} takes no more: its reader has stopped; keeping up to {BACKLOG_LIMIT} bytes"
        )
        try:
            self._loop.add_writer(descriptor.fd, self._on_writable)
        except OSError:
            return
        self._awaiting_reader = True

    def _on_writable(self) -> None:
        self._stop_awaiting()
        self._drain()

    def _stop_awaiting(self) -> None:
        if self._awaiting_reader and self._descriptor is not None:
            self._loop.remove_writer(self._descriptor.fd)
        self._awaiting_reader = False

    def _bound_backlog(self) -> None:
        while self._backlog_size > BACKLOG_LIMIT and len(self._backlog) > 1:
            # The second oldest goes first: of the oldest a part may have been written.
            dropped = self._backlog[1]
            del self._backlog[1]
            self._forget(dropped)

    def _forget(self, data: bytes) -> None:
        self._backlog_size -= len(data)
        self._stats.write_total_buffered -= len(data)
        self._stats.entries_dropped += max(1, data.count(b"\n"))

    def _report(self, text: str) -> None:
        if not self._failing:
            self._failing = True
            _log.error("access log: %s", text)

    def _recovered(self) -> None:
        if self._failing:
            self._failing = False
            _log.warning("access log: writing to %s works again", self._path)

    def _open(self) -> Descriptor | None:
        try:
            self._descriptor = Descriptor(self._path)
        except OSError as error:
            self._stats.write_failed += 1
            self._report(f"unable to open file {self._path!r}: {error.strerror or error}")
        return self._descriptor

    def reopen(self) -> None:
        """Open the path anew; on failure the old file stays in use."""
        if self._path in STANDARD_STREAMS:
            return
        try:
            fresh = Descriptor(self._path)
        except OSError as error:
            self._stats.reopen_failed += 1
            _log.error("access log: cannot reopen %s: %s", self._path, error.strerror or error)
            return
        self._stop_awaiting()
        if self._descriptor is not None:
            self._descriptor.close()
        self._descriptor = fresh

    def close(self) -> None:
        """Give up what waits and release the descriptor."""
        self._stop_awaiting()
        for data in self._backlog:
            self._forget(data)
        self._backlog.clear()
        if self._descriptor is not None:
            self._descriptor.close()
            self._descriptor = None


def _chunks(entries: list[str], limit: int) -> list[bytes]:
    """The entries as few writes; each holds whole entries, and at most `limit` bytes unless one is longer."""
    if not limit:
        return [encode_wire("".join(entries))]
    chunks: list[bytes] = []
    pending: list[bytes] = []
    size = 0
    for entry in entries:
        data = encode_wire(entry)
        if pending and size + len(data) > limit:
            chunks.append(b"".join(pending))
            pending, size = [], 0
        pending.append(data)
        size += len(data)
    if pending:
        chunks.append(b"".join(pending))
    return chunks
