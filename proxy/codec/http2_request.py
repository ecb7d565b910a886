"""Request heads of HTTP/2 (RFC 9113 section 8.3.1), as strict and as lenient as Envoy.

A request of the same fields as an earlier one is found by them, whatever connection it comes on; one that differs
in `:path` only shares what was made of the other fields. A request that is not expected to come again is not looked
for and not kept: its names, which are mostly those of an earlier one, tell how to read it, and its values are
checked all at once.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.codec.http1_request import UnderscoresAction
from proxy.codec.http2_fields import (
    CODING,
    COOKIE,
    HOST,
    LENGTH,
    PLAIN,
    UNDERSCORE,
    UNEXPECTED_UNDERSCORE,
    FieldRules,
    add_cookies,
    check_value,
    invalid_field,
    invalid_message,
    over_limit,
    parse_length,
)
from proxy.codec.http2_frames import FRAME_HEADER_SIZE
from proxy.codec.http2_request_shape import RequestShapes
from proxy.codec.messages import ParsedRequest, SharedFields

_METHOD: Final = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_PATH: Final = re.compile(r"[\x21-\x7e\x80-\xff]+")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+\-.]*")
_PSEUDO: Final = frozenset({":method", ":scheme", ":path", ":authority", ":protocol"})
#: Clients choose the fields and paths, so the memos have an end.
#: The protocol of a tunnel without protocol, which is what CONNECT opens anyway.
_BYTESTREAM: Final = "bytestream"
_MAX_KNOWN_FIELDS: Final = 512
_MAX_SEEN: Final = 1024
_REQUEST_ID: Final = "x-request-id"
#: What an id may have at most to be kept apart from the fields.
_MAX_ID_LENGTH: Final = 126
#: Stands for an x-request-id among fields that are shared by requests of different ids. No field can have it.
_ID_APART: Final = (_REQUEST_ID, "\0")
_MAX_KNOWN_REQUESTS: Final = 1024
_MAX_KNOWN_BLOCK_BYTES: Final = 2048
#: After so many requests in a row with fields that are not known, as many are not looked for, but then a few again.
_PATIENCE: Final = 64
_TRIES: Final = 4

_Fields = tuple[tuple[str, str], ...]


class Http2Request(ParsedRequest):
    """One parsed request head; shared between equal requests, so nobody may change it.

    `wire_bytes` and `header_bytes` are those of the encoded field section and its frame header, as in Envoy. An
    extended CONNECT (RFC 8441) is the HTTP/1 request that it stands for: GET with Upgrade.
    """

    has_host = True
    #: See `ParsedHead`.
    informational = False
    bodyless = False
    fields: KnownFields | None

    def __init__(self, head: RequestHead, block_size: int) -> None:
        self.head = head
        self.wire_bytes = self.header_bytes = block_size + FRAME_HEADER_SIZE
        self.plans = {}
        self.dropped_underscores = 0
        self.expect_continue = False


class KnownFields(SharedFields):
    """The fields of an earlier request apart from `:path`, for requests that differ from it in that only.

    With `id_apart` they differ in x-request-id too, which is then not among the fields: see `given_id`.
    """

    __slots__ = ("_headers", "_like", "_longest_path", "requests")

    def __init__(self, like: Http2Request, longest_path: int, *, id_apart: bool = False) -> None:
        """`longest_path` is what a path may have beside these fields."""
        super().__init__()
        self._like = like
        self._longest_path = longest_path
        self._headers = like.head.headers
        if id_apart:
            self._headers = self._headers.copy()
            self._headers.remove(_REQUEST_ID)
        #: By path and size of the encoded field section, which differs from connection to connection.
        self.requests: dict[tuple[str, int], Http2Request] = {}

    def with_path(self, path: str, block_size: int) -> Http2Request:
        """The request for `path`, which is valid, with these fields."""
        like = self._like
        head = like.head
        request = Http2Request(
            RequestHead(head.method, path, head.authority, self._headers, head.scheme, "HTTP/2"), block_size
        )
        if like.content_length >= 0:
            request.content_length = like.content_length
        if like.expect_continue:
            request.expect_continue = True
        request.fields = self
        return request

    def with_any_path(self, path: str, block_size: int) -> Http2Request | None:
        """The request for `path` with these fields; None if that needs a closer look."""
        if path[:1] != "/" or len(path) > self._longest_path or not _is_path(path):
            return None
        return self.with_path(path, block_size)


class Http2RequestParser:
    """Parses the field sections of requests under one configuration. See `FieldRules` for the limits.

    With `ids_apart` requests that differ in x-request-id may share the other fields.
    """

    def __init__(
        self,
        max_headers_bytes: int = 60 * 1024,
        max_headers_count: int = 100,
        underscores: UnderscoresAction = UnderscoresAction.ALLOW,
        *,
        allow_connect: bool = False,
        table_size: int = 4096,
        ids_apart: bool = False,
    ) -> None:
        self._ids_apart = ids_apart
        self._rules = FieldRules(
            max_headers_bytes,
            max_headers_count,
            table_size=table_size,
            special_underscores=underscores is not UnderscoresAction.ALLOW,
        )
        self._rejects_underscores = underscores is UnderscoresAction.REJECT_REQUEST
        self._allow_connect = allow_connect
        self._shapes = RequestShapes(self._rules)
        self._known: dict[_Fields, KnownFields] = {}
        #: What came once: only then does it pay to keep what is made of it.
        self._seen: set[_Fields] = set()
        self._seen_paths: set[str] = set()
        #: How often yet to look for new requests in vain.
        self._patience = _PATIENCE
        self._kept = 0

    def parse(self, fields: list[tuple[str, str]], block_size: int) -> Http2Request:
        """The request of a decoded field section of `block_size` encoded bytes. Raises `Http2MessageError`."""
        for at, (name, value) in enumerate(fields):
            if name == ":path":
                place, path = at, value
                break
            if name[:1] != ":":
                return self._parse(fields, block_size)
        else:
            return self._parse(fields, block_size)
        others = fields.copy()
        del others[place]
        given_id = self._take_id(others) if self._ids_apart else ""
        key = tuple(others)
        known = self._known.get(key)
        if known is None:
            request = self._parse(fields, block_size)
            return self._remember(key, request, given_id) if self._may_share(request, path) else request
        if given_id:
            if path[:1] != "/" or not _is_path(path):
                return self._parse(fields, block_size)
            self._rules.check_size(fields, block_size)
            request = known.with_path(path, block_size)
            request.given_id = given_id
            return request
        kept = known.requests.get((path, block_size))
        if kept is not None:
            return kept
        if path[:1] != "/" or not _is_path(path):
            return self._parse(fields, block_size)
        self._rules.check_size(fields, block_size)
        request = known.with_path(path, block_size)
        if block_size <= _MAX_KNOWN_BLOCK_BYTES:
            seen = self._seen_paths
            if path in seen:
                self._keep(known, request)
            else:
                if len(seen) >= _MAX_SEEN:
                    seen.clear()
                seen.add(path)
        return request

    def parse_new(self, fields: list[tuple[str, str]], block_size: int) -> Http2Request:
        """As `parse`, for a request that is new to its connection; what is returned may be `owned`.

        As long as hardly any of these has the fields of an earlier one, most are not looked for.
        """
        if self._patience > 0:
            request = self.parse(fields, block_size)
            self._patience = _PATIENCE if request.fields is not None else self._patience - 1
            return request
        self._patience -= 1
        if self._patience <= -_PATIENCE:
            self._patience = _TRIES
        return (fields and self._parse_by_names(fields, block_size)) or self.parse(fields, block_size)

    def _parse_by_names(self, fields: list[tuple[str, str]], block_size: int) -> Http2Request | None:
        """The request, if it is one of the commonest kind and nothing is wrong with it."""
        names, values = zip(*fields, strict=True)
        shape = self._shapes.find(names)
        if shape is None or (shape.has_id and self._ids_apart):
            return None
        head = shape.read(fields, values, self._rules)
        if head is None:
            return None
        request = Http2Request(head, block_size)
        request.owned = True
        if shape.length >= 0:
            request.content_length = parse_length(values[shape.length])
        if shape.ordinary:
            request.ordinary = True
        return request

    @staticmethod
    def _take_id(others: list[tuple[str, str]]) -> str:
        """Put a mark in the place of a plain x-request-id; its value, or ""."""
        for at, (name, value) in enumerate(others):
            if name == _REQUEST_ID:
                if 0 < len(value) <= _MAX_ID_LENGTH and value.isascii() and value.isprintable():
                    others[at] = _ID_APART
                    return value
                break
        return ""

    def parse_trailers(self, fields: list[tuple[str, str]], block_size: int) -> tuple[HeaderMap, int]:
        """See `FieldRules.parse_trailers`."""
        trailers, underscored = self._rules.parse_trailers(fields, block_size)
        if underscored and self._rejects_underscores:
            raise over_limit(UNEXPECTED_UNDERSCORE)
        return trailers, underscored

    def _may_share(self, request: Http2Request, path: str) -> bool:
        return (
            path[:1] == "/"
            and request.wire_bytes <= _MAX_KNOWN_BLOCK_BYTES
            and not request.upgrade
            and not request.dropped_underscores
            and request.head.method != "CONNECT"
        )

    def _remember(self, key: _Fields, request: Http2Request, given_id: str) -> Http2Request:
        """Keep the fields of `request` if they come for the second time; the request to go on with."""
        seen = self._seen
        if key not in seen:
            if len(seen) >= _MAX_SEEN:
                seen.clear()
            seen.add(key)
            return request
        repeated = request.head.headers.repeated
        if given_id and repeated is not None and _REQUEST_ID in repeated:
            return request
        if len(self._known) >= _MAX_KNOWN_FIELDS:
            self._known.clear()
            self._kept = 0
        longest_path = self._rules.bytes_left([*key, (":path", "")])
        known = self._known[key] = KnownFields(request, longest_path, id_apart=bool(given_id))
        if given_id:
            request = known.with_path(request.head.path, request.wire_bytes - FRAME_HEADER_SIZE)
            request.given_id = given_id
            return request
        request.fields = known
        self._keep(known, request)
        return request

    def _keep(self, known: KnownFields, request: Http2Request) -> None:
        if self._kept >= _MAX_KNOWN_REQUESTS:
            for one in self._known.values():
                one.requests.clear()
            self._kept = 0
        known.requests[request.head.path, request.wire_bytes - FRAME_HEADER_SIZE] = request
        self._kept += 1

    def _parse(self, fields: list[tuple[str, str]], block_size: int) -> Http2Request:
        rules = self._rules
        kinds = rules.kinds
        pseudo: dict[str, str] = {}
        plain: list[tuple[str, str]] = []
        cookies: list[str] = []
        host: str | None = None
        length = -1
        dropped = 0
        regular = False
        for field in fields:
            name, value = field
            if name[:1] == ":":
                if regular or name in pseudo or name not in _PSEUDO or not value:
                    raise invalid_field()
                self._check_pseudo(name, value)
                pseudo[name] = value
                continue
            regular = True
            kind = kinds.get(name)
            if kind is None:
                kind = rules.kind(name)
            if not (value.isascii() and value.isprintable()):
                check_value(value)
            if kind == PLAIN:
                plain.append(field)
            elif kind == COOKIE:
                cookies.append(value)
            elif kind == UNDERSCORE:
                if self._rejects_underscores:
                    raise over_limit(UNEXPECTED_UNDERSCORE)
                dropped += 1
            elif kind == LENGTH:
                if length >= 0:
                    raise invalid_field()
                length = parse_length(value)
                plain.append(field)
            elif kind == CODING and value.lower() == "trailers":
                if value == "trailers":
                    plain.append(field)
            elif kind == HOST and host is None and value:
                rules.check_authority(value)
                host = value
            else:
                raise invalid_field()
        rules.check_size(fields, block_size)
        add_cookies(plain, cookies)
        request = Http2Request(_head(pseudo, host, HeaderMap(plain)), block_size)
        request.content_length = length
        request.dropped_underscores = dropped
        self._finish(request, pseudo)
        return request

    def _check_pseudo(self, name: str, value: str) -> None:
        if name == ":authority":
            self._rules.check_authority(value)
        elif (
            (name == ":path" and not _is_path(value))
            or (name == ":method" and not _METHOD.fullmatch(value))
            or (name == ":scheme" and not _SCHEME.fullmatch(value))
        ):
            raise invalid_field()
        elif name == ":protocol":
            check_value(value)
            if not self._allow_connect or not value.strip(" \t"):
                raise invalid_field()

    def _finish(self, request: Http2Request, pseudo: dict[str, str]) -> None:
        head = request.head
        headers = head.headers
        if "expect" in headers and headers["expect"].lower() == "100-continue":
            request.expect_continue = True
        protocol = pseudo.get(":protocol")
        if protocol is not None and protocol != _BYTESTREAM:
            head.method = "GET"
            headers.set("upgrade", protocol)
            headers.set("connection", "upgrade")
            request.upgrade = protocol.lower()
        elif head.method == "CONNECT":
            request.content_length = -1


def _is_path(value: str) -> bool:
    if value.isascii() and value.isprintable() and " " not in value:
        return True
    return _PATH.fullmatch(value) is not None


def _head(pseudo: dict[str, str], host: str | None, headers: HeaderMap) -> RequestHead:
    """The head of complete pseudo-fields. Raises `Http2MessageError`."""
    method = pseudo.get(":method")
    authority = pseudo.get(":authority")
    path = pseudo.get(":path", "")
    scheme = pseudo.get(":scheme", "")
    protocol = pseudo.get(":protocol")
    if method is None:
        raise invalid_message()
    if method == "CONNECT" and protocol is None:
        if path or scheme or authority is None:
            raise invalid_message()
        return RequestHead(method, "", authority, headers, "", "HTTP/2")
    if not path or not scheme or (authority is None and host is None):
        raise invalid_message()
    if protocol is not None and (method != "CONNECT" or authority is None):
        raise invalid_message()
    if path[0] != "/" and (path != "*" or method != "OPTIONS") and scheme.lower() in {"http", "https"}:
        raise invalid_message()
    return RequestHead(method, path, authority or host or "", headers, scheme, "HTTP/2")
