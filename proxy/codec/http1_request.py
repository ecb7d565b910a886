"""Request heads of HTTP/1: bytes in, a parsed request or a `ProtocolError` out."""

from __future__ import annotations

import re
from enum import Enum
from typing import Any, Final

from proxy.base.errors import ProtocolError
from proxy.base.messages import RequestHead
from proxy.codec.http1_fields import (
    CODEC_ERROR,
    HEADERS_TOO_LARGE,
    INVALID_TRANSFER_ENCODING,
    FieldParser,
    connection_tokens,
    content_length,
    is_chunked,
    original_names,
    split_lines,
)

INVALID_URL: Final = "http1.invalid_url"
INVALID_SCHEME: Final = "http1.invalid_scheme"
INVALID_AUTHORITY: Final = "http.invalid_authority"
BODY_DISALLOWED: Final = "http1.body_disallowed"
UNEXPECTED_UNDERSCORE: Final = "http1.unexpected_underscore"
CONNECTION_HEADER_REJECTED: Final = "http1.connection_header_rejected"

#: The methods of Envoy's codec; any other is 400.
METHODS: Final = frozenset(
    ("ACL", "BIND", "CHECKOUT", "CONNECT", "COPY", "DELETE", "GET", "HEAD", "LINK", "LOCK", "MERGE")
    + ("MKACTIVITY", "MKCALENDAR", "MKCOL", "MOVE", "MSEARCH", "NOTIFY", "OPTIONS", "PATCH", "POST")
    + ("PROPFIND", "PROPPATCH", "PURGE", "PUT", "REBIND", "REPORT", "SEARCH", "SOURCE", "SUBSCRIBE")
    + ("TRACE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE")
)
_VERSION = re.compile(r"HTTP/\d\.\d", re.ASCII)
_HOST = r"(?!.*@@)[A-Za-z0-9!$%&'()*+,\-.:;=@\[\]_~]*"
_ABSOLUTE = re.compile(rf"([A-Za-z]+)://({_HOST.replace('.*', '[^/?]*')})([/?][\t\f!-~]*)?")
_HOST_AND_PORT = re.compile(r"(?:[^@]*@)?((?:\[[0-9A-Fa-f:.]+\]|[^\[\]:@]+)(?::(\d{1,5}))?)")
_AUTHORITY = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:@\[\]%]*")
#: Clients choose them, so the memo has an end.
_MAX_KNOWN_AUTHORITIES: Final = 1024
#: Names that a Connection field may not nominate: dropping them would change what the request means.
_NOT_NOMINABLE: Final = frozenset(
    {":authority", ":method", ":path", ":scheme", "host", "x-forwarded-for", "x-forwarded-host"}
    | {"x-forwarded-proto"}
)


class UnderscoresAction(Enum):
    """`HttpProtocolOptions.HeadersWithUnderscoresAction`, with the proto's numbers."""

    ALLOW = 0
    REJECT_REQUEST = 1
    DROP_HEADER = 2


class Http1Request:
    """One parsed request head; shared between equal requests, so nobody may change it.

    `content_length` is -1 if none was declared. `close` tells that the client wants the connection closed after
    the response. `upgrade` is the lower-case Upgrade value if the Connection field asks for it, else "".
    `header_bytes` counts names, values and target. `original_names` is kept for `preserve_case` only.
    """

    # Defaults on the class: a request is made for every head, and most fields keep them.
    header_bytes = 0
    content_length = -1
    chunked = False
    close = False
    upgrade = ""
    expect_continue = False
    has_host = False
    dropped_underscores = 0
    original_names: dict[str, str] | None = None

    def __init__(self, head: RequestHead, wire_bytes: int) -> None:
        self.head = head
        self.wire_bytes = wire_bytes
        #: What the connection manager derived from this very head, by client address.
        self.plans: dict[str, Any] = {}

    @property
    def has_body(self) -> bool:
        """Whether body bytes follow the head (or an upgraded stream does)."""
        return self.chunked or self.content_length > 0


class RequestParser:
    """Parses request heads under one configuration (`Http1ProtocolOptions` and the HCM's limits).

    `max_headers_bytes` limits names, values and target together, `max_headers_count` the lines.
    """

    def __init__(
        self,
        max_headers_bytes: int = 60 * 1024,
        max_headers_count: int = 100,
        underscores: UnderscoresAction = UnderscoresAction.ALLOW,
        allow_absolute_url: bool = True,
        allow_chunked_length: bool = False,
        keep_original_names: bool = False,
    ) -> None:
        self.max_headers_bytes = max_headers_bytes
        self._fields = FieldParser(max_headers_count)
        self._underscores = underscores
        self._allow_absolute_url = allow_absolute_url
        self._allow_chunked_length = allow_chunked_length
        self._keep_original_names = keep_original_names
        self._authorities: set[str] = set()

    def parse(self, block: bytes) -> Http1Request:
        """`block` is a whole head without leading blank lines. Raises `ProtocolError` with Envoy's details."""
        lines = split_lines(block)
        method, target, protocol = _split_request_line(lines[0] if lines else "")
        headers = self._fields.parse(lines)
        size = len(block) - 4 * len(lines)
        if size > self.max_headers_bytes:
            raise ProtocolError(HEADERS_TOO_LARGE, 431)
        request = Http1Request(RequestHead(method, "", "", headers, "", protocol), len(block))
        request.header_bytes = size
        if self._keep_original_names:
            request.original_names = original_names(lines)
        if self._underscores is not UnderscoresAction.ALLOW:
            self._check_underscores(request)
        self._check_host_and_target(request, target)
        self._check_framing(request)
        return request

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
        host = head.headers.get("host")
        if host is not None:
            head.headers.remove("host")
            head.authority = host
            request.has_host = True
        if head.method == "CONNECT":
            authority = _ABSOLUTE.fullmatch("x://" + target)
            if authority is None or not target:
                raise ProtocolError(CODEC_ERROR)
            head.authority = _host_and_port(target, port_required=True)[0]
            request.has_host = True
        elif (target[0] == "/" or (target[0] == "*" and head.method == "OPTIONS")) and target.isascii():
            # Control bytes and spaces were refused with the line.
            head.path = target
        else:
            self._take_absolute_target(request, target)
        if head.authority not in self._authorities:
            self._check_authority(head.authority)

    def _check_authority(self, authority: str) -> None:
        if not _AUTHORITY.fullmatch(authority):
            raise ProtocolError(INVALID_AUTHORITY)
        if len(self._authorities) >= _MAX_KNOWN_AUTHORITIES:
            self._authorities.clear()
        self._authorities.add(authority)

    def _take_absolute_target(self, request: Http1Request, target: str) -> None:
        parts = _ABSOLUTE.fullmatch(target)
        if parts is None:
            raise ProtocolError(INVALID_URL if target.startswith("*") else CODEC_ERROR)
        head = request.head
        if not self._allow_absolute_url:
            head.path = target
            return
        scheme = parts[1].lower()
        if scheme not in {"http", "https"}:
            raise ProtocolError(INVALID_SCHEME)
        head.authority = _host_and_port(parts[2], port_required=False)[0]
        head.scheme = scheme
        head.path = parts[3] or "/"
        request.has_host = True

    def _check_framing(self, request: Http1Request) -> None:
        head = request.head
        headers = head.headers
        length = content_length(headers)
        request.chunked = is_chunked(headers, length, self._allow_chunked_length)
        request.content_length = -1 if request.chunked else length
        if head.method == "CONNECT":
            if request.chunked:
                raise ProtocolError(INVALID_TRANSFER_ENCODING, 501)
            if length > 0:
                raise ProtocolError(BODY_DISALLOWED)
            headers.remove("content-length")
            request.content_length = -1
        tokens = connection_tokens(headers)
        if tokens:
            self._apply_connection_tokens(request, tokens)
        elif head.protocol == "HTTP/1.0":
            request.close = True
        if "proxy-connection" in headers and headers["proxy-connection"].lower() == "close":
            request.close = True
        if "expect" in headers and headers["expect"].lower() == "100-continue":
            request.expect_continue = True

    @staticmethod
    def _apply_connection_tokens(request: Http1Request, tokens: list[str]) -> None:
        headers = request.head.headers
        if request.head.protocol == "HTTP/1.0":
            request.close = "keep-alive" not in tokens
        elif "close" in tokens:
            request.close = True
        upgrade = headers.get("upgrade", "").lower()
        if upgrade and "upgrade" in tokens:
            if upgrade == "h2c":
                headers.remove("upgrade")
                headers.remove("http2-settings")
            else:
                request.upgrade = upgrade
                return
        for token in tokens:
            if token in _NOT_NOMINABLE:
                raise ProtocolError(CONNECTION_HEADER_REJECTED)
            if token not in {"close", "te", "connection", "transfer-encoding", "content-length"}:
                headers.remove(token)


def _split_request_line(line: str) -> tuple[str, str, str]:
    """Method, target and protocol ("HTTP/1.1", or "HTTP/1.0" for everything else that parses)."""
    if not line or line[0] in " \t":
        raise ProtocolError(CODEC_ERROR)
    parts = line.split(None, 2)
    if len(parts) < 2 or parts[0] not in METHODS:
        raise ProtocolError(CODEC_ERROR)
    if len(parts) == 2:
        return parts[0], parts[1], "HTTP/1.0"
    version = parts[2]
    if version == "HTTP/1.1":
        return parts[0], parts[1], version
    version = version.rstrip()
    if not _VERSION.fullmatch(version):
        raise ProtocolError(CODEC_ERROR)
    return parts[0], parts[1], "HTTP/1.1" if version == "HTTP/1.1" else "HTTP/1.0"


def _host_and_port(authority: str, *, port_required: bool) -> tuple[str, str | None]:
    """(`host[:port]` without user info, port text or None) of an absolute target or a CONNECT target."""
    parts = _HOST_AND_PORT.fullmatch(authority)
    if parts is None or (port_required and parts[2] is None):
        raise ProtocolError(INVALID_URL)
    if parts[2] is not None and int(parts[2]) > 65535:
        raise ProtocolError(INVALID_URL)
    return parts[1], parts[2]
