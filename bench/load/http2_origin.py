"""The HTTP/2 origin of load tests: frames only, no header block is ever decoded, every answer is the same.

A request is answered when its stream ends, so a stream that stays open is idle. Windows are kept.
`python -m bench.load.http2_origin --port N [--size 300]`.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import struct
from typing import Final, cast

import uvloop

_PREFACE: Final = 24
_FRAME: Final = 16384
_WINDOW: Final = 1 << 24
_CONNECTION_WINDOW: Final = 1 << 30
_START: Final = (
    # SETTINGS: MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE; then WINDOW_UPDATE of the connection.
    struct.pack(">BHBBLHLHL", 0, 12, 4, 0, 0, 3, 1 << 16, 4, _WINDOW)
    + struct.pack(">BHBBLL", 0, 4, 8, 0, 0, _CONNECTION_WINDOW)
)
_SETTINGS_ACK: Final = bytes((0, 0, 0, 4, 1, 0, 0, 0, 0))


def head_frame(size: int) -> tuple[bytes, bytes]:
    """HEADERS of the answer before and after the stream id: status 200, text, `size` bytes of body."""
    length = b"%d" % size
    # Indexed :status 200; content-type and content-length as literals that are not indexed.
    block = b"\x88\x0f\x10\x0atext/plain\x0f\x0d" + bytes((len(length),)) + length
    return struct.pack(">BHBB", 0, len(block), 1, 4), block


class OriginProtocol(asyncio.Protocol):
    """One connection from the proxy."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._head_before, self._head_after = head_frame(size)
        self._body = bytes(min(size, _FRAME))
        # A body that fits one frame leaves in one piece with the head.
        self._small = size <= _FRAME
        self._data_before = struct.pack(">BHBB", size >> 16, size & 0xFFFF, 0, 1)
        self._rest = b""
        self._started = False
        self._window = self._initial = 65535
        self._consumed = 0
        # Stream id → [bytes left, window], in order of arrival; only what could not be sent at once.
        self._waiting: dict[bytes, list[int]] = {}
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the windows wide."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(_START)

    def data_received(self, data: bytes) -> None:
        """Answer each request that ends in `data`."""
        if self._rest:
            data = self._rest + data
        at = 0
        if not self._started:
            if len(data) < _PREFACE:
                self._rest = data
                return
            self._started = True
            at = _PREFACE
        out: list[bytes] = []
        size = len(data)
        while size - at >= 9:
            end = at + 9 + (data[at] << 16 | data[at + 1] << 8 | data[at + 2])
            if end > size:
                break
            kind, flags = data[at + 3], data[at + 4]
            if kind <= 1:
                if kind == 0:
                    self._consume(end - at - 9, out)
                if flags & 1:
                    self._answer(data[at + 5 : at + 9], out)
            else:
                self._control(kind, flags, data[at + 5 : end], out)
            at = end
        self._rest = data[at:]
        if out:
            self._transport.write(b"".join(out))

    def _answer(self, stream: bytes, out: list[bytes]) -> None:
        out += (self._head_before, stream, self._head_after)
        if self._small and self._size <= self._window and self._size <= self._initial:
            self._window -= self._size
            out += (self._data_before, stream, self._body)
        else:
            self._waiting[stream] = [self._size, self._initial]
            self._pump(stream, out)

    def _pump(self, stream: bytes, out: list[bytes]) -> None:
        """Send what the windows allow on one stream."""
        entry = self._waiting[stream]
        left, window = entry
        while left:
            size = min(left, _FRAME, window, self._window)
            if size <= 0:
                break
            left -= size
            window -= size
            self._window -= size
            out += (struct.pack(">BHBB", 0, size, 0, not left), stream, self._body[:size])
        if left:
            entry[:] = left, window
        else:
            del self._waiting[stream]

    def _consume(self, length: int, out: list[bytes]) -> None:
        self._consumed += length
        if self._consumed > _CONNECTION_WINDOW // 2:
            out.append(struct.pack(">BHBBLL", 0, 4, 8, 0, 0, self._consumed))
            self._consumed = 0

    def _control(self, kind: int, flags: int, frame: bytes, out: list[bytes]) -> None:
        """Anything but HEADERS and DATA; `frame` starts with the stream id."""
        stream, payload = frame[:4], frame[4:]
        if kind == 8:
            increment = int.from_bytes(payload, "big")
            if stream == b"\0\0\0\0":
                self._window += increment
                for waiting in list(self._waiting):
                    self._pump(waiting, out)
            elif stream in self._waiting:
                self._waiting[stream][1] += increment
                self._pump(stream, out)
        elif kind == 4 and not flags & 1:
            for name, value in struct.iter_unpack(">HL", payload):
                if name == 4:
                    self._initial = value
            out.append(_SETTINGS_ACK)
        elif kind == 6 and not flags & 1:
            out.append(b"\0\0\x08\x06\x01\0\0\0\0" + payload)
        elif kind == 3:
            self._waiting.pop(stream, None)


async def _serve(port: int, size: int) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    await loop.create_server(lambda: OriginProtocol(size), "127.0.0.1", port, backlog=1024)
    await stop.wait()


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m bench.load.http2_origin")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--size", type=int, default=300, help="bytes of each body")
    given = parser.parse_args()
    uvloop.run(_serve(given.port, given.size))


if __name__ == "__main__":
    main()
