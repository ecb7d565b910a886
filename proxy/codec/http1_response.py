"""Response heads of HTTP/1: bytes in, a parsed response or a `ProtocolError` out."""

from __future__ import annotations

import re
from typing import Final

from proxy.base.errors import ProtocolError
from proxy.base.messages import ResponseHead
from proxy.codec.http1_fields import (
    BLANKS,
    CODEC_ERROR,
    CONTENT_LENGTH_NOT_ALLOWED,
    HEADERS_TOO_LARGE,
    TRANSFER_ENCODING_NOT_ALLOWED,
    FieldParser,
    body_framing,
    connection_tokens,
    field_bytes,
    original_names,
    split_lines,
)
from proxy.codec.keep_alive import idle_limit
from proxy.codec.messages import ParsedResponse

_STATUS_LINE = re.compile(r"HTTP/(\d\.\d)[\0-\x20]+(\d{1,3})(?:[\0-\x20].*)?", re.ASCII | re.DOTALL)
#: See `RequestParser`.
_FIRST_PIECE: Final = 16 * 1024


class Http1Response(ParsedResponse):
    """One parsed response head."""


class ResponseParser:
    """Parses response heads. `max_headers_bytes` and `max_headers_count` as for requests."""

    def __init__(
        self,
        max_headers_bytes: int = 80 * 1024,
        max_headers_count: int = 100,
        allow_chunked_length: bool = False,
        keep_original_names: bool = False,
    ) -> None:
        self.max_headers_bytes = max_headers_bytes
        self.max_headers_count = max_headers_count
        self._fields = FieldParser(max_headers_count)
        self._allow_chunked_length = allow_chunked_length
        self._keep_original_names = keep_original_names

    def check_start(self, buffer: bytes) -> None:
        """Refuse a head that is not complete and cannot become valid. Raises `ProtocolError`."""
        if buffer[0] != 0x48:  # the H of HTTP
            raise ProtocolError(CODEC_ERROR, 502)
        end = buffer.find(b"\n")
        if end >= 0:
            _split_status_line(buffer[:end].decode("latin-1"))
        if len(buffer) >= self.max_headers_bytes:
            raise ProtocolError(HEADERS_TOO_LARGE, 502)

    def parse(self, block: bytes) -> Http1Response:
        """`block` is a whole head. Raises `ProtocolError` with Envoy's details."""
        if len(block) > self.max_headers_bytes:
            self.check_start(block[:_FIRST_PIECE])
            raise ProtocolError(HEADERS_TOO_LARGE, 502)
        lines = split_lines(block)
        status, is_http11 = _split_status_line(lines[0] if lines else "")
        headers = self._fields.parse(lines)
        response = Http1Response(ResponseHead(status, headers), len(block))
        response.header_bytes = field_bytes(headers)
        if self._keep_original_names:
            response.original_names = original_names(lines)
        if "content-length" in headers or "transfer-encoding" in headers:
            response.content_length, response.chunked = body_framing(headers, self._allow_chunked_length)
        self._check_bodyless(response)
        tokens = connection_tokens(headers)
        response.keep_alive = "close" not in tokens if is_http11 else "keep-alive" in tokens
        if "keep-alive" in headers:
            response.idle_limit = idle_limit(headers["keep-alive"])
        if "proxy-connection" in headers and headers["proxy-connection"].lower() == "close":
            response.keep_alive = False
        if "upgrade" in tokens:
            response.upgrade = headers.get("upgrade", "").lower()
        return response

    @staticmethod
    def _check_bodyless(response: Http1Response) -> None:
        status = response.head.status
        if status < 200 or status == 204:
            response.bodyless = status >= 100
            if status == 101:
                return
            if response.chunked:
                raise ProtocolError(TRANSFER_ENCODING_NOT_ALLOWED, 502)
            if response.content_length >= 0:
                if response.head.headers["content-length"] != "0":
                    raise ProtocolError(CONTENT_LENGTH_NOT_ALLOWED, 502)
                response.head.headers.remove("content-length")
        elif status == 304:
            response.bodyless = True


def _split_status_line(line: str) -> tuple[int, bool]:
    """(status, whether the peer speaks HTTP/1.1)."""
    parts = _STATUS_LINE.fullmatch(line.rstrip(BLANKS))
    if parts is None:
        raise ProtocolError(CODEC_ERROR, 502)
    return int(parts[2]), parts[1] == "1.1"
