"""Requests made to leave something behind: a second one that some readers of the connection see, and others not.

Each table hides `NEXT`, or a request for /poison, behind one way of telling where the first message ends. They go
to a connection manager that allows WebSocket, trailers and HTTP/1.0, and normalises paths.
"""

from __future__ import annotations

from tests.conformance.request_parts import NEXT, Named, chunked, get, post, spellings

POISON = b"GET /poison HTTP/1.1\r\nHost: a\r\nX-Poison: "
_LAST = b"0\r\n\r\n"
_LENGTH = b"Content-Length: %d"
_CHUNKED = b"Transfer-Encoding: chunked"


def extensions() -> Named:
    """Chunk extensions, of a chunk and of the last one."""
    values = (
        b";", b";;", b";=", b";a=", b";=b", b";a==b", b";a=b;", b'"', b';a="', b';a="\\', b';a="\\"', b';a="\r"',
        b';a="\n"', b';a="\r\n"', b";a\r", b";a\r\r", b";a\n", b";a\x00b", b";a\x0bb", b";a\x0cb", b";\x7f",
        b";\xc3\xa9=\xff", b";a=\t", b"\t;a", b" ; a", b";a b", b";a,b", b",a", b"/a", b":a", b"&a", b"#a", b"=a",
        b";" + POISON[:-2].replace(b"\r\n", b";"), b";a\r\n" + _LAST + POISON, b";\n" + _LAST + POISON,
    )  # fmt: skip
    for value in values:
        name = repr(value[:24])
        yield f"extension {name}", chunked(b"5" + value + b"\r\nhello\r\n" + _LAST) + NEXT
        yield f"extension {name} of the last chunk", chunked(b"5\r\nhello\r\n0" + value + b"\r\n\r\n") + NEXT


def hidden_framings() -> Named:
    """A coding or length that only some readers see, beside one that all of them see."""
    body = _LAST + POISON
    length = _LENGTH % len(body)
    for value in spellings("transfer-encoding values"):
        coding = b"Transfer-Encoding: " + value
        yield f"length, coding {value!r}", post(length, coding, body=body) + NEXT
    for name in spellings("transfer-encoding names"):
        yield f"length and {name!r}", post(length, name + b": chunked", body=body) + NEXT
        yield (
            f"{name!r} first, in HTTP/1.0",
            post(name + b": chunked", length, body=body, start=b"POST / HTTP/1.0") + NEXT,
        )
    for name in spellings("content-length names"):
        yield f"chunked and {name!r}", post(_CHUNKED, name + b": %d" % len(body), body=body) + NEXT
    for end in (
        b"\r",
        b"\n",
        b"\r\r\n",
        b"\n\r\n",
        b"\r\n ",
        b"\r\n\t",
        b"\r \n",
        b"\x00",
        b"\x0b",
        b"\x85",
        b"\r\n\x00",
    ):
        for hidden, shown in ((_CHUNKED, length), (length, _CHUNKED)):
            yield f"{hidden[:8]!r} behind {end!r}", post(b"X: y" + end + hidden, shown, body=body) + NEXT
            yield (
                f"{hidden[:8]!r} behind {end!r} of the host",
                post(shown, start=b"POST / HTTP/1.1\r\nHost: a" + end + hidden, body=body),
            )


def unexpected_bodies() -> Named:
    """Bodies of methods and answers that have none for some readers."""
    body = POISON + b"1\r\n\r\n"
    for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"TRACE", b"PUT", b"PATCH"):
        start = method + b" /first HTTP/1.1"
        yield f"{method!r} with a length", post(_LENGTH % len(body), start=start, body=body) + NEXT
        yield (
            f"{method!r} chunked",
            post(_CHUNKED, start=start, body=b"%x\r\n%s\r\n" % (len(body), body) + _LAST) + NEXT,
        )
        yield f"{method!r} without a length", post(start=start, body=body) + NEXT
        yield f"{method!r} of no length", post(_LENGTH % 0, start=start, body=body) + NEXT
        yield (
            f"{method!r} that expects",
            post(b"Expect: 100-continue", _LENGTH % len(body), start=start, body=body) + NEXT,
        )
        yield (
            f"{method!r} that closes",
            post(b"Connection: close", _LENGTH % 3, start=start, body=b"abc" + body),
        )
        yield (
            f"{method!r} in HTTP/1.0",
            post(b"Connection: keep-alive", start=start.replace(b"1.1", b"1.0"), body=body),
        )
        yield (
            f"{method!r} in HTTP/1.0 with a length",
            post(
                b"Connection: keep-alive", _LENGTH % len(body), start=start.replace(b"1.1", b"1.0"), body=body
            ),
        )
    for expectation in (b"100-continue", b"100-Continue ", b"x", b"100-continue, x", b""):
        yield (
            f"expectation {expectation!r}, no body sent",
            post(b"Expect: " + expectation, _LENGTH % len(NEXT)) + NEXT,
        )


def two_hosts() -> Named:
    """Who is asked: the target, the Host field, or another one of them."""
    forms = (
        b"GET http://a/x HTTP/1.1", b"GET http://b/x HTTP/1.1", b"GET http://a:80/x HTTP/1.1", b"GET b:80 HTTP/1.1",
        b"GET //b/x HTTP/1.1", b"GET /http://b/x HTTP/1.1", b"GET http:/x HTTP/1.1", b"GET http:///x HTTP/1.1",
        b"GET http://a@b/x HTTP/1.1", b"GET http://b%2f/x HTTP/1.1", b"GET http://b?x HTTP/1.1",
        b"GET HTTP://B/x HTTP/1.1", b"GET https://b/x HTTP/1.1", b"POST * HTTP/1.1", b"OPTIONS http://b HTTP/1.1",
        b"OPTIONS * HTTP/1.1", b"CONNECT b:80 HTTP/1.1", b"CONNECT http://b HTTP/1.1", b"CONNECT /x HTTP/1.1",
    )  # fmt: skip
    fields = (
        b"Host: a\r\n", b"", b"Host: b\r\nHost: a\r\n", b"Host: a\r\nhost: a\r\n", b"Host: a, b\r\n",
        b"Host: a\r\n\tb\r\n", b"Host : b\r\nHost: a\r\n", b"Host: a\r\nX-Forwarded-Host: b\r\n", b"Host: a/x\r\n",
    )  # fmt: skip
    for start in forms:
        for field in fields:
            yield f"{start.partition(b' HTTP')[0]!r}, {field!r}", get(host=field, start=start) + NEXT


def climbing_paths() -> Named:
    """Targets whose normal form is another resource."""
    for path in (
        b"/a/../poison", b"/a/%2e%2e/poison", b"/a/.%2E/poison", b"/a/..%2fpoison", b"/a%2f..%2fpoison",
        b"/a\\..\\poison", b"/a/..\\poison", b"/a/%5c../poison", b"/%2%65%2%65/poison", b"/%252e%252e/poison",
        b"/a/..;/poison", b"/a/../../poison", b"/../poison", b"/./poison", b"/a/./../poison", b"//a/../poison",
        b"/a//../poison", b"/a/.../poison", b"/a/..poison", b"/a?/../poison", b"/a#/../poison", b"/a%00/../poison",
        b"/a%0d%0a/../poison", b"/a\t/../poison", b"/%", b"/%2", b"/%zz/../poison", b"/%u002e%u002e/poison",
        b"/%c0%ae%c0%ae/poison", b"/\xc0\xae/poison", b"/a/%2E", b"/..", b"/.", b"/a/..", b"http://a/../poison",
        b"http://a/%2e%2e/poison", b"/a|b/../poison", b"/<a>/../poison", b"/{a}", b"/a^b`c\"",
    ):  # fmt: skip
        yield f"path {path!r}", get(start=b"GET " + path + b" HTTP/1.1") + NEXT


def upgrades() -> Named:
    """Switches of protocol that one side believes in."""
    websocket = (
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: x",
    )
    h2c = (
        b"Connection: Upgrade, HTTP2-Settings",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    )
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
    for number in (b"101", b"200", b"426"):
        start = b"GET /" + number + b" HTTP/1.1"
        yield f"websocket, {number!r}", get(*websocket, start=start) + NEXT
        yield f"websocket, {number!r}, poison", get(*websocket, start=start) + POISON + b"1\r\n\r\n"
        for version in (b"777", b"", b"13, 8"):
            wrong = (*websocket[:2], b"Sec-WebSocket-Version: " + version)
            yield f"websocket of version {version!r}, {number!r}", get(*wrong, start=start) + NEXT
        yield f"websocket with a length, {number!r}", get(*websocket, _LENGTH % len(NEXT), start=start) + NEXT
        yield f"websocket, chunked, {number!r}", get(*websocket, _CHUNKED, start=start) + _LAST + NEXT
        yield f"websocket, POST, {number!r}", post(*websocket, start=b"POST /" + number + b" HTTP/1.1") + NEXT
        yield (
            f"websocket in HTTP/1.0, {number!r}",
            get(*websocket, start=b"GET /" + number + b" HTTP/1.0") + NEXT,
        )
        yield f"h2c, {number!r}", get(*h2c, start=start) + preface
        yield f"h2c with a body, {number!r}", post(*h2c, _LENGTH % 5, start=start, body=b"hello") + preface
        yield f"h2c, then a request, {number!r}", get(*h2c, start=start) + NEXT
    for line in (
        b"Upgrade: websocket, h2c", b"Upgrade: h2c, websocket", b"Upgrade: WebSocket", b"Upgrade: websocket/13",
        b"Upgrade: websocket\r\nUpgrade: h2c", b"Upgrade:", b"Upgrade: foo",
    ):  # fmt: skip
        for connection in (
            b"Connection: Upgrade",
            b"Connection: upgrade, close",
            b"Connection: keep-alive",
            b"X: y",
        ):
            yield f"{line!r}, {connection!r}", get(connection, line, start=b"GET /426 HTTP/1.1") + NEXT


def hidden_trailers() -> Named:
    """Trailers that would be framing, routing or credentials if a reader took them for fields."""
    for line in (
        b"Content-Length: 0", b"Content-Length: 50", b"Transfer-Encoding: chunked", b"Transfer-Encoding: x",
        b"Host: b", b"Connection: close", b"Upgrade: websocket", b"Authorization: x", b"Cookie: a=b",
        b"X-Forwarded-For: 1.2.3.4", b"Te: trailers", b"Trailer: x", b"Expect: 100-continue",
        b"Content-Encoding: gzip", b"X\rY: z", b"X\x00: z",
        b":path: /poison", b": x", b"X : y", b"x: a\r\n b", b"x: a\n b", b"X-Poison: 1\r\n\r\n" + POISON + b"2",
        b"X-Envoy-Internal: true", b"X-Request-Id: x", b"GET /poison HTTP/1.1",
    ):  # fmt: skip
        yield f"trailer {line!r}", chunked(b"5\r\nhello\r\n0\r\n" + line + b"\r\n\r\n") + NEXT
        yield (
            f"announced trailer {line!r}",
            chunked(
                b"5\r\nhello\r\n0\r\n" + line + b"\r\n\r\n",
                b"Trailer: " + line.partition(b":")[0].strip(b"\r\n\x00 "),
            ),
        )
    for cut in (b"0", b"0\r", b"0\r\n", b"0\r\nX: y", b"0\r\nX: y\r\n", b"0\r\nX: y\r\n\r"):
        yield f"end cut to {cut!r}", chunked(b"5\r\nhello\r\n" + cut)
        yield f"end cut to {cut!r}, then a request", chunked(b"5\r\nhello\r\n" + cut) + NEXT


TABLES = {
    "extensions": extensions,
    "hidden_framings": hidden_framings,
    "unexpected_bodies": unexpected_bodies,
    "two_hosts": two_hosts,
    "climbing_paths": climbing_paths,
    "upgrades": upgrades,
    "hidden_trailers": hidden_trailers,
}
