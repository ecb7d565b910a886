"""A transport without a socket: what a protocol writes is kept, what it asks for is noted."""

from __future__ import annotations

import asyncio
from typing import Any


class MemoryTransport(asyncio.Transport):
    """`written` is everything sent so far; `ended` tells that no more follows, `closed` and `aborted` how it ended.

    The protocol hears of the end when the test calls `lose`, as it would from the event loop.
    """

    def __init__(
        self, peername: Any = ("192.0.2.7", 40000), sockname: Any = ("10.0.0.1", 8000), **extra: Any
    ) -> None:
        super().__init__({"peername": peername, "sockname": sockname, **extra})
        self.protocol: Any = None
        self.written = bytearray()
        self.ended = False
        self.closed = False
        self.aborted = False
        self.reading = True
        self.high_water: int | None = None

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def get_protocol(self) -> Any:
        return self.protocol

    def write(self, data: Any) -> None:
        self.written += data

    def writelines(self, list_of_data: Any) -> None:
        for data in list_of_data:
            self.write(data)

    def can_write_eof(self) -> bool:
        return self.get_extra_info("ssl_object") is None

    def write_eof(self) -> None:
        self.ended = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.high_water = high

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_reading(self) -> bool:
        return self.reading

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def _force_close(self, exc: BaseException | None) -> None:
        self.aborted = True

    def lose(self, exc: Exception | None = None) -> None:
        """Deliver the end of the connection."""
        self.protocol.connection_lost(exc)

    def feed(self, data: bytes) -> None:
        """Deliver bytes from the peer, to either kind of protocol."""
        if isinstance(self.protocol, asyncio.BufferedProtocol):
            while data:
                buffer = memoryview(self.protocol.get_buffer(len(data)))
                taken = min(len(buffer), len(data))
                buffer[:taken] = data[:taken]
                self.protocol.buffer_updated(taken)
                data = data[taken:]
        else:
            self.protocol.data_received(data)
