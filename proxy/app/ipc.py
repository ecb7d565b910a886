"""Messages between controller, fork server and workers: length-prefixed `marshal` frames on unix stream
sockets.

`marshal` because both ends are the same interpreter, forked from one process, and it is the cheapest encoder
there is. Only None, numbers, text, bytes, tuples, lists and dicts travel. Nothing here blocks: what does not
fit into the socket waits in a queue of the sender, and a receiver that stays behind for too long is given up.
"""

from __future__ import annotations

import asyncio
import marshal
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

# Config is cut into slices of about this size, so that a worker serves traffic between two of them.
SLICE_BYTES: Final = 64 * 1024
# What the kernel and the transport may hold for a reader that lags before messages wait in our own queue.
HIGH_WATER_BYTES: Final = 256 * 1024
# A worker that has this much waiting has stopped reading; it is killed and replaced.
MAX_QUEUED_BYTES: Final = 256 * 1024 * 1024
_MAX_FRAME_BYTES: Final = 256 * 1024 * 1024
_LENGTH: Final = struct.Struct(">I")
#: Passed to a worker in one message.
MAX_SOCKETS: Final = 64

Message = tuple[Any, ...]


def encode(message: Message) -> bytes:
    """One frame: four bytes of length, then the marshalled tuple (its first element names the kind)."""
    payload = marshal.dumps(message)
    return _LENGTH.pack(len(payload)) + payload


class FrameReader:
    """Cuts a byte stream into messages; a frame that cannot be ours raises ValueError."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterable[Message]:
        """Every message that `data` completes."""
        buffer = self._buffer
        buffer += data
        start = 0
        messages: list[Message] = []
        while len(buffer) - start >= 4:
            (size,) = _LENGTH.unpack_from(buffer, start)
            if size > _MAX_FRAME_BYTES:
                raise ValueError(f"frame of {size} bytes")
            if len(buffer) - start - 4 < size:
                break
            messages.append(marshal.loads(memoryview(buffer)[start + 4 : start + 4 + size]))  # noqa: S302
            start += 4 + size
        del buffer[:start]
        return messages


class Channel(asyncio.Protocol):
    """One end of a connection between two of our processes, on an event loop.

    `on_message` gets each message; `on_lost` is called once when the other end has gone.
    """

    def __init__(self, on_message: Callable[[Message], None], on_lost: Callable[[], None]) -> None:
        self._on_message = on_message
        self._on_lost = on_lost
        self._reader = FrameReader()
        self._transport: asyncio.WriteTransport | None = None
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start sending what was queued before the transport existed."""
        # uvloop's transports implement the interface without descending from it.
        self._transport = cast("asyncio.WriteTransport", transport)
        self._transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        """Deliver every complete message."""
        for message in self._reader.feed(data):
            self._on_message(message)

    def pause_writing(self) -> None:
        """The other side lags: keep further messages here."""
        self._paused = True

    def resume_writing(self) -> None:
        """The other side reads again."""
        self._paused = False
        while self._waiting and not self._paused and self._transport is not None:
            frame = self._waiting.popleft()
            self._waiting_bytes -= len(frame)
            self._transport.write(frame)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio.Protocol)
        """Tell the owner, once."""
        self._transport = None
        self._waiting.clear()
        self._on_lost()

    @property
    def lagging(self) -> bool:
        """Whether the other side has not taken what was sent: leave out what may be left out."""
        return self._paused or bool(self._waiting)

    @property
    def hopeless(self) -> bool:
        """Whether so much waits that the other side must be considered stuck."""
        return self._waiting_bytes > MAX_QUEUED_BYTES

    def send(self, message: Message) -> None:
        """Queue one message; after the other side has gone it is dropped."""
        self.send_frame(encode(message))

    def send_frame(self, frame: bytes) -> None:
        """Queue one encoded message, so that the same bytes can go to all workers."""
        if self._transport is not None and not self._paused and not self._waiting:
            self._transport.write(frame)
        else:
            self._waiting.append(frame)
            self._waiting_bytes += len(frame)

    def close(self) -> None:
        """Send what is buffered, then close."""
        if self._transport is not None:
            self._transport.close()


def slices(items: Iterable[tuple[str, bytes]], limit: int = SLICE_BYTES) -> Iterable[list[tuple[str, bytes]]]:
    """Group named byte strings into lists of about `limit` bytes."""
    group: list[tuple[str, bytes]] = []
    size = 0
    for item in items:
        group.append(item)
        size += len(item[0]) + len(item[1])
        if size >= limit:
            yield group
            group, size = [], 0
    if group:
        yield group


def send_blocking(sock: socket.socket, message: Message, descriptors: Iterable[int] = ()) -> None:
    """One message with file descriptors on a blocking socket; the first bytes carry the descriptors."""
    frame = encode(message)
    sent = socket.send_fds(sock, [frame], list(descriptors))
    if sent < len(frame):
        sock.sendall(frame[sent:])
