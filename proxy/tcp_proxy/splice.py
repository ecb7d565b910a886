"""Moves one direction of a session through a pipe, so that its bytes never leave the kernel.

The loop's transports stay in charge: a relay has the transport of the source pause. When anything else than bytes
is to be handled (an end, an error, many small reads), it gives what is left in its pipe to the transport of the
sink and lets that of the source read again. So it ends no connection itself, except one that fails under its hands.

While the sink takes less than the source gives, the pipe holds what is under way and nothing is read: that is the
back-pressure. Linux only; elsewhere nothing ever begins.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

#: A read of so many bytes is a large one; after `LARGE_READS` of them it is worth its while to begin.
LARGE: Final = 64 * 1024
LARGE_READS: Final = 4
#: So many moves in a row of less than that many bytes, and reading is as cheap again.
_SMALL: Final = 16 * 1024
_SMALL_MOVES: Final = 32

_PIPE_SIZE: Final = 256 * 1024  # bytes; more costs throughput: what is under way leaves the CPU's caches
_PIPES_KEPT: Final = 8
_MOST_PIPES: Final = 1024  # in use at once: beyond it, sessions read and write

_splice: Callable[..., int] | None = getattr(os, "splice", None)
_DONT_WAIT: Final = getattr(os, "SPLICE_F_NONBLOCK", 0)
#: The loops' transports of plain bytes. Those of TLS and tunnels carry something else than their sockets do.
_PLAIN_TRANSPORTS: Final = frozenset({"TCPTransport", "UnixTransport", "_SelectorSocketTransport"})

Pipe = tuple[int, int]


class Reader(Protocol):
    """The protocol on the source's transport."""

    relay: Relay | None

    def moved(self, size: int) -> None:
        """`size` bytes have come and are on their way."""

    def stalled(self) -> None:
        """The sink takes no more for now."""

    def resumed(self) -> None:
        """The sink has taken everything."""


class PipeStock:
    """The pipes of one worker. A pipe is lent only while there are bytes in it: many sessions do with few."""

    def __init__(self) -> None:
        self._free: list[Pipe] = []
        self._lent = 0

    def take(self) -> Pipe:
        """An empty pipe (its reading end, its writing end). Raises `OSError` if there is none."""
        if self._free:
            pipe = self._free.pop()
        elif self._lent >= _MOST_PIPES:
            raise OSError(errno.EMFILE, "too many pipes in use")
        else:
            pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            with suppress(OSError):
                fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        self._lent += 1
        return pipe

    def give_back(self, pipe: Pipe, *, empty: bool) -> None:
        """Take a pipe back; one that is not empty is of no more use."""
        self._lent -= 1
        if empty and len(self._free) < _PIPES_KEPT:
            self._free.append(pipe)
        else:
            os.close(pipe[0])
            os.close(pipe[1])


def begin(
    loop: asyncio.AbstractEventLoop, pipes: PipeStock, reader: Reader, source: Any, sink: Any
) -> Relay | None:
    """Relay from `source` to `sink` if both are plain and nothing waits to be written; `reader` reads `source`."""
    if (
        _splice is None
        or type(source).__name__ not in _PLAIN_TRANSPORTS
        or type(sink).__name__ not in _PLAIN_TRANSPORTS
        or source.is_closing()
        or sink.is_closing()
        or sink.get_write_buffer_size()
    ):
        return None
    try:
        descriptor = os.dup(source.get_extra_info("socket").fileno())
    except OSError:
        return None  # out of descriptors
    return Relay(loop, pipes, reader, source, sink, descriptor)


class Relay:
    """See module. `pending` is how many bytes are in the pipe."""

    __slots__ = (
        "_descriptor",
        "_loop",
        "_pipe",
        "_pipes",
        "_reader",
        "_sink",
        "_sink_descriptor",
        "_small_moves",
        "_source",
        "_waiting",
        "pending",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pipes: PipeStock,
        reader: Reader,
        source: Any,
        sink: Any,
        descriptor: int,
    ) -> None:
        self._loop = loop
        self._pipes = pipes
        self._reader = reader
        self._source = source
        self._sink = sink
        # The loop watches no descriptor that a transport of its own uses.
        self._descriptor = descriptor
        self._sink_descriptor = sink.get_extra_info("socket").fileno()
        self._waiting = -1  # a copy of the sink's while it is full
        self._pipe: Pipe | None = None
        self._small_moves = 0
        self.pending = 0
        source.pause_reading()
        loop.add_reader(descriptor, self._on_readable)

    def _on_readable(self) -> None:
        if self._sink.is_closing() or self._source.is_closing():
            self.stop()
            return
        assert _splice is not None
        try:
            self._pipe = pipe = self._pipes.take()
        except OSError:
            self.stop()
            return
        try:
            size = _splice(self._descriptor, pipe[1], _PIPE_SIZE, flags=_DONT_WAIT)
        except BlockingIOError:
            self._release()
            return
        except OSError as error:
            self._fail(self._source, error)
            return
        if not size:
            self.stop()  # the transport reads the end once more, and tells
            return
        self._reader.moved(size)
        self.pending = size
        if not self._push():
            return
        self._release()
        if size >= _SMALL:
            self._small_moves = 0
            return
        self._small_moves += 1
        if self._small_moves >= _SMALL_MOVES:
            self.stop()

    def _push(self) -> bool:
        """Empty the pipe; whether that is done."""
        assert _splice is not None
        assert self._pipe is not None
        try:
            while self.pending:
                self.pending -= _splice(self._pipe[0], self._sink_descriptor, self.pending, flags=_DONT_WAIT)
        except BlockingIOError:
            self._wait()
            return False
        except OSError as error:
            self._fail(self._sink, error)
            return False
        return True

    def _wait(self) -> None:
        """Read no more until the sink takes what is in the pipe."""
        if self._waiting >= 0:
            return
        try:
            self._waiting = os.dup(self._sink_descriptor)
        except OSError:
            self.stop()
            return
        self._loop.remove_reader(self._descriptor)
        self._loop.add_writer(self._waiting, self._on_writable)
        self._reader.stalled()

    def _on_writable(self) -> None:
        if self._sink.is_closing() or self._source.is_closing():
            self.stop()
        elif self._push():
            self._release()
            self._stop_waiting()
            self._loop.add_reader(self._descriptor, self._on_readable)
            self._reader.resumed()

    def _stop_waiting(self) -> None:
        self._loop.remove_writer(self._waiting)
        os.close(self._waiting)
        self._waiting = -1

    def _release(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            self._pipes.give_back(pipe, empty=not self.pending)

    def _fail(self, transport: Any, error: OSError) -> None:
        """End a connection as its transport does when it meets the error itself."""
        self.stop()
        if not transport.is_closing():
            transport._force_close(error)

    def stop(self) -> None:
        """Go back to reading and writing; further calls do nothing."""
        if self._descriptor < 0:
            return
        self._reader.relay = None
        if self._waiting >= 0:
            self._stop_waiting()
            self._reader.resumed()
        else:
            self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1
        if not self._source.is_closing():
            self._source.resume_reading()
        rest = b""
        if self.pending and self._pipe is not None and not self._sink.is_closing():
            rest = os.read(self._pipe[0], self.pending)
            self.pending -= len(rest)
        self._release()
        if rest:
            self._sink.write(rest)
