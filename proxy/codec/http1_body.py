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
#: Sizes have 64 bits, as in Envoy; leading zeros are free up to the second limit.
_MAX_SIZE_DIGITS: Final = 16
_MAX_SIZE_BYTES: Final = 16 * 1024
_UNLIMITED: Final = 1 << 30


class BodyDecoder(Protocol):
    """One body being received."""

    done: bool
    trailers: HeaderMap | None
    #: What the body gained in a call of `feed` that raised.
    gained: bytes

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """(payload gained, bytes after the message). Raises `ProtocolError`."""


class LengthDecoder:
    """A body of known length in bytes."""

    trailers: HeaderMap | None = None
    gained = b""

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.done = length == 0

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

    done = False
    trailers: HeaderMap | None = None
    gained = b""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """See `BodyDecoder`."""
        return data, b""


class ChunkedDecoder:
    """A chunked body. Lines and chunks end in CRLF; extensions are skipped; trailers are parsed with limits.

    Envoy skips whatever stands between the data of a chunk and the next LF, and between the digits of a size
    and the extension. Here that is an error: a peer that counts these bytes as data would see another body.

    Trailer fields are kept only with `keep_trailers` (Envoy's `enable_trailers`) but always checked.
    """

    trailers: HeaderMap | None = None
    done = False
    gained = b""
    _buffer = b""
    _remaining = 0  # of the present chunk, its CRLF included
    _in_extension = False
    _in_trailers = False

    def __init__(
        self, keep_trailers: bool = False, max_trailer_bytes: int = 60 * 1024, max_trailer_count: int = 100
    ) -> None:
        self._keep = keep_trailers
        self._max_bytes = max_trailer_bytes
        self._max_count = max_trailer_count if keep_trailers else _UNLIMITED

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """See `BodyDecoder`."""
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        pieces: list[bytes] = []
        position = 0
        size = len(data)
        try:
            while 0 <= position < size:
                if self._in_extension:
                    position = self._skip_extension(data, position)
                elif self._in_trailers:
                    end = self._read_trailers(data, position)
                    return b"".join(pieces), data[end:] if self.done else b""
                elif self._remaining:
                    position = self._read_chunk(data, position, pieces)
                else:
                    position = self._read_size_line(data, position)
        except ProtocolError:
            if self._in_trailers:
                # The last chunk has been seen, and that is when Envoy delivers the body.
                self.gained = b"".join(pieces)
            raise
        return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), b""

    def _read_chunk(self, data: bytes, position: int, pieces: list[bytes]) -> int:
        payload = self._remaining - 2
        if payload > 0:
            available = len(data) - position
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
        line = data[position:end] if end >= 0 else data[position:]
        digits, semicolon, _ = line.partition(b";")
        if semicolon:
            self._start_chunk(digits)
            self._in_extension = True
            return position + len(digits) + 1
        if end < 0:
            self._check_partial_size(line)
            self._buffer = line
            return -1
        self._start_chunk(line.removesuffix(b"\r"))
        if line[-1:] != b"\r":
            raise ProtocolError(CODEC_ERROR)
        return end + 1

    def _start_chunk(self, text: bytes) -> None:
        digits = text.rstrip(b" \t")
        significant = digits.lstrip(b"0")
        if not digits or significant.translate(None, _HEX) or len(significant) > _MAX_SIZE_DIGITS:
            raise ProtocolError(CODEC_ERROR)
        if significant:
            self._remaining = int(significant, 16) + 2
        else:
            self._in_trailers = True

    @staticmethod
    def _check_partial_size(line: bytes) -> None:
        """Refuse at once what can no longer become a size line, so that a bad peer is not waited for."""
        digits = line.removesuffix(b"\r").rstrip(b" \t")
        if not digits or digits.translate(None, _HEX) or len(line) > _MAX_SIZE_BYTES:
            raise ProtocolError(CODEC_ERROR)

    def _skip_extension(self, data: bytes, position: int) -> int:
        end = data.find(b"\n", position)
        carriage_return = data.find(b"\r", position, end if end >= 0 else len(data))
        if end < 0:
            if carriage_return >= 0:
                if carriage_return != len(data) - 1:
                    raise ProtocolError(CODEC_ERROR)
                self._buffer = b"\r"
            return -1
        if carriage_return < 0 or carriage_return != end - 1:
            raise ProtocolError(CODEC_ERROR)
        self._in_extension = False
        return end + 1

    def _read_trailers(self, data: bytes, position: int) -> int:
        for blank in (b"\r\n", b"\n"):
            if data.startswith(blank, position):
                self.done = True
                return position + len(blank)
        end = find_head_end(data, position)
        if (end if end >= 0 else len(data)) - position > self._max_bytes:
            raise ProtocolError(HEADERS_TOO_LARGE, 431)
        if end < 0:
            self._buffer = data[position:]
            return position
        lines = split_lines(data[position:end], start_line=False)
        trailers = FieldParser(self._max_count).parse(["", *lines])
        if self._keep:
            self.trailers = trailers
        self.done = True
        return end
