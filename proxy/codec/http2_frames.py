"""Frames of HTTP/2 (RFC 9113 sections 4 to 7): numbers, frame builders and the errors that end things."""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import Final

from proxy.base.errors import ProtocolError

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEADER_SIZE: Final = 9
MAX_WINDOW: Final = 2**31 - 1
MAX_STREAM_ID: Final = 2**31 - 1
#: What counts until the peer's SETTINGS say otherwise.
DEFAULT_WINDOW: Final = 65_535
DEFAULT_MAX_FRAME_SIZE: Final = 16_384
LARGEST_MAX_FRAME_SIZE: Final = 2**24 - 1
DEFAULT_HEADER_TABLE_SIZE: Final = 4096

DATA: Final = 0
HEADERS: Final = 1
PRIORITY: Final = 2
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9

ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20

SETTINGS_HEADER_TABLE_SIZE: Final = 1
SETTINGS_ENABLE_PUSH: Final = 2
SETTINGS_MAX_CONCURRENT_STREAMS: Final = 3
SETTINGS_INITIAL_WINDOW_SIZE: Final = 4
SETTINGS_MAX_FRAME_SIZE: Final = 5
SETTINGS_MAX_HEADER_LIST_SIZE: Final = 6
SETTINGS_ENABLE_CONNECT_PROTOCOL: Final = 8

#: Length and type in one word, flags, stream id: `pack(length << 8 | type, flags, stream_id)`.
FRAME: Final = Struct(">IBI")
SETTING: Final = Struct(">HI")
WORD: Final = Struct(">I")
_FRAME_WITH_WORD: Final = Struct(">IBII")
_GOAWAY_FRAME: Final = Struct(">IBIII")


class ErrorCode(IntEnum):
    """RFC 9113 section 7. Hot code compares plain numbers; the wire may carry others."""

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


class Http2ConnectionError(ProtocolError):
    """The connection is beyond repair: write out what is queued (a GOAWAY is, if `goaway`), then close.

    `code` is what a GOAWAY says. `details` is Envoy's code detail for the streams that die with it. `flood`
    tells a limit on abuse from a broken rule (Envoy counts only the latter as a protocol error). `debug` goes
    into the GOAWAY.
    """

    def __init__(
        self, code: int, details: str, *, goaway: bool, flood: bool = False, debug: bytes = b""
    ) -> None:
        super().__init__(details)
        self.code = code
        self.goaway = goaway
        self.flood = flood
        self.debug = debug


class Http2MessageError(ProtocolError):
    """A field section is malformed or over a limit; raised by the hooks that parse field sections.

    With `stream_only` the stream is reset with `code` and the connection lives. Otherwise the connection
    closes without a GOAWAY, as in Envoy, unless `override_stream_error_on_invalid_http_message` is set: then
    the stream is reset with `code`.
    """

    def __init__(
        self, details: str, code: int = ErrorCode.PROTOCOL_ERROR, *, stream_only: bool = False
    ) -> None:
        super().__init__(details)
        self.code = code
        self.stream_only = stream_only


def settings_frame(settings: list[tuple[int, int]]) -> bytes:
    """A SETTINGS frame of (identifier, value) pairs."""
    payload = b"".join([SETTING.pack(identifier, value) for identifier, value in settings])
    return FRAME.pack(len(payload) << 8 | SETTINGS, 0, 0) + payload


def window_update_frame(stream_id: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame; stream 0 is the connection."""
    return _FRAME_WITH_WORD.pack(4 << 8 | WINDOW_UPDATE, 0, stream_id, increment)


def reset_frame(stream_id: int, code: int) -> bytes:
    """A RST_STREAM frame."""
    return _FRAME_WITH_WORD.pack(4 << 8 | RST_STREAM, 0, stream_id, code)


def ping_frame(opaque: bytes, *, ack: bool = False) -> bytes:
    """A PING frame; `opaque` has 8 bytes."""
    return FRAME.pack(8 << 8 | PING, ACK if ack else 0, 0) + opaque


def goaway_frame(last_stream_id: int, code: int, debug: bytes = b"") -> bytes:
    """A GOAWAY frame."""
    return _GOAWAY_FRAME.pack((8 + len(debug)) << 8 | GOAWAY, 0, 0, last_stream_id, code) + debug


def headers_frames(stream_id: int, block: bytes, end_stream: bool, max_frame_size: int) -> bytes:
    """HEADERS and, for a block over `max_frame_size` bytes, CONTINUATION frames."""
    if len(block) <= max_frame_size:
        flags = END_HEADERS | END_STREAM if end_stream else END_HEADERS
        return FRAME.pack(len(block) << 8 | HEADERS, flags, stream_id) + block
    parts = [
        FRAME.pack(max_frame_size << 8 | HEADERS, END_STREAM if end_stream else 0, stream_id),
        block[:max_frame_size],
    ]
    for start in range(max_frame_size, len(block), max_frame_size):
        piece = block[start : start + max_frame_size]
        flags = END_HEADERS if start + max_frame_size >= len(block) else 0
        parts += (FRAME.pack(len(piece) << 8 | CONTINUATION, flags, stream_id), piece)
    return b"".join(parts)
