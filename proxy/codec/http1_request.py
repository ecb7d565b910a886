"""Request heads of HTTP/1: bytes in, a parsed request or a `ProtocolError` out."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from typing import Final

from proxy.base.errors import ProtocolError
from proxy.base.messages import RequestHead
from proxy.codec.http1_fields import (
    BLANKS,
    CODEC_ERROR,
    HEADERS_TOO_LARGE,
    INVALID_TRANSFER_ENCODING,
    FieldParser,
    body_framing,
    connection_tokens,
    field_bytes,
    original_names,
    split_lines,
)
from proxy.codec.messages import ParsedRequest, SharedFields

INVALID_URL: Final = "http1.invalid_url"
INVALID_SCHEME: Final = "http1.invalid_scheme"
INVALID_AUTHORITY: Final = "http.invalid_authority"
BODY_DISALLOWED: Final = "http1.body_disallowed"
UNEXPECTED_UNDERSCORE: Final = "http1.unexpected_underscore"
CONNECTION_HEADER_REJECTED: Final = "http1.connection_header_rejected"
LOW_VERSION: Final = "low_version"

#: The methods of Envoy's codec; any other is 400.
METHODS: Final = frozenset(
    """
    ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE MSEARCH NOTIFY
    OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE UNBIND UNLINK
    UNLOCK UNSUBSCRIBE
    """.split()  # noqa: SIM905 - a list would take a line for each name
)
_START_LINE = re.compile(r"([^\0-\x20]+)[\0-\x20]+([^\0-\x20]+)(?:[\0-\x20]+(.*))?", re.DOTALL)
_VERSION = re.compile(r"HTTP/\d\.\d", re.ASCII)
_HOST = r"(?![^/?]*@@)[A-Za-z0-9!$%&'()*+,\-.:;=@\[\]_~]*"
_ABSOLUTE = re.compile(rf"([A-Za-z][A-Za-z0-9+.\-]*)://({_HOST})([/?][!-~]*)?")
_CONNECT_TARGET = re.compile(rf"[/*][!-~]*|{_HOST}(?:[/?][!-~]*)?")
_HOST_AND_PORT = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.\-]+)(?::(\d{1,5}))"
_ABSOLUTE_AUTHORITY = re.compile(rf"(?:[^@]*@)?({_HOST_AND_PORT}?)")
_CONNECT_AUTHORITY = re.compile(_HOST_AND_PORT)
_AUTHORITY = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@\[\]%]*")
#: Clients choose the lines too.
_MAX_KNOWN_FIELDS: Final = 512
_MAX_KNOWN_FIELD_BYTES: Final = 2048
#: Clients choose them, so the memo has an end.
_MAX_KNOWN_AUTHORITIES: Final = 1024
#: Envoy parses in pieces of this size: an error in the start line counts before the size of the head only if
#: it is in the first piece.
_FIRST_PIECE: Final = 16 * 1024
#: A Connection field may nominate fewer than this many names, and no TE field of this size.
_MAX_NOMINATED: Final = 10
_MAX_NOMINATED_TE: Final = 256
#: Names that a Connection field may not nominate: dropping them would change what the request means.
_NOT_NOMINABLE: Final = frozenset({"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"})
_NOT_DROPPED: Final = frozenset(
    {"close", "connection", "http2-settings", "keep-alive", "te", "transfer-encoding", "upgrade"}
)
#: Stands for the value of an empty Upgrade field, which asks for something that no configuration can allow.
_EMPTY_UPGRADE: Final = " "


class UnderscoresAction(Enum):
    """`HttpProtocolOptions.HeadersWithUnderscoresAction`, with the proto's numbers."""

    ALLOW = 0
    REJECT_REQUEST = 1
    DROP_HEADER = 2


class Http1Request(ParsedRequest):
    """One parsed request head. `header_bytes` is `field_bytes` of the fields as they came."""


class KnownFields(SharedFields):
    """What the lines after a start line say, for requests that differ from an earlier one in their target only."""

    __slots__ = ("_request",)

    def __init__(self, request: Http1Request) -> None:
        super().__init__()
        self._request = request

    def with_start_line(self, line: bytes, wire_bytes: int) -> Http1Request | None:
        """The request of a plain start line (origin form, HTTP/1.1) before these fields; None for any other."""
        parts = line.decode("latin-1").split(" ")
        if len(parts) != 3 or parts[2] != "HTTP/1.1" or parts[0] not in METHODS or parts[0] == "CONNECT":
            return None
        method, target, _ = parts
        if target[:1] != "/" or not target.isascii() or not target.isprintable():
            return None
        like = self._request
        head = RequestHead(method, target, like.head.authority, like.head.headers)
        head.scheme = ""
        request = Http1Request(head, wire_bytes)
        request.header_bytes = like.header_bytes
        request.content_length = like.content_length
        request.chunked = like.chunked
        request.close = like.close
        request.upgrade = like.upgrade
        request.expect_continue = like.expect_continue
        request.has_host = like.has_host
        request.original_names = like.original_names
        request.fields = self
        return request


class RequestParser:
    """Parses request heads under one configuration (`Http1ProtocolOptions` and the HCM's limits).

    `max_headers_bytes` limits the whole head as it came, `max_headers_count` the lines.
    """

    def __init__(
        self,
        max_headers_bytes: int = 60 * 1024,
        max_headers_count: int = 100,
        underscores: UnderscoresAction = UnderscoresAction.ALLOW,
        allow_absolute_url: bool = True,
        allow_chunked_length: bool = False,
        keep_original_names: bool = False,
        accept_http_10: bool = True,
        ignored_upgrades: tuple[Callable[[str], bool], ...] = (),
    ) -> None:
        self.max_headers_bytes = max_headers_bytes
        self._fields = FieldParser(max_headers_count)
        self._underscores = underscores
        self._allow_absolute_url = allow_absolute_url
        self._allow_chunked_length = allow_chunked_length
        self._keep_original_names = keep_original_names
        self._accept_http_10 = accept_http_10
        self._ignored_upgrades = ignored_upgrades
        self._authorities: set[str] = set()
        self._known_fields: dict[bytes, KnownFields] = {}

    def check_start(self, buffer: bytes) -> int:
        """Look at a head that is not complete, so that one which cannot become valid is refused at once.

        A start line without a version is a whole head: gives the index past it, else -1. Raises `ProtocolError`.
        """
        if buffer[0] <= 0x20:
            raise ProtocolError(CODEC_ERROR)
        end = buffer.find(b"\n")
        if end >= 0 and not _split_start_line(buffer[:end].decode("latin-1"))[2]:
            return end + 1
        if len(buffer) >= self.max_headers_bytes:
            raise ProtocolError(HEADERS_TOO_LARGE, 431)
        return -1

    def parse(self, block: bytes) -> Http1Request:
        """`block` is a whole head without leading blank lines. Raises `ProtocolError` with Envoy's details.

        `wire_bytes` of the result is less than the block if its start line has no version: such a head ends there.
        """
        wire_bytes = len(block)
        line_end = block.find(b"\r\n")
        known = self._known_fields.get(block[line_end:])
        if known is not None and wire_bytes <= self.max_headers_bytes:
            # The lines below the start line came before: a client that asks for one thing after another.
            request = known.with_start_line(block[:line_end], wire_bytes)
            if request is not None:
                return request
        if wire_bytes > self.max_headers_bytes:
            self.check_start(block[:_FIRST_PIECE])
            raise ProtocolError(HEADERS_TOO_LARGE, 431)
        if block[0] <= 0x20:
            raise ProtocolError(CODEC_ERROR)
        try:
            lines = split_lines(block)
        except ProtocolError:
            end = _versionless_end(block)
            if end < 0 or end == wire_bytes:
                raise
            return self.parse(block[:end])
        method, target, version = _split_start_line(lines[0])
        if not version:
            del lines[1:]
            wire_bytes = block.index(b"\n") + 1
        headers = self._fields.parse(lines)
        protocol = version if version == "HTTP/1.1" or not lines[0].endswith("HTTP/1.1") else "HTTP/1.1"
        request = Http1Request(RequestHead(method, "", "", headers, "", protocol), wire_bytes)
        request.header_bytes = field_bytes(headers)
        if self._keep_original_names:
            request.original_names = original_names(lines)
        if self._underscores is not UnderscoresAction.ALLOW:
            self._check_underscores(request)
        self._check_framing(request)
        self._check_host_and_target(request, target)
        if (
            version == "HTTP/1.1"
            and target[0] == "/"
            and method != "CONNECT"
            and not request.dropped_underscores
            and line_end == len(lines[0])
            and wire_bytes - line_end <= _MAX_KNOWN_FIELD_BYTES
        ):
            self._keep_fields(request, block[line_end:])
        return request

    def _keep_fields(self, request: Http1Request, lines: bytes) -> None:
        known = self._known_fields
        if len(known) >= _MAX_KNOWN_FIELDS:
            known.clear()
        request.fields = known[lines] = KnownFields(request)

    def _check_underscores(self, request: Http1Request) -> None:
        headers = request.head.headers
        named = [name for name in headers if "_" in name]
        if not named:
            return
        if self._underscores is UnderscoresAction.REJECT_REQUEST:
            raise ProtocolError(UNEXPECTED_UNDERSCORE)
        for name in named:
            request.dropped_underscores += len(headers.values_of(name))
            headers.remove(name)

    def _check_host_and_target(self, request: Http1Request, target: str) -> None:
        head = request.head
        headers = head.headers
        if "host" in headers:
            head.authority = headers["host"]
            if headers.repeated is not None:
                head.authority = ",".join(filter(None, headers.values_of("host")))
            headers.remove("host")
            request.has_host = True
        if head.method == "CONNECT":
            head.authority = _authority_of(_CONNECT_AUTHORITY, target)
            request.has_host = True
        elif target[0] == "/" or (target[0] == "*" and head.method == "OPTIONS"):
            head.path = target
        else:
            self._take_absolute_target(request, target)
        if head.protocol != "HTTP/1.1":
            if not self._accept_http_10:
                raise ProtocolError(LOW_VERSION, 426)
            head.protocol = "HTTP/1.0"
        if head.authority not in self._authorities:
            self._check_authority(head.authority)

    def _check_authority(self, authority: str) -> None:
        if not _AUTHORITY.fullmatch(authority):
            raise ProtocolError(INVALID_AUTHORITY)
        if len(self._authorities) >= _MAX_KNOWN_AUTHORITIES:
            self._authorities.clear()
        self._authorities.add(authority)

    def _take_absolute_target(self, request: Http1Request, target: str) -> None:
        head = request.head
        if not self._allow_absolute_url:
            head.path = target
            return
        parts = _ABSOLUTE.fullmatch(target)
        if parts is None:
            raise ProtocolError(INVALID_URL)
        head.authority = _authority_of(_ABSOLUTE_AUTHORITY, parts[2])
        head.scheme = parts[1].lower()
        if head.scheme not in {"http", "https"}:
            raise ProtocolError(INVALID_SCHEME)
        head.path = parts[3] or "/"
        request.has_host = True

    def _check_framing(self, request: Http1Request) -> None:
        head = request.head
        headers = head.headers
        if "content-length" in headers or "transfer-encoding" in headers:
            self._read_framing(request)
        if "connection" in headers:
            self._apply_connection(request, connection_tokens(headers))
        elif head.protocol != "HTTP/1.1":
            request.close = True
        if "proxy-connection" in headers and headers["proxy-connection"].lower() == "close":
            request.close = True
        if "expect" in headers and headers["expect"].lower() == "100-continue":
            request.expect_continue = True

    def _read_framing(self, request: Http1Request) -> None:
        headers = request.head.headers
        if request.head.method != "CONNECT":
            framing = body_framing(headers, self._allow_chunked_length)
            request.content_length, request.chunked = framing
            return
        if body_framing(headers.copy(), True)[1]:
            raise ProtocolError(INVALID_TRANSFER_ENCODING, 501)
        if headers["content-length"] != "0":
            raise ProtocolError(BODY_DISALLOWED)
        headers.remove("content-length")

    def _apply_connection(self, request: Http1Request, tokens: list[str]) -> None:
        head = request.head
        headers = head.headers
        if head.protocol != "HTTP/1.1":
            request.close = "keep-alive" not in tokens
        elif "close" in tokens:
            request.close = True
        upgrade = headers.get("upgrade")
        if upgrade is not None and "upgrade" in tokens:
            if upgrade.lower() == "h2c":
                headers.remove("http2-settings")
                tokens = [name for name in tokens if name != "http2-settings"]
            else:
                wanted = self._wanted_upgrade(upgrade)
                if wanted is not None:
                    if wanted != upgrade:
                        headers.set("upgrade", wanted)
                    request.upgrade = wanted.lower() or _EMPTY_UPGRADE
                    return
            headers.remove("upgrade")
            tokens = [name for name in tokens if name != "upgrade"]
        if head.method == "CONNECT":
            return
        if len(tokens) >= _MAX_NOMINATED:
            raise ProtocolError(CONNECTION_HEADER_REJECTED)
        for name in tokens:
            if name in _NOT_NOMINABLE or ":" in name:
                raise ProtocolError(CONNECTION_HEADER_REJECTED)
            if name not in _NOT_DROPPED:
                headers.remove(name)
            elif name == "te" and len(headers.get("te", "")) >= _MAX_NOMINATED_TE:
                raise ProtocolError(CONNECTION_HEADER_REJECTED)

    def _wanted_upgrade(self, value: str) -> str | None:
        """What is left of an Upgrade field without the protocols that are to be ignored; None for nothing.

        Where some are ignored, so are empty ones.
        """
        ignored = self._ignored_upgrades
        if not ignored:
            return value
        protocols = [protocol.strip(BLANKS) for protocol in value.split(",")]
        wanted = [text for text in protocols if text and not any(test(text) for test in ignored)]
        if len(wanted) == len(protocols):
            return value
        return ", ".join(wanted) if wanted else None


def _split_start_line(line: str) -> tuple[str, str, str]:
    """Method, target and version ("" if missing). Raises `ProtocolError` for what Envoy's codec refuses."""
    parts = line.split(" ")
    if len(parts) == 3 and parts[2] == "HTTP/1.1" and parts[1].isprintable():
        method, target, version = parts
    else:
        match = _START_LINE.fullmatch(line.rstrip(BLANKS))
        if match is None:
            raise ProtocolError(CODEC_ERROR)
        method, target, version = match[1], match[2], match[3] or ""
        if version and not _VERSION.fullmatch(version):
            raise ProtocolError(CODEC_ERROR)
    if method not in METHODS or not target:
        raise ProtocolError(CODEC_ERROR)
    if target[0] not in "/*" or not target.isascii() or method == "CONNECT":
        pattern = _CONNECT_TARGET if method == "CONNECT" else _ABSOLUTE
        if not pattern.fullmatch(target):
            raise ProtocolError(CODEC_ERROR)
    return method, target, version


def _versionless_end(block: bytes) -> int:
    """Index past a valid start line without a version, -1 if the block begins otherwise."""
    line, line_end, _ = block.partition(b"\n")
    try:
        version = _split_start_line(line.decode("latin-1"))[2]
    except ProtocolError:
        return -1
    return -1 if version else len(line) + len(line_end)


def _authority_of(pattern: re.Pattern[str], text: str) -> str:
    """`host[:port]` without user info, of an absolute target or a CONNECT target."""
    parts = pattern.fullmatch(text)
    if parts is None:
        raise ProtocolError(INVALID_URL)
    port = parts[parts.re.groups]
    if port is not None and int(port) > 65535:
        raise ProtocolError(INVALID_URL)
    return parts[1] if parts.re.groups == 2 else parts[0]
