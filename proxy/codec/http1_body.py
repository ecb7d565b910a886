"""Body framing of HTTP/1 (RFC 9112 sections 6 and 7): how many of the bytes that come belong to the body.

A decoder takes bytes and gives (payload, rest): `payload` is what the body gained, `rest` what follows the
message once `done`. Chunk boundaries are not kept: a proxy re-frames what it forwards.
"""

from __future__ import annotations

from typing import Final, Protocol

from proxy.base.errors import ProtocolError
from proxy.base.headers import HeaderMap
from proxy.codec.http1_fields import CODEC_ERROR, HEADERS_TOO_LARGE, FieldParser, find_head_end, split_lines

_HEX: Final = b"0123456789abcdefABCDEF"
#: A chunk-size line is a few digits and perhaps an extension; Envoy's codec has the same bound.
_MAX_SIZE_LINE: Final = 16 * 1024
_MAX_SIZE_DIGITS: Final = 16


class BodyDecoder(Protocol):
    """One body being received."""

    done: bool
    trailers: HeaderMap | None

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """(payload gained, bytes after the message). Raises `ProtocolError`."""


class LengthDecoder:
    """A body of known length in bytes."""

    __slots__ = ("done", "remaining", "trailers")

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.done = length == 0
        self.trailers: HeaderMap | None = None

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """See `BodyDecoder`."""
        size = len(data)
        if size < self.remaining:
            self.remaining -= size
            return data, b""
        if size == self.remaining:
            self.remaining = 0
            self.done = True
            return data, b""
        cut = self.remaining
        self.remaining = 0
        self.done = True
        return data[:cut], data[cut:]


class UntilCloseDecoder:
    """A body that ends with the connection (responses only), or an upgraded stream; never `done` by itself."""

    __slots__ = ("done", "trailers")

    def __init__(self) -> None:
        self.done = False
        self.trailers: HeaderMap | None = None

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """See `BodyDecoder`."""
        return data, b""


class ChunkedDecoder:
    """A chunked body. Size lines end in CRLF; extensions are skipped; trailers are parsed with limits.

    Trailer fields are kept only with `keep_trailers` (Envoy's `enable_trailers`), but always checked.
    """

    __slots__ = ("_buffer", "_fields", "_in_trailers", "_keep", "_limit", "_remaining", "done", "trailers")

    def __init__(self, keep_trailers: bool = False, max_trailer_bytes: int = 60 * 1024) -> None:
        self.done = False
        self.trailers: HeaderMap | None = None
        self._buffer = b""
        self._remaining = 0  # of the present chunk, its CRLF included
        self._in_trailers = False
        self._keep = keep_trailers
        self._limit = max_trailer_bytes
        self._fields = FieldParser(100)

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """See `BodyDecoder`."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        pieces: list[bytes] = []
        position = 0
        size = len(data)
        while position < size:
            if self._in_trailers:
                end = self._read_trailers(data, position)
                return b"".join(pieces), data[end:] if self.done else b""
            if self._remaining:
                position = self._read_chunk(data, position, pieces)
                if position < 0:
                    break
            else:
                position = self._read_size_line(data, position)
                if position < 0:
                    break
        return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), b""

    def _read_chunk(self, data: bytes, position: int, pieces: list[bytes]) -> int:
        payload = self._remaining - 2
        available = len(data) - position
        if payload > 0:
            if available < payload:
                pieces.append(data[position:])
                self._remaining -= available
                return -1
            pieces.append(data[position : position + payload])
            position += payload
            self._remaining = 2
        ending = data[position : position + 2]
        if ending == b"\r\n":
            self._remaining = 0
            return position + 2
        if not b"\r\n".startswith(ending):
            raise ProtocolError(CODEC_ERROR)
        self._buffer = ending
        return -1

    def _read_size_line(self, data: bytes, position: int) -> int:
        end = data.find(b"\n", position)
        if end < 0:
            if len(data) - position > _MAX_SIZE_LINE:
                raise ProtocolError(CODEC_ERROR)
            self._check_partial_size(data[position:])
            self._buffer = data[position:]
            return -1
        line = data[position:end]
        if line[-1:] != b"\r" or b"\r" in line[:-1] or len(line) > _MAX_SIZE_LINE:
            raise ProtocolError(CODEC_ERROR)
        size = self._parse_size(line[:-1])
        if size == 0:
            self._in_trailers = True
        else:
            self._remaining = size + 2
        if end + 1 == len(data):
            return len(data)
        return end + 1

    @staticmethod
    def _parse_size(line: bytes) -> int:
        digits = line.partition(b";")[0].rstrip(b" \t")
        if not digits or digits.translate(None, _HEX) or len(digits.lstrip(b"0")) > _MAX_SIZE_DIGITS - 1:
            raise ProtocolError(CODEC_ERROR)
        return int(digits, 16)

    @staticmethod
    def _check_partial_size(line: bytes) -> None:
        """Refuse at once what can no longer become a size line, so that a bad peer is not waited for."""
        if line[:1] and line[:1] not in _HEX:
            raise ProtocolError(CODEC_ERROR)

    def _read_trailers(self, data: bytes, position: int) -> int:
        if data.startswith(b"\r\n", position):
            self.done = True
            return position + 2
        if data[position:] == b"\r":
            self._buffer = b"\r"
            return position
        end = find_head_end(data, position)
        if end < 0:
            if len(data) - position > self._limit:
                raise ProtocolError(HEADERS_TOO_LARGE, 431)
            self._buffer = data[position:]
            return position
        if end - position > self._limit:
            raise ProtocolError(HEADERS_TOO_LARGE, 431)
        trailers = self._fields.parse(["", *split_lines(data[position:end])])
        if self._keep:
            self.trailers = trailers
        self.done = True
        return end
