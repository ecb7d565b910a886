"""Rules for the fields of HTTP/2 field sections (RFC 9113 section 8.2), as strict and as lenient as Envoy.

Refused: upper case and anything else but a lower-case token in names, control bytes in values, fields that speak
of the connection, `te` other than `trailers`, a repeated or malformed content-length. Accepted: tabs and
obs-text in values, and white space around them. Held against real Envoy by the differential tests.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.base.digits import INT64, whole_number
from proxy.base.headers import HeaderMap
from proxy.codec.http2_frames import ErrorCode, Http2MessageError
from proxy.codec.http2_render import CONNECTION_FIELDS

INVALID_FIELD: Final = "http2.invalid.header.field"
INVALID_MESSAGE: Final = "http2.violation.of.messaging.rule"
TOO_MANY_HEADERS: Final = "http2.too_many_headers"
HEADERS_TOO_LARGE: Final = "http2.header_list_size_too_large"
UNEXPECTED_UNDERSCORE: Final = "http2.unexpected_underscore"

#: How a field is treated, by its name. What needs nothing but a check of the value comes first.
PLAIN, UNDERSCORE, COOKIE, LENGTH, CODING, HOST, REFUSED = range(7)
_SPECIAL: Final = {
    "cookie": COOKIE,
    "content-length": LENGTH,
    "te": CODING,
    "host": HOST,
    "": REFUSED,
    **dict.fromkeys(CONNECTION_FIELDS, REFUSED),
}
_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+\-.^_`|~]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_AUTHORITY: Final = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:\[\]%]+")
#: Peers choose the names and authorities, so the memos have an end.
_MAX_KNOWN: Final = 4096


def invalid_field() -> Http2MessageError:
    """A field that may not be."""
    return Http2MessageError(INVALID_FIELD)


def invalid_message() -> Http2MessageError:
    """A field section that lacks something, or whose fields contradict each other."""
    return Http2MessageError(INVALID_MESSAGE)


def over_limit(details: str) -> Http2MessageError:
    """A field section that costs its stream only: too large, or with names that are not wanted."""
    return Http2MessageError(details, ErrorCode.INTERNAL_ERROR, stream_only=True)


def parse_length(value: str) -> int:
    """A content-length. Raises `Http2MessageError`."""
    length = whole_number(value, INT64)
    if length is None:
        raise invalid_field()
    return length


class FieldRules:
    """The rules under one configuration, with memos of names and authorities.

    `max_headers_bytes` limits names plus values, `max_headers_count` the fields, pseudo-fields included.
    `table_size` is that of the HPACK decoder, from which one byte may copy as many.
    """

    def __init__(
        self,
        max_headers_bytes: int,
        max_headers_count: int,
        *,
        table_size: int = 4096,
        special_underscores: bool = False,
        of_request: bool = True,
    ) -> None:
        self._max_bytes = max_headers_bytes
        self._max_count = max_headers_count
        self._table_size = table_size
        self._underscore = UNDERSCORE if special_underscores else PLAIN
        self._special = _SPECIAL if of_request else {**_SPECIAL, "host": PLAIN}
        #: Name → how to treat it; use `kind` for those that are not in it.
        self.kinds: dict[str, int] = dict(self._special)
        #: Some of those that are valid.
        self.authorities: set[str] = set()

    def kind_of(self, name: str) -> int:
        """How to treat a field of that name (which is no pseudo-field)."""
        kind = self.kinds.get(name)
        return self.kind(name) if kind is None else kind

    def kind(self, name: str) -> int:
        """How to treat a field of a name that is not in `kinds` yet (and no pseudo-field)."""
        if not _NAME.fullmatch(name):
            return REFUSED
        if len(self.kinds) >= _MAX_KNOWN:
            self.kinds = dict(self._special)
        kind = self.kinds[name] = self._underscore if "_" in name else PLAIN
        return kind

    def check_size(self, fields: list[tuple[str, str]], block_size: int) -> None:
        """Raise `Http2MessageError` for a field section over a limit; `block_size` is its encoded size."""
        if len(fields) > self._max_count:
            raise over_limit(TOO_MANY_HEADERS)
        # Cheaper than to add up: a byte of Huffman code gives at most 8/5 bytes, an index one entry of a table.
        if len(fields) * self._table_size + 2 * block_size > self._max_bytes:
            size = 0
            for name, value in fields:
                size += len(name) + len(value)
            if size > self._max_bytes:
                raise over_limit(HEADERS_TOO_LARGE)

    def allows(self, count: int, size: int) -> bool:
        """Whether a field section may have so many fields, and `size` bytes of names and values."""
        return count <= self._max_count and size <= self._max_bytes

    def bytes_left(self, fields: list[tuple[str, str]]) -> int:
        """By how much a field section may grow."""
        return self._max_bytes - sum([len(name) + len(value) for name, value in fields])

    def check_authority(self, authority: str) -> None:
        """Raise `Http2MessageError` for what can be no host and port."""
        if authority in self.authorities:
            return
        if not _AUTHORITY.fullmatch(authority):
            raise invalid_field()
        if len(self.authorities) >= _MAX_KNOWN:
            self.authorities.clear()
        self.authorities.add(authority)

    def parse_trailers(self, fields: list[tuple[str, str]], block_size: int) -> tuple[HeaderMap, int]:
        """(the trailers, how many fields an underscore has cost). Raises `Http2MessageError`."""
        plain: list[tuple[str, str]] = []
        cookies: list[str] = []
        dropped = 0
        for field in fields:
            name, value = field
            kind = self.kinds.get(name)
            if kind is None:
                kind = self.kind(name)
            check_value(value)
            if kind in (PLAIN, HOST):
                plain.append(field)
            elif kind == COOKIE:
                cookies.append(value)
            elif kind == UNDERSCORE:
                dropped += 1
            elif kind == LENGTH and all(other != name for other, _ in plain):
                parse_length(value)
                plain.append(field)
            elif kind == CODING and value.lower() == "trailers":
                plain.append(field)
            else:
                raise invalid_field()
        self.check_size(fields, block_size)
        add_cookies(plain, cookies)
        return HeaderMap(plain), dropped


def check_value(value: str) -> None:
    """Raise `Http2MessageError` for a control byte in a value."""
    if not (value.isascii() and value.isprintable()) and not _VALUE.fullmatch(value):
        raise invalid_field()


def add_cookies(fields: list[tuple[str, str]], cookies: list[str]) -> None:
    """Append the crumbs of Cookie as one field (RFC 9113 section 8.2.3)."""
    if cookies:
        cookie = ""
        for crumb in cookies:
            cookie = f"{cookie}; {crumb}" if cookie else crumb
        if cookie:
            fields.append(("cookie", cookie))
