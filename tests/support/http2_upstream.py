"""The host's side of a pool without sockets, in frames."""

from __future__ import annotations

from tests.support import http2_frames as h2
from tests.support.http2_frames import Frame, FrameReader
from tests.support.memory_transport import MemoryTransport
from tests.support.upstream_pool import Bench, Request


class Host:
    """What came over one transport, and what goes back. `settings` are announced at once."""

    def __init__(self, transport: MemoryTransport, settings: dict[int, int] | None = None) -> None:
        self.transport = transport
        self._reader = FrameReader()
        self._read = len(h2.PREFACE)
        self.frames: list[Frame] = []
        if settings is not None:
            self.send(h2.settings(settings))

    def send(self, *frames: bytes) -> None:
        """Deliver frames in one read."""
        self.transport.feed(b"".join(frames))

    def answer(self, stream_id: int, status: int = 200, body: bytes = b"hello") -> None:
        self.send(h2.response(stream_id, status), h2.data(stream_id, body, end=True))

    def read(self) -> list[Frame]:
        """All frames so far."""
        self.frames += self._reader.feed(bytes(self.transport.written[self._read :]))
        self._read = len(self.transport.written)
        return self.frames

    def streams(self) -> list[int]:
        """The streams that were opened."""
        return [frame.stream_id for frame in self.read() if frame.type == h2.HEADERS]

    def resets(self) -> list[tuple[int, int]]:
        """(stream, code) of each RST_STREAM."""
        return [
            (frame.stream_id, int.from_bytes(frame.payload, "big"))
            for frame in self.read()
            if frame.type == h2.RST_STREAM
        ]

    def body(self, stream_id: int) -> bytes:
        return b"".join(
            frame.content() for frame in self.read() if frame.type == h2.DATA and frame.stream_id == stream_id
        )

    def ended(self, stream_id: int) -> bool:
        """Whether the request is complete."""
        return any(
            frame.flags & h2.END_STREAM
            for frame in self.read()
            if frame.stream_id == stream_id and frame.type in (h2.HEADERS, h2.DATA)
        )


async def connected(bench: Bench, settings: dict[int, int] | None = None) -> tuple[Request, Host]:
    """A first request that has opened a connection whose host has announced itself."""
    request = await bench.request()
    host = Host(bench.opened[-1], settings or {})
    await bench.settle()
    return request, host
