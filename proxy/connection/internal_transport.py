"""Connections inside one event loop: a pair of transports without a socket.

What one end writes is given to the protocol of the other in a later turn of the loop. An end that does not read
stops the other by its write buffer: `capacity` bytes lie between the two, as in a socket, and what is beyond counts
as not yet written. As on a TCP connection, each direction ends on its own, and who writes to an end that has gone
loses the connection; it is never an error, as there is no reset.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any, Final, cast

from proxy.base.address import Address
from proxy.connection.replay import replay

#: Bytes at most that a protocol is given in one call.
_READ_SIZE: Final = 256 * 1024
_DEFAULT_HIGH: Final = 64 * 1024


class InternalTransport(asyncio.Transport):
    """One end; made by `transport_pair`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, capacity: int, local: Address, remote: Address
    ) -> None:
        super().__init__({"sockname": local, "peername": remote})
        self._loop = loop
        self._capacity = capacity
        self._peer: InternalTransport = self
        self._protocol: Any = None
        self._inbox: deque[bytes] = deque()
        self._inbox_size = 0
        self._reading = True
        self._reads_scheduled = False
        self._ended = False  # whether the peer writes no more
        self._told_of_end = False
        self._sent_end = False
        self._closing = False
        self._lost = False
        self._high = _DEFAULT_HIGH
        self._low = _DEFAULT_HIGH // 4
        self._writing_paused = False

    # -- asyncio.BaseTransport

    def is_closing(self) -> bool:
        """See `asyncio.BaseTransport`."""
        return self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """See `asyncio.BaseTransport`. What came before there was a protocol is given to the first."""
        first = self._protocol is None
        self._protocol = protocol
        if first:
            self._schedule_reads()

    def get_protocol(self) -> asyncio.BaseProtocol:
        """See `asyncio.BaseTransport`."""
        return cast("asyncio.BaseProtocol", self._protocol)

    def close(self) -> None:
        """See `asyncio.BaseTransport`: the peer still gets what was written."""
        if self._closing:
            return
        self._closing = True
        self._discard_inbox()
        self._peer._end_reads()
        if not self.get_write_buffer_size():
            self._lose()

    # -- asyncio.ReadTransport

    def is_reading(self) -> bool:
        """See `asyncio.ReadTransport`."""
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        self._reading = False

    def resume_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        if not self._reading:
            self._reading = True
            self._schedule_reads()

    # -- asyncio.WriteTransport

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See `asyncio.WriteTransport`."""
        if high is None:
            high = _DEFAULT_HIGH if low is None else 4 * low
        self._high = high
        self._low = high // 4 if low is None else low
        self._check_high_mark()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """See `asyncio.WriteTransport`."""
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        """See `asyncio.WriteTransport`."""
        return max(self._peer._inbox_size - self._capacity, 0)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See `asyncio.WriteTransport`."""
        peer = self._peer
        if not data or self._closing or self._sent_end:
            return
        if peer._closing:
            self._lose()
            return
        peer._inbox.append(data if isinstance(data, bytes) else bytes(data))
        peer._inbox_size += len(data)
        if not peer._reads_scheduled:
            peer._schedule_reads()
        if peer._inbox_size > self._capacity:
            self._check_high_mark()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """See `asyncio.WriteTransport`."""
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """See `asyncio.WriteTransport`."""
        if not self._sent_end and not self._closing:
            self._sent_end = True
            self._peer._end_reads()

    def can_write_eof(self) -> bool:
        """See `asyncio.WriteTransport`."""
        return True

    def abort(self) -> None:
        """See `asyncio.WriteTransport`: what the peer has not read is lost if it was not in the connection yet."""
        if self._lost:
            return
        self._closing = True
        self._discard_inbox()
        peer = self._peer
        while peer._inbox_size > self._capacity:
            peer._inbox_size -= len(peer._inbox.pop())
        peer._end_reads()
        self._lose()

    def _force_close(self, exc: BaseException | None) -> None:
        """What the loops' own TLS protocols call in place of `abort`."""
        del exc
        self.abort()

    # -- between the ends

    def _check_high_mark(self) -> None:
        if not self._writing_paused and self.get_write_buffer_size() > self._high:
            self._writing_paused = True
            if self._protocol is not None:
                self._protocol.pause_writing()

    def _on_peer_read(self) -> None:
        """The other end has taken bytes."""
        left = self.get_write_buffer_size()
        if self._closing:
            if not left:
                self._lose()
        elif self._writing_paused and left <= self._low:
            self._writing_paused = False
            if self._protocol is not None:
                self._protocol.resume_writing()

    def _end_reads(self) -> None:
        self._ended = True
        self._schedule_reads()

    def _discard_inbox(self) -> None:
        if self._inbox:
            self._inbox.clear()
            self._inbox_size = 0
            self._loop.call_soon(self._peer._on_peer_read)

    def _schedule_reads(self) -> None:
        if self._reads_scheduled or not self._reading or self._closing or self._protocol is None:
            return
        if self._inbox or (self._ended and not self._told_of_end):
            self._reads_scheduled = True
            self._loop.call_soon(self._read)

    def _read(self) -> None:
        """Give the protocol what has come, one piece in each turn of the loop."""
        self._reads_scheduled = False
        if not self._reading or self._closing:
            return
        if self._inbox:
            data = self._take()
            replay(self, data)
            self._peer._on_peer_read()
            self._schedule_reads()
        elif self._ended and not self._told_of_end:
            self._told_of_end = True
            if not self._protocol.eof_received():
                self.close()

    def _take(self) -> bytes:
        inbox = self._inbox
        size = len(inbox[0])
        if len(inbox) == 1 or size >= _READ_SIZE:
            self._inbox_size -= size
            return inbox.popleft()
        pieces = [inbox.popleft()]
        while inbox and size + len(inbox[0]) <= _READ_SIZE:
            size += len(inbox[0])
            pieces.append(inbox.popleft())
        self._inbox_size -= size
        return b"".join(pieces)

    def _lose(self) -> None:
        if self._lost:
            return
        self._lost = True
        if not self._closing:
            self._closing = True
            self._discard_inbox()
            self._peer._end_reads()
        self._loop.call_soon(self._tell_lost)

    def _tell_lost(self) -> None:
        protocol, self._protocol = self._protocol, _Gone()
        if protocol is not None:
            protocol.connection_lost(None)

    def __repr__(self) -> str:
        state = "closing" if self._closing else "open"
        return f"<InternalTransport to {self.get_extra_info('peername')} {state} unread={self._inbox_size}>"


class _Gone(asyncio.Protocol):
    """Stands for the protocol of an end that has been lost."""


def transport_pair(
    loop: asyncio.AbstractEventLoop, capacity: int, client: Address, server: Address
) -> tuple[InternalTransport, InternalTransport]:
    """The ends of a new connection: that of the `client` address, and that of the `server`.

    Neither has a protocol yet; `set_protocol` does not call `connection_made`. `capacity` is in bytes.
    """
    near = InternalTransport(loop, capacity, client, server)
    far = InternalTransport(loop, capacity, server, client)
    near._peer, far._peer = far, near
    return near, far
