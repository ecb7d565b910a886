"""Heads of HTTP/1 back to bytes. Names leave in lower case, as from Envoy, unless a formatter changes them."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead

#: Turns a lower-case name into the spelling for the wire (`header_key_format`).
NameFormatter = Callable[[str], str]

#: Reason phrases are for people only (RFC 9112 section 4); these are Envoy's.
_REASONS = {status.value: status.phrase for status in HTTPStatus} | {
    102: "Unknown",
    103: "Unknown",
    413: "Payload Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    418: "Unknown",
    422: "Unprocessable Entity",
    451: "Unknown",
    599: "Last Unassigned Server Error Code",
}


def reason_phrase(status: int) -> str:
    """The phrase for a status code, "Unknown" if it has none."""
    return _REASONS.get(status, "Unknown")


def render_fields(headers: HeaderMap, formatter: NameFormatter | None = None) -> str:
    """Every field as a line with its CRLF."""
    if formatter is not None:
        return "".join([f"{formatter(name)}: {value}\r\n" for name, value in headers.fields()])
    if headers.repeated is None:
        return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    return "".join([f"{name}: {value}\r\n" for name, value in headers.fields()])


def render_request_head(
    head: RequestHead, formatter: NameFormatter | None = None, framing: tuple[str, str] | None = None
) -> bytes:
    """The head with its blank line; `framing` is a field that follows the others."""
    target = head.authority if head.method == "CONNECT" else head.path
    host = "host" if formatter is None else formatter("host")
    fields = render_request_fields(head, formatter, framing)
    return f"{head.method} {target} HTTP/1.1\r\n{host}: {head.authority}\r\n{fields}".encode("latin-1")


def render_request_fields(
    head: RequestHead, formatter: NameFormatter | None = None, framing: tuple[str, str] | None = None
) -> str:
    """What follows the start line and the Host field, with the blank line."""
    fields = render_fields(head.headers, formatter)
    if framing is None:
        return f"{fields}\r\n"
    name, value = framing
    return f"{fields}{name if formatter is None else formatter(name)}: {value}\r\n\r\n"


def render_response_head(
    head: ResponseHead, formatter: NameFormatter | None = None, protocol: str = "HTTP/1.1"
) -> bytes:
    """The head with its blank line; the caller has put the framing fields into `head.headers`."""
    fields = render_fields(head.headers, formatter)
    return f"{protocol} {head.status} {reason_phrase(head.status)}\r\n{fields}\r\n".encode("latin-1")


def fields_size(head: bytes) -> int:
    """Bytes of a rendered head without its start line and its blank line, which is how Envoy counts sent fields."""
    return len(head) - head.index(b"\n") - 3


def render_chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; `data` must not be empty."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def render_trailers(trailers: HeaderMap, formatter: NameFormatter | None = None) -> bytes:
    """The last chunk followed by trailer fields."""
    return f"0\r\n{render_fields(trailers, formatter)}\r\n".encode("latin-1")
