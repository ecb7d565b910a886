"""The bytes of requests, made once before the run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench.client.target import Target
from proxy.base.errors import UsageError
from proxy.codec.grpc import prefix
from proxy.codec.hpack_encoder import encode_fields

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

MOST_BODY: Final = 1 << 30
"""Bytes of a body that is made to a size."""

_OF_CONNECTIONS: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "upgrade", "te", "transfer-encoding"}
)


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it is sent; `name` tells it apart in a mix. The reply to a `head` request has no body.

    With HTTP/2 `data` is the header block and `body` what follows; else `data` is all of it.
    """

    data: bytes
    body: bytes = b""
    head: bool = False
    name: str = ""
    weight: int = 1


def parse_header(text: str) -> tuple[str, str]:
    """`name: value`; raises `ValueError` with the reason."""
    name, colon, value = text.partition(":")
    value = value.strip(" \t")
    if not colon or not _TOKEN.fullmatch(name):
        raise ValueError(f"{text!r} is no header; write 'name: value'")
    if not _VALUE.fullmatch(value):
        raise ValueError(f"the value of header {name!r} has characters that cannot be sent")
    if name.lower() in {"content-length", "transfer-encoding"}:
        raise ValueError(f"header {name!r} is set from the body")
    return name, value


def check_method(method: str) -> str:
    """The method; raises `ValueError` if it is no token or asks for something else than a reply."""
    if not _TOKEN.fullmatch(method):
        raise ValueError(f"{method!r} is no HTTP method")
    if method == "CONNECT":
        raise ValueError("CONNECT opens a tunnel, which is not measured here")
    return method


def http_request(
    target: Target,
    method: str,
    path: str,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    *,
    name: str = "",
    weight: int = 1,
) -> Request:
    """A request in the version of HTTP that the target has; of gRPC a unary call with the message `body`.

    `host` and `user-agent` may be set by `headers`. Raises `UsageError` for a header that HTTP/2 does not have.
    """
    if target.http2:
        data, body = _http2(target, method, path, headers, body)
    else:
        data, body = _http1_head(target, method, path, headers, body) + body, b""
    return Request(data, body, head=method == "HEAD", name=name, weight=weight)


def _http1_head(
    target: Target, method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes
) -> bytes:
    given = {field.lower() for field, _ in headers}
    lines = [f"{method} {path} HTTP/1.1"]
    if "host" not in given:
        lines.append(f"host: {target.authority}")
    if "user-agent" not in given:
        lines.append("user-agent: outrider-bench")
    lines += [f"{field}: {value}" for field, value in headers]
    if body or method in {"POST", "PUT", "PATCH"}:
        lines.append(f"content-length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _http2(
    target: Target, method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes
) -> tuple[bytes, bytes]:
    """The header block and the body."""
    fields = [(field.lower(), value) for field, value in headers]
    given = dict(fields)
    for field in _OF_CONNECTIONS & given.keys():
        raise UsageError(
            f"outrider bench: header {field!r} does not exist in HTTP/2 (RFC 9113 section 8.2.2)"
        )
    authority = given.pop("host", target.authority)
    if "user-agent" not in given:
        fields.append(("user-agent", "outrider-bench"))
    if target.grpc:
        method = "POST"
        body = prefix(len(body)) + body
        fields = [("te", "trailers"), *fields]
        if "content-type" not in given:
            fields.append(("content-type", "application/grpc"))
    elif body:
        fields.append(("content-length", str(len(body))))
    pseudo = [
        (":method", method),
        (":scheme", "https" if target.tls else "http"),
        (":path", path),
        (":authority", authority),
    ]
    return encode_fields([*pseudo, *(field for field in fields if field[0] != "host")]), body


def in_turn(requests: Sequence[Request]) -> Iterator[Request]:
    """Requests for ever, in shares of their weights and as evenly mixed as they can be (smooth round robin)."""
    if len(requests) == 1:
        while True:
            yield requests[0]
    total = sum(request.weight for request in requests)
    credit = [0] * len(requests)
    while True:
        best = 0
        for number, request in enumerate(requests):
            credit[number] += request.weight
            if credit[number] > credit[best]:
                best = number
        credit[best] -= total
        yield requests[best]


def body_of(literal: str | None, file: str | None, size: int | None) -> bytes:
    """The body that the flags ask for; `UsageError` if its file cannot be read."""
    if literal is not None:
        return literal.encode()
    if size is not None:
        return b"x" * size
    if file is None:
        return b""
    try:
        with open(file, "rb") as source:
            return source.read()
    except OSError as error:
        raise UsageError(f"outrider bench: --body-file {file}: {error.strerror}") from error
