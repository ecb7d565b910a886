"""Response heads of HTTP/2 (RFC 9113 section 8.3.2), as strict and as lenient as Envoy."""

from __future__ import annotations

from typing import Final

from proxy.base.headers import HeaderMap
from proxy.base.messages import ResponseHead
from proxy.codec.http2_fields import (
    CODING,
    COOKIE,
    LENGTH,
    PLAIN,
    FieldRules,
    add_cookies,
    check_value,
    invalid_field,
    invalid_message,
    parse_length,
)
from proxy.codec.http2_frames import FRAME_HEADER_SIZE
from proxy.codec.messages import ParsedResponse

_SWITCHING_PROTOCOLS: Final = 101
_OK: Final = 200
_REDIRECTS: Final = 300
_NO_CONTENT: Final = 204
_NOT_MODIFIED: Final = 304


class Http2Response(ParsedResponse):
    """One parsed response head; shared between equal responses, so nobody may change it.

    `wire_bytes` and `header_bytes` are those of the encoded field section and its frame header, as in Envoy.
    """

    #: See `ParsedHead`: whether another head follows.
    informational = False

    def __init__(self, head: ResponseHead, block_size: int) -> None:
        self.head = head
        self.wire_bytes = self.header_bytes = block_size + FRAME_HEADER_SIZE
        self.plans = {}


class Http2ResponseParser:
    """Parses the field sections of responses under one configuration. See `FieldRules` for the limits."""

    def __init__(
        self, max_headers_bytes: int = 60 * 1024, max_headers_count: int = 100, *, table_size: int = 4096
    ) -> None:
        self._rules = FieldRules(
            max_headers_bytes, max_headers_count, table_size=table_size, of_request=False
        )

    def parse(self, fields: list[tuple[str, str]], block_size: int) -> Http2Response:
        """The response of a decoded field section of `block_size` encoded bytes. Raises `Http2MessageError`."""
        rules = self._rules
        kinds = rules.kinds
        status = 0
        length = -1
        plain: list[tuple[str, str]] = []
        cookies: list[str] = []
        regular = False
        for field in fields:
            name, value = field
            if name[:1] == ":":
                if regular or status or name != ":status":
                    raise invalid_field()
                status = _status(value)
                continue
            regular = True
            kind = kinds.get(name)
            if kind is None:
                kind = rules.kind(name)
            if not (value.isascii() and value.isprintable()):
                check_value(value)
            if kind == PLAIN:
                plain.append(field)
            elif kind == LENGTH:
                if length >= 0 or 100 <= status < 200:
                    raise invalid_field()
                length = parse_length(value)
                if status != _NO_CONTENT:
                    plain.append(field)
                elif value != "0":
                    raise invalid_field()
            elif kind == COOKIE:
                cookies.append(value)
            elif kind == CODING and value.lower() == "trailers":
                plain.append(field)
            else:
                raise invalid_field()
        rules.check_size(fields, block_size)
        if not status:
            raise invalid_message()
        add_cookies(plain, cookies)
        response = Http2Response(ResponseHead(status, HeaderMap(plain)), block_size)
        response.content_length = length
        if status < 200 or status in (_NO_CONTENT, _NOT_MODIFIED):
            response.informational = status < 200
            response.bodyless = True
        return response

    def parse_trailers(self, fields: list[tuple[str, str]], block_size: int) -> HeaderMap:
        """See `FieldRules.parse_trailers`."""
        return self._rules.parse_trailers(fields, block_size)[0]


def answer_to_connect(response: Http2Response, protocol: str) -> Http2Response:
    """A response to CONNECT as Envoy reads it.

    Lengths of accepted tunnels do not count (RFC 9110 section 9.3.6). Under extended CONNECT (`protocol`) the
    acceptance is that of an upgrade of HTTP/1, 101 (RFC 8441 section 5).
    """
    status = response.head.status
    if not _OK <= status < _REDIRECTS:
        return response
    headers = response.head.headers.copy()
    headers.remove("content-length")
    if protocol and status == _OK:
        status = _SWITCHING_PROTOCOLS
        headers.set("upgrade", protocol)
        headers.set("connection", "upgrade")
    answer = Http2Response(ResponseHead(status, headers), response.wire_bytes - FRAME_HEADER_SIZE)
    answer.upgrade = protocol.lower() if status == _SWITCHING_PROTOCOLS else ""
    answer.bodyless = response.bodyless
    return answer


def _status(value: str) -> int:
    if len(value) != 3 or not value.isdigit() or not value.isascii():
        raise invalid_field()
    status = int(value)
    if status == _SWITCHING_PROTOCOLS or status < 100:
        raise invalid_field()
    return status
