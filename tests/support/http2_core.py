"""The HTTP/2 core with streams that note down what happens to them, for either side."""

from __future__ import annotations

from typing import Any

from proxy.codec.http2_connection import Http2Connection
from proxy.codec.http2_frames import Http2ConnectionError, Http2MessageError
from proxy.codec.http2_options import Http2Options
from proxy.codec.http2_stats import Http2CodecStats
from proxy.codec.http2_stream import Http2Stream
from tests.support import http2_frames as wire


class Head:
    """Fields as they came, with the little that the core wants to know."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self.fields = fields
        values = dict(fields)
        status = values.get(":status", "")
        self.informational = status.startswith("1")
        self.bodyless = self.informational or status in {"204", "304"}
        length = values.get("content-length", "")
        self.content_length = (
            int(length) if length.isascii() and length.isdigit() and len(length) < 20 else -1
        )
        if "bad" in values:
            raise Http2MessageError("http2.invalid.header.field")
        if "worse" in values:
            raise Http2MessageError("http2.too_many_headers", 2, stream_only=True)


class RecordedStream(Http2Stream):
    """`events` holds tuples: ("head", fields, end), ("data", bytes, end), ("trailers", fields), ("reset", ...)."""

    __slots__ = ("events",)

    def __init__(self, connection: Any, stream_id: int = 0) -> None:
        super().__init__(connection, stream_id)
        self.events: list[tuple[Any, ...]] = []

    @property
    def body(self) -> bytes:
        return b"".join(event[1] for event in self.events if event[0] == "data")

    def on_head(self, parsed: Any, end_stream: bool) -> None:
        self.events.append(("head", parsed.fields, end_stream))

    def on_data(self, data: bytes, end_stream: bool) -> None:
        assert data or end_stream
        self.events.append(("data", data, end_stream))

    def on_trailers(self, trailers: Any) -> None:
        self.events.append(("trailers", trailers.fields))

    def on_reset(self, code: int, details: str, remote: bool) -> None:
        self.events.append(("reset", code, details, remote))

    def on_send_blocked(self) -> None:
        self.events.append(("blocked",))

    def on_send_drained(self) -> None:
        self.events.append(("drained",))


class Core(Http2Connection):
    """One side. `opened` holds every stream by id; `parsed` counts the blocks that were looked at."""

    def __init__(self, *, client: bool = False, start: bool = True, **options: Any) -> None:
        super().__init__(Http2Options(**options), client=client, stats=Http2CodecStats("http2."))
        self.opened: dict[int, RecordedStream] = {}
        self.gone: list[int] = []
        self.notes: list[tuple[Any, ...]] = []
        self.parsed = 0
        self.unsent = 0
        self.clock = 0.0
        self.error: Http2ConnectionError | None = None
        if start:
            self.start()
            self.take()

    def request(self, block: bytes = b"\x82\x84\x86", *, end: bool = True) -> RecordedStream:
        """Open a client's stream and send its head."""
        stream = RecordedStream(self)
        self.open_stream(stream)
        self.opened[stream.id] = stream
        stream.send_head(block, end)
        return stream

    def feed(self, data: bytes, size: int = 1 << 30) -> list[wire.Frame]:
        """Receive `data` in pieces of `size`; what is answered. The error that ended it is in `error`."""
        answer = b""
        try:
            for at in range(0, len(data), size):
                self.receive(data[at : at + size])
                answer += self.take()
        except Http2ConnectionError as error:
            self.error = error
            answer += self.take()
        return wire.FrameReader().feed(answer)

    # -- hooks

    def new_stream(self, stream_id: int) -> Http2Stream:
        stream = self.opened[stream_id] = RecordedStream(self, stream_id)
        return stream

    def parse_head(self, fields: list[tuple[str, str]], block_size: int) -> Head:
        self.parsed += 1
        return Head(fields)

    def parse_trailers(self, fields: list[tuple[str, str]], block_size: int) -> Head:
        self.parsed += 1
        return Head(fields)

    def wants_write(self) -> None:
        self.notes.append(("wants_write",))

    def unsent_bytes(self) -> int:
        return self.unsent

    def now(self) -> float:
        return self.clock

    def on_settings(self) -> None:
        self.notes.append(("settings",))

    def on_goaway(self, last_stream_id: int, code: int, debug: bytes) -> None:
        self.notes.append(("goaway", last_stream_id, code, debug))

    def on_ping_ack(self, opaque: bytes) -> None:
        self.notes.append(("ack", opaque))

    def on_overflow(self, error: Exception) -> None:
        self.notes.append(("overflow", str(error)))

    def on_stream_closed(self, stream: Http2Stream) -> None:
        self.gone.append(stream.id)


def server(**options: Any) -> Core:
    """A server whose client has said hello and acknowledged the SETTINGS."""
    core = Core(**options)
    core.feed(wire.PREFACE + wire.settings() + wire.settings_ack())
    core.notes.clear()
    return core


def client(**options: Any) -> Core:
    """A client whose server has said hello and acknowledged the SETTINGS."""
    core = Core(client=True, **options)
    core.feed(wire.settings() + wire.settings_ack())
    core.notes.clear()
    return core


def exchange(one: Core, other: Core) -> None:
    """Let two cores talk until both are silent."""
    while one.out or other.out:
        if one.out:
            other.receive(one.take())
        if other.out:
            one.receive(other.take())
