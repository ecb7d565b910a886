"""HTTP/2 frames as bytes, written and read without any knowledge of streams, for scripted peers.

Independent of the codec under test: a peer that is to send nonsense needs tools that do not object to it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
NAMES = (
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST_STREAM",
    "SETTINGS",
    "PUSH_PROMISE",
    "PING",
    "GOAWAY",
    "WINDOW_UPDATE",
    "CONTINUATION",
)

# Flags; ACK and END_STREAM are the same bit on different frames.
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITISED = 0x20

# Identifiers of SETTINGS.
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = range(1, 6)
MAX_HEADER_LIST_SIZE, ENABLE_CONNECT_PROTOCOL = 6, 8

#: The windows of RFC 9113 before any SETTINGS or WINDOW_UPDATE.
DEFAULT_WINDOW = 65535
MAX_WINDOW = 2**31 - 1

FieldList = Sequence[tuple[str | bytes, str | bytes]]


class Code(IntEnum):
    """Error codes of RST_STREAM and GOAWAY."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


def code_name(code: int) -> str:
    """Name of an error code, the number as text if it has none."""
    return Code(code).name if code in Code._value2member_map_ else str(code)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as received; `payload` still has its padding."""

    type: int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def name(self) -> str:
        return NAMES[self.type] if self.type < len(NAMES) else f"type {self.type}"

    def content(self) -> bytes:
        """The payload without padding and priority fields."""
        payload = self.payload
        if self.type in (DATA, HEADERS, PUSH_PROMISE) and self.flags & PADDED:
            payload = payload[1 : len(payload) - payload[0]]
        if self.type == HEADERS and self.flags & PRIORITISED:
            payload = payload[5:]
        return payload


class FrameReader:
    """Cuts a stream of bytes into frames; `rest` is what is not yet a whole frame."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes."""
        data = self.rest + data
        found = []
        at = 0
        while len(data) - at >= 9:
            length = int.from_bytes(data[at : at + 3], "big")
            if len(data) - at - 9 < length:
                break
            stream_id = int.from_bytes(data[at + 5 : at + 9], "big") & MAX_WINDOW
            found.append(Frame(data[at + 3], data[at + 4], stream_id, data[at + 9 : at + 9 + length]))
            at += 9 + length
        self.rest = data[at:]
        return found


def frame(kind: int, flags: int = 0, stream_id: int = 0, payload: bytes = b"") -> bytes:
    """Any frame, right or wrong."""
    return len(payload).to_bytes(3, "big") + struct.pack(">BBL", kind, flags, stream_id) + payload


def settings(values: Mapping[int, int] | Iterable[tuple[int, int]] = ()) -> bytes:
    pairs = values.items() if isinstance(values, Mapping) else values
    return frame(SETTINGS, payload=b"".join(struct.pack(">HL", *pair) for pair in pairs))


def settings_ack() -> bytes:
    return frame(SETTINGS, ACK)


def ping(payload: bytes = b"12345678", *, ack: bool = False) -> bytes:
    return frame(PING, ACK if ack else 0, payload=payload)


def goaway(last_stream_id: int = 0, code: int = 0, debug: bytes = b"") -> bytes:
    return frame(GOAWAY, payload=struct.pack(">LL", last_stream_id, code) + debug)


def window_update(stream_id: int, increment: int) -> bytes:
    return frame(WINDOW_UPDATE, stream_id=stream_id, payload=struct.pack(">L", increment))


def rst_stream(stream_id: int, code: int = Code.CANCEL) -> bytes:
    return frame(RST_STREAM, stream_id=stream_id, payload=struct.pack(">L", code))


def priority(stream_id: int, parent: int = 0, weight: int = 15) -> bytes:
    return frame(PRIORITY, stream_id=stream_id, payload=struct.pack(">LB", parent, weight))


def data(stream_id: int, payload: bytes = b"", *, end: bool = False, padding: int | None = None) -> bytes:
    """DATA; `padding` bytes of padding (0 is a pad length field without padding)."""
    flags = END_STREAM if end else 0
    if padding is not None:
        payload = bytes([padding]) + payload + bytes(padding)
        flags |= PADDED
    return frame(DATA, flags, stream_id, payload)


def headers(
    stream_id: int, fields: FieldList | bytes, *, end: bool = False, end_headers: bool = True
) -> bytes:
    """HEADERS with a field list or with a ready block; not split, whatever its size."""
    block = fields if isinstance(fields, bytes) else encode(fields)
    return frame(HEADERS, (END_STREAM if end else 0) | (END_HEADERS if end_headers else 0), stream_id, block)


def continuation(stream_id: int, block: bytes = b"", *, end_headers: bool = True) -> bytes:
    return frame(CONTINUATION, END_HEADERS if end_headers else 0, stream_id, block)


def request(
    stream_id: int,
    path: str = "/",
    *,
    method: str = "GET",
    authority: str | None = "a",
    scheme: str = "http",
    fields: FieldList = (),
    end: bool = True,
) -> bytes:
    """The HEADERS of a request."""
    pseudo = [(":method", method), (":scheme", scheme), (":path", path)]
    if authority is not None:
        pseudo.append((":authority", authority))
    return headers(stream_id, [*pseudo, *fields], end=end)


def response(stream_id: int, status: int = 200, fields: FieldList = (), *, end: bool = False) -> bytes:
    """The HEADERS of a response."""
    return headers(stream_id, [(":status", str(status)), *fields], end=end)


def encode(fields: FieldList) -> bytes:
    """A header block of literals that are not indexed: no state, no Huffman, no checks."""
    return b"".join(b"\0" + _string(name) + _string(value) for name, value in fields)


def _string(text: str | bytes) -> bytes:
    raw = text.encode("latin-1") if isinstance(text, str) else text
    return integer(len(raw), 7) + raw


def integer(value: int, prefix: int, first: int = 0) -> bytes:
    """An HPACK integer with a prefix of so many bits; `first` is or-ed to the first byte."""
    limit = (1 << prefix) - 1
    if value < limit:
        return bytes([first | value])
    encoded = bytearray([first | limit])
    value -= limit
    while value >= 128:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
