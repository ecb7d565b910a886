"""HTTP/2 requests that would be two requests, or other ones, if they were written down in HTTP/1 as they come.

A case is the frames of stream 1 on a connection of its own; nobody waits for other streams. Real Envoy says which
of them may reach the upstream, and as what.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.support import http2_frames as h2

#: A table gives (name, frames).
Named = Iterator[tuple[str, bytes]]

POISON = "GET /poison HTTP/1.1\r\nHost: a\r\n\r\n"
_INJECTIONS = (
    "a\r\nX-Poison: 1",
    "a\nX-Poison: 1",
    "a\rX-Poison: 1",
    "a\0b",
    f"a\r\n\r\n{POISON}",
    "a\r\nTransfer-Encoding: chunked",
    "\r\na",
    "a\r\n",
    " a",
    "a ",
    "\ta\t",
    "a\x0b",
    "a\x85b",
    "a\xa0",
    "\xe5\x98\x8a\xe5\x98\x8dX-Poison: 1",
)
_PSEUDO = (":method", ":path", ":authority", ":scheme")
_FIELDS = ("x-a", "cookie", "host", "user-agent", "x-forwarded-for", "content-type", "x-request-id", "via")


def _request(
    *fields: tuple[str, str], without: str = "", body: tuple[bytes, ...] | None = None, **pseudo: str
) -> bytes:
    """A request; with a body it is a POST whose DATA frames follow."""
    values = {
        "method": "GET" if body is None else "POST",
        "scheme": "http",
        "path": "/",
        "authority": "a",
        **pseudo,
    }
    named = [(f":{name}", value) for name, value in values.items() if name != without]
    frames = [h2.headers(1, [*named, *fields], end=body is None)]
    if body is not None:
        frames += [h2.data(1, piece, end=number == len(body)) for number, piece in enumerate(body, 1)]
    return b"".join(frames)


def values() -> Named:
    """Line ends and blanks in values."""
    for injection in _INJECTIONS:
        for name in _PSEUDO:
            start = {":path": "/", ":method": "GET", ":scheme": "http"}.get(name, "")
            yield f"{name} {injection!r}", _request(**{name[1:]: start + injection})
        for name in _FIELDS:
            yield f"{name}: {injection!r}", _request((name, injection))


def names() -> Named:
    """Names that are framing, or become it."""
    for name in (
        "transfer-encoding", "Transfer-Encoding", "transfer-encoding ", "transfer-encoding:", " transfer-encoding",
        "transfer_encoding", "transfer-encoding\r", "transfer-encoding\0", "x\r\ntransfer-encoding", "x: y\r\nz",
        "x:y", "x\n", "x\ty", "x y", "", "connection", "Connection", "keep-alive", "proxy-connection", "upgrade",
        "te", "trailer", "http2-settings", "X", "x\xe9", "x\x7f", "(x)", "x/y", "get / http/1.1", ":x", "::path",
        ":path ", ":Path", "content-length ", "Content-Length", "content_length", "host ", "x-envoy-original-path",
        "x-envoy-internal", "proxy-authorization", "expect",
    ):  # fmt: skip
        for value in ("chunked", "5", "100-continue"):
            yield f"{name!r}: {value}", _request((name, value))


def framings() -> Named:
    """Lengths that do not fit, and fields that would tell another one."""
    body = b"0\r\n\r\n" + POISON.encode()
    for length in (
        "0",
        "5",
        str(len(body)),
        str(len(body) + 9),
        "+5",
        "-1",
        "5, 5",
        " 5",
        "0x5",
        "",
        "5 ",
        "5;",
    ):
        yield f"length {length!r}", _request(("content-length", length), body=(body,))
        yield f"length {length!r} without a body", _request(("content-length", length))
        yield f"length {length!r}, empty DATA", _request(("content-length", length), body=(b"",))
        yield f"length {length!r} in pieces", _request(("content-length", length), body=(body[:5], body[5:]))
        yield f"length {length!r}, GET", _request(("content-length", length), body=(body,), method="GET")
    pairs = (("5", "5"), ("5", "6"), ("0", "5"), ("5", "0"), ("5", "05"))
    for one, two in pairs:
        twice = (("content-length", one), ("content-length", two))
        yield f"lengths {one} and {two}", _request(*twice, body=(b"hello",))
    for coding in ("chunked", "identity", "trailers", "gzip, chunked", "", "CHUNKED"):
        yield f"coding {coding!r}", _request(("transfer-encoding", coding), body=(body,))
        yield f"te {coding!r}", _request(("te", coding), body=(body,))
        yield (
            f"coding {coding!r} and a length",
            _request(("transfer-encoding", coding), ("content-length", str(len(body))), body=(body,)),
        )
    for method in ("GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "PUT"):
        yield f"{method} with a body", _request(body=(body,), method=method)
        yield f"{method} with an empty body", _request(body=(b"",), method=method)
    yield "expects", _request(("expect", "100-continue"), body=(body,))
    yield "expects something", _request(("expect", "x"), body=(body,))
    yield "DATA after the end", _request() + h2.data(1, body)
    yield "HEADERS after the end", _request() + h2.request(1, "/poison")


def pseudo_fields() -> Named:
    """The request line, in pieces that do not fit together."""
    targets = (
        "", " ", "a", "*", "/ ", "/a b", "/ HTTP/1.1", f"/ HTTP/1.1\r\nHost: b\r\n\r\n{POISON}", "/\t", "/#/poison",
        "/?a b", "/\x7f", "/\xe9", "http://b/poison", "//b/poison", "/http://b", "?", "/\\..\\poison", "/../poison",
        "/%0d%0aX-Poison:%201", "/a/%2e%2e/poison", "/..;/poison", "b:80", "@b", "/\x00",
    )  # fmt: skip
    for target in targets:
        yield f"path {target!r}", _request(path=target)
        yield f"OPTIONS {target!r}", _request(path=target, method="OPTIONS")
    for method in (
        "",
        " ",
        "get",
        "GET ",
        " GET",
        "G\tT",
        "GET /poison HTTP/1.1\r\nx:",
        "GET\r\n",
        "CONNECT",
        "PRI",
        "{}",
    ):
        yield f"method {method!r}", _request(method=method)
    for authority in (
        "",
        " ",
        "a b",
        "a,b",
        "a/b",
        "a@b",
        "u:p@a",
        "a:",
        "a:x",
        "a:99999",
        "[::1",
        "a#b",
        "a?b",
        "a\\b",
    ):
        yield f"authority {authority!r}", _request(authority=authority)
        yield f"host {authority!r}", _request(("host", authority), without="authority")
        yield f"host {authority!r} beside an authority", _request(("host", authority))
    for scheme in ("", " ", "https", "HTTP", "javascript", "http://b/poison?", "h t"):
        yield f"scheme {scheme!r}", _request(scheme=scheme)
    for name, value in ((":path", "/poison"), (":method", "POST"), (":authority", "b"), (":scheme", "https")):
        yield f"{name} twice", _request((name, value))
        yield f"{name} behind a field", _request(("x", "y"), (name, value), without=name[1:])
        yield f"no {name}", _request(without=name[1:])
        yield f"{name} in trailers", _trailers((name, value))
    for name in (":status", ":protocol", ":version", ":host", ":", ":path:"):
        yield f"{name} too", _request((name, "200"))
    tunnel = [(":method", "CONNECT"), (":authority", "a:80")]
    yield "CONNECT", h2.headers(1, tunnel) + h2.data(1, POISON.encode())
    yield "CONNECT with a path", h2.headers(1, [*tunnel, (":path", "/"), (":scheme", "http")])
    for protocol in ("websocket", "connect-udp", "", "h2c"):
        extended = [*tunnel, (":path", "/"), (":scheme", "http"), (":protocol", protocol)]
        yield f"CONNECT of {protocol!r}", h2.headers(1, extended) + h2.data(1, POISON.encode())
    for protocol in ("websocket", "h2c"):
        yield f"upgrade to {protocol}", _request(("connection", "upgrade"), ("upgrade", protocol))
        yield f"upgrade alone to {protocol}", _request(("upgrade", protocol))


def _trailers(*fields: tuple[str, str], end: bool = True) -> bytes:
    head = _request(body=())
    return head + h2.data(1, b"hello") + h2.headers(1, fields, end=end)


def trailers() -> Named:
    """What must not follow a body."""
    for name, value in (
        ("content-length", "5"), ("content-length", "50"), ("transfer-encoding", "chunked"), ("host", "b"),
        ("connection", "close"), ("te", "trailers"), ("upgrade", "x"), ("authorization", "x"), ("cookie", "x"),
        ("x", "a\r\nb: c"), ("x", "a\nb"), ("x\r\n\r\n", "y"), ("X", "y"), ("x y", "z"), ("", "x"), ("x", " y "),
        ("x-forwarded-for", "1.2.3.4"), ("expect", "100-continue"), ("x", "\0"), ("trailer", "x"),
    ):  # fmt: skip
        yield f"trailer {name!r}: {value!r}", _trailers((name, value))
        yield f"trailer {name!r}: {value!r} behind another", _trailers(("a", "b"), (name, value))
    yield "no trailers", _trailers()
    for lengths in (("5",), ("4",), ("05",), ("5", "5"), ("5", "6"), ("5, 5",)):
        declared = [("content-length", length) for length in lengths]
        yield f"trailers with lengths {lengths}", _trailers(*declared)
        yield (
            f"a length, then trailers with lengths {lengths}",
            b"".join(
                (
                    h2.request(1, method="POST", fields=[("content-length", "5")], end=False),
                    h2.data(1, b"hello"),
                    h2.headers(1, declared, end=True),
                )
            ),
        )
    yield "trailers that do not end", _trailers(("a", "b"), end=False)
    yield "DATA behind trailers", _trailers(("a", "b")) + h2.data(1, POISON.encode(), end=True)


TABLES = {
    "values": values,
    "names": names,
    "framings": framings,
    "pseudo_fields": pseudo_fields,
    "trailers": trailers,
}
