"""Heads as HTTP/2 header blocks (RFC 9113 section 8.3). The encoder keeps no state: see `hpack_encoder`."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.codec.head_template import HOLES, HeadTemplate
from proxy.codec.hpack_encoder import encode_field, encode_fields, encode_integer, encode_request

#: Fields of HTTP/1 alone: they speak of the connection (RFC 9113 section 8.2.2).
CONNECTION_FIELDS = frozenset(
    {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"}
)
_SWITCHING_PROTOCOLS = 101
#: A path as a literal, by its length.
_PATH_STARTS = tuple(b"\x04" + bytes((length,)) for length in range(127))
_LENGTHS = tuple(bytes((length,)) for length in range(127))


def request_fields(head: RequestHead) -> Iterator[tuple[str, str]]:
    """Pseudo-fields and fields. An upgrade of HTTP/1 becomes an extended CONNECT (RFC 8441)."""
    headers = head.headers
    protocol = headers.get("upgrade")
    if protocol is not None:
        yield ":method", "CONNECT"
        yield ":protocol", protocol
    else:
        yield ":method", head.method
    if head.method != "CONNECT":
        yield ":scheme", head.scheme or "http"
        yield ":path", head.path
    if head.authority:
        yield ":authority", head.authority
    for name, value in headers.fields():
        if name not in CONNECTION_FIELDS and not (
            protocol is not None and name == "content-length" and value == "0"
        ):
            yield name, value


def response_fields(head: ResponseHead) -> Iterator[tuple[str, str]]:
    """Pseudo-field and fields. The acceptance of an upgrade becomes that of an extended CONNECT (RFC 8441)."""
    yield ":status", "200" if head.status == _SWITCHING_PROTOCOLS else str(head.status)
    for name, value in head.headers.fields():
        if name not in CONNECTION_FIELDS:
            yield name, value


def render_request_block(head: RequestHead) -> bytes:
    """The header block of a request."""
    headers = head.headers
    if headers.repeated is None and head.method != "CONNECT" and headers.keys().isdisjoint(CONNECTION_FIELDS):
        return encode_request(head.method, head.scheme or "http", head.path, head.authority, headers)
    return encode_fields(request_fields(head))


def render_response_block(head: ResponseHead) -> bytes:
    """The header block of a response."""
    return encode_fields(response_fields(head))


def render_trailer_block(trailers: HeaderMap) -> bytes:
    """The header block of trailers."""
    if CONNECTION_FIELDS.isdisjoint(trailers):
        return encode_fields(trailers.fields())
    return encode_fields((name, value) for name, value in trailers.fields() if name not in CONNECTION_FIELDS)


def request_template(head: RequestHead, *, with_path: bool = True) -> HeadTemplate:
    """A request's header block with holes; without its `:path` it can follow any other pseudo-field."""
    return _template(field for field in request_fields(head) if with_path or field[0] != ":path")


def response_template(head: ResponseHead) -> HeadTemplate:
    """A response's header block with holes."""
    return _template(response_fields(head))


def path_field(path: str) -> bytes:
    """The `:path` alone, for a block whose rest is kept."""
    if len(path) < len(_PATH_STARTS):
        return _PATH_STARTS[len(path)] + path.encode("latin-1")
    return encode_field(":path", path)


def string(value: bytes) -> bytes:
    """A value as it goes into a hole (RFC 7541 section 5.2)."""
    length = len(value)
    return (_LENGTHS[length] if length < len(_LENGTHS) else encode_integer(length, 7)) + value


def _template(fields: Iterator[tuple[str, str]]) -> HeadTemplate:
    segments: list[bytes] = []
    holes: list[int] = []
    segment = b""
    for name, value in fields:
        if value in HOLES:
            # Any value of one byte will do to learn how the name is encoded.
            segments.append(segment + encode_field(name, "x")[:-2])
            holes.append(ord(value))
            segment = b""
        else:
            segment += encode_field(name, value)
    segments.append(segment)
    return HeadTemplate.of(tuple(segments), tuple(holes))
