"""Bytes, line ends, fields and their limits; several requests in one write."""

from __future__ import annotations

from tests.conformance.request_parts import NEXT, Named, chunked, get, post


def every_byte() -> Named:
    """Each of the 256 bytes in each kind of place."""
    for number in range(256):
        byte = bytes([number])
        yield f"byte {byte!r} in value", get(b"X-V: a" + byte + b"b")
        yield f"byte {byte!r} starts value", get(b"X-V:" + byte + b"b")
        yield f"byte {byte!r} ends value", get(b"X-V: a" + byte)
        yield f"byte {byte!r} in name", get(b"X" + byte + b"V: a")
        yield f"byte {byte!r} starts name", get(byte + b"X-V: a")
        yield f"byte {byte!r} before colon", get(b"X-V" + byte + b": a")
        yield f"byte {byte!r} in path", get(start=b"GET /a" + byte + b"b HTTP/1.1")
        yield f"byte {byte!r} in query", get(start=b"GET /a?" + byte + b"b HTTP/1.1")
        yield f"byte {byte!r} starts target", get(start=b"GET " + byte + b"b HTTP/1.1")
        yield f"byte {byte!r} in host", get(host=b"Host: a" + byte + b"b\r\n")
        yield f"byte {byte!r} in method", get(start=b"GE" + byte + b"T / HTTP/1.1")
        yield f"byte {byte!r} after method", get(start=b"GET" + byte + b"/ HTTP/1.1")
        yield f"byte {byte!r} before version", get(start=b"GET /" + byte + b"HTTP/1.1")
        yield f"byte {byte!r} after version", get(start=b"GET / HTTP/1.1" + byte)
        yield f"byte {byte!r} before all", byte + get()
        yield f"byte {byte!r} in absolute host", get(start=b"GET http://a" + byte + b"b/ HTTP/1.1")


def folds() -> Named:
    """Line ends and obs-fold in every position."""
    host = b"Host: a\r\n"
    for name, data in (
        ("after start line", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
        ("tab after start line", b"GET / HTTP/1.1\r\n\tX: y\r\nHost: a\r\n\r\n"),
        ("in the start line", b"GET /\r\n HTTP/1.1\r\n" + host + b"\r\n"),
        ("in the start line 2", b"GET\r\n / HTTP/1.1\r\n" + host + b"\r\n"),
        ("in a value", get(b"X: a\r\n b")),
        ("in a value with tab", get(b"X: a\r\n\tb")),
        ("at the start of a value", get(b"X:\r\n b")),
        ("in a name", get(b"X\r\n Y: b")),
        ("before the colon", get(b"X\r\n : b")),
        ("twice", get(b"X: a\r\n b\r\n c")),
        ("blank fold", get(b"X: a\r\n ")),
        ("blank fold then field", get(b"X: a\r\n ", b"Y: b")),
        ("fold of spaces only", get(b"X: a\r\n   \r\n  b")),
        ("of host", b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n"),
        ("of host start", b"GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n"),
        ("last", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n \r\n\r\n"),
        ("with bare LF", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\n z\r\n\r\n"),
        ("with bare CR", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r z\r\n\r\n"),
        ("before blank line", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n \r\n\r\n"),
        ("looks like field", get(b"X: y\r\n Content-Length: 5") + b"hello"),
        ("looks like field 2", get(b"X: y", b"\tTransfer-Encoding: chunked") + b"0\r\n\r\n"),
        ("LF only", b"GET / HTTP/1.1\nHost: a\nX: y\n\n"),
        ("LF then CRLF", b"GET / HTTP/1.1\nHost: a\r\nX: y\n\r\n"),
        ("CRLF then LF end", b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
        ("CR only", b"GET / HTTP/1.1\rHost: a\r\r"),
        ("CR CR LF", b"GET / HTTP/1.1\r\r\nHost: a\r\r\n\r\r\n"),
        ("LF CR", b"GET / HTTP/1.1\n\rHost: a\n\r\n\r"),
        ("LF CR LF after field", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\n\r\nZ: z\r\n\r\n"),
        ("CR in value", get(b"X: a\rb")),
        ("CR at the end of value", get(b"X: a\r")),
        ("CR CR at the end of value", get(b"X: a\r\r")),
        ("CR at the start of value", get(b"X:\ra")),
        ("CR in name", get(b"X\rY: a")),
        ("CR before colon", get(b"X\r: a")),
        ("CR starts line", get(b"\rX: a")),
        ("CR alone on a line", get(b"X: a", b"\r", b"Y: b")),
        ("CR SP on a line", get(b"X: a", b"\r ", b"Y: b")),
        ("CR in start line", b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("CR in version", b"GET / HTTP/1.1\r \r\nHost: a\r\n\r\n"),
        ("leading CRLF", b"\r\n" + get()),
        ("leading CRLFs", b"\r\n" * 5 + get()),
        ("many leading CRLFs", b"\r\n" * 100_000 + get()),
        ("leading LFs", b"\n\n" + get()),
        ("leading CR", b"\r" + get()),
        ("leading CRs", b"\r\r\r" + get()),
        ("leading LF CR", b"\n\r" + get()),
        ("leading CRLF space", b"\r\n " + get()),
        ("leading spaces", b"  " + get()),
        ("leading tab", b"\t" + get()),
        ("CRLF between requests", get() + b"\r\n" + NEXT),
        ("LF between requests", get() + b"\n" + NEXT),
        ("CR between requests", get() + b"\r" + NEXT),
        ("CRLFs after the request", get() + b"\r\n\r\n\r\n"),
        ("CRLFs between requests", get() + b"\r\n\r\n" + NEXT),
        ("NUL between requests", get() + b"\x00" + NEXT),
        ("space between requests", get() + b" " + NEXT),
        ("CRLF after body", post(b"Content-Length: 5", body=b"hello\r\n") + NEXT),
    ):
        yield f"lines: {name}", data
        if data.endswith(b"\n"):
            yield f"lines: {name} and next", data + NEXT


def fields() -> Named:
    """Field lines."""
    for name, line in (
        ("no colon", b"X"),
        ("no colon with space", b"X y"),
        ("empty name", b": x"),
        ("empty name no space", b":x"),
        ("only colon", b":"),
        ("colons", b"::"),
        ("colon in name", b"X:Y: z"),
        ("pseudo", b":path: /x"),
        ("pseudo method", b":method: GET"),
        ("pseudo authority", b":authority: b"),
        ("space before colon", b"X : y"),
        ("tab before colon", b"X\t: y"),
        ("spaces around colon", b"X  :  y  "),
        ("no space", b"X:y"),
        ("tabs", b"X:\t\ty\t\t"),
        ("empty value", b"X:"),
        ("blank value", b"X:   "),
        ("name with space", b"X Y: z"),
        ("name with quotes", b'"X": z'),
        ("name with parens", b"X(y): z"),
        ("name with comma", b"X,Y: z"),
        ("name with slash", b"X/Y: z"),
        ("underscore", b"X_Y: z"),
        ("all token characters", b"!#$%&'*+-.^_`|~09azAZ: z"),
        ("utf-8 name", "Ünï: z".encode()),
        ("utf-8 value", "X: Ünï".encode()),
        ("value of bytes", b"X: \x80\x81\xfe\xff"),
        ("DEL", b"X: a\x7fb"),
        ("quoted", b'X: "a\\"b"'),
        ("long value", b"X: " + b"v" * 30_000),
        ("long name", b"n" * 30_000 + b": v"),
        ("many spaces", b"X:" + b" " * 20_000 + b"y"),
        ("trailing spaces", b"X: y" + b" " * 20_000),
        ("same name twice", b"X: a\r\nX: b"),
        ("same name three times", b"X: a\r\nx: b\r\nX: c"),
        ("cookies", b"Cookie: a=1\r\nCookie: b=2"),
        ("connection close", b"Connection: close"),
        ("connection Close", b"Connection: CLOSE"),
        ("connection list", b"Connection: keep-alive, close"),
        ("connection close twice", b"Connection: close\r\nConnection: keep-alive"),
        ("connection empty", b"Connection: "),
        ("connection comma", b"Connection: ,,"),
        ("connection closed", b"Connection: closed"),
        ("connection close space", b"Connection: close foo"),
        ("connection nominates", b"Connection: x-foo\r\nX-Foo: 1\r\nX-Bar: 2"),
        ("connection nominates twice", b"Connection: x-foo, X-BAR\r\nX-Foo: 1\r\nX-Bar: 2"),
        ("connection nominates host", b"Connection: host"),
        ("connection nominates xff", b"Connection: x-forwarded-for"),
        ("connection nominates xfh", b"Connection: x-forwarded-host"),
        ("connection nominates xfp", b"Connection: x-forwarded-proto"),
        ("connection nominates path", b"Connection: :path"),
        ("connection nominates te", b"Connection: te\r\nTE: trailers"),
        ("connection nominates te 2", b"Connection: TE\r\nTE: gzip, trailers"),
        ("te alone", b"TE: trailers"),
        ("te gzip", b"TE: gzip"),
        ("connection nominates content-type", b"Connection: content-type\r\nContent-Type: a/b"),
        ("connection nominates authorization", b"Connection: authorization\r\nAuthorization: x"),
        ("connection nominates cookie", b"Connection: cookie\r\nCookie: x"),
        ("connection nominates request id", b"Connection: x-request-id\r\nX-Request-Id: x"),
        ("connection nominates user agent", b"Connection: user-agent\r\nUser-Agent: x"),
        ("connection nominates expect", b"Connection: expect\r\nExpect: 100-continue"),
        ("connection nominates missing", b"Connection: x-none"),
        ("connection nominates many", b"Connection: " + b",".join(b"a%d" % n for n in range(150))),
        ("connection nominates odd", b'Connection: a b, c;d, "e"\r\na: 1\r\nc: 2\r\ne: 3'),
        ("proxy-connection close", b"Proxy-Connection: close"),
        ("proxy-connection keep-alive", b"Proxy-Connection: keep-alive"),
        ("keep-alive", b"Keep-Alive: timeout=5"),
        ("proxy-authorization", b"Proxy-Authorization: x"),
        ("upgrade alone", b"Upgrade: websocket"),
        ("upgrade", b"Connection: upgrade\r\nUpgrade: websocket"),
        ("upgrade list", b"Connection: upgrade\r\nUpgrade: a, b"),
        ("upgrade empty", b"Connection: upgrade\r\nUpgrade:"),
        ("upgrade without value", b"Connection: upgrade"),
        (
            "upgrade h2c",
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        ),
        (
            "upgrade h2c and keep-alive",
            b"Connection: keep-alive, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A",
        ),
        ("upgrade h2c alone", b"Connection: Upgrade\r\nUpgrade: h2c"),
        ("upgrade H2C", b"Connection: Upgrade\r\nUpgrade: H2C"),
        ("upgrade TLS", b"Connection: Upgrade\r\nUpgrade: TLS/1.0"),
        ("expect", b"Expect: 100-continue"),
        ("expect case", b"Expect: 100-CONTINUE"),
        ("expect other", b"Expect: 200-ok"),
        ("expect list", b"Expect: 100-continue, 100-continue"),
        ("expect twice", b"Expect: 100-continue\r\nExpect: 100-continue"),
        ("x-envoy headers", b"X-Envoy-Max-Retries: 3\r\nX-Envoy-Original-Path: /x\r\nX-Envoy-Internal: true"),
        ("x-forwarded", b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b"),
        ("x-forwarded-proto bad", b"X-Forwarded-Proto: ftp"),
        ("x-forwarded-proto two", b"X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http"),
        ("trailer", b"Trailer: x"),
        ("range", b"Range: bytes=0-1"),
        ("via", b"Via: 1.1 x"),
        ("date", b"Date: x"),
        ("request id", b"X-Request-Id: 1"),
        ("two request ids", b"X-Request-Id: 1\r\nX-Request-Id: 2"),
        ("http2-settings", b"HTTP2-Settings: A"),
    ):
        yield f"field: {name}", get(line)
        yield f"field: {name} and next", get(line) + NEXT
        yield f"field: {name} first", b"GET / HTTP/1.1\r\n" + line + b"\r\nHost: a\r\n\r\n"
        yield f"field: {name} with body", post(line, b"Content-Length: 5", body=b"hello")
        yield f"field: {name} in HTTP/1.0", get(line, start=b"GET / HTTP/1.0")


def limits() -> Named:
    """Sizes and counts at their edges (60 KiB and 100 fields by default)."""
    for count in (97, 98, 99, 100, 101, 102, 200, 5000):
        yield f"{count} fields", get(*(b"X%d: y" % n for n in range(count)))
        yield f"{count} equal fields", get(*(b"X: y" for _ in range(count)))
        yield f"{count} cookies", get(*(b"Cookie: y" for _ in range(count)))
        yield f"{count} folds", get(b"X: y" + b"\r\n z" * count)
        yield f"{count} fields and no end", get(*(b"X%d: y" % n for n in range(count)))[:-2]
    for size in (*range(61_380, 61_460, 2), 61_000, 62_000, 65_536, 80_000, 200_000):
        yield f"{size} bytes in one value", get(b"X: " + b"v" * (size - 10))
    for size in (*range(61_400, 61_460, 4), 61_000, 62_000, 80_000, 200_000):
        yield f"{size} bytes in one name", get(b"n" * size + b": v")
        yield f"{size} bytes in the path", get(start=b"GET /" + b"p" * size + b" HTTP/1.1")
    for size in (60_000, 61_000, 61_440, 62_000, 100_000):
        lines = [b"X%03d: %s" % (n, b"v" * (size // 90)) for n in range(90)]
        yield f"{size} bytes in 90 fields", get(*lines)
        yield f"{size} bytes of method", get(start=b"G" * size + b" / HTTP/1.1")
        yield f"{size} bytes without a line end", b"GET /" + b"a" * size
        yield f"{size} bytes of a value without a line end", b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * size
        yield f"{size} bytes of version", get(start=b"GET / HTTP/1." + b"1" * size)
        yield f"{size} bytes of blanks in the start line", get(start=b"GET " + b" " * size + b"/ HTTP/1.1")


def pipelines() -> Named:
    """Several requests in one write; the response to each must belong to it."""
    body = post(b"Content-Length: 5", body=b"hello")
    chunks_ = chunked(b"5\r\nhello\r\n0\r\n\r\n")
    good = {
        "get": get(),
        "post": body,
        "chunked": chunks_,
        "head": get(start=b"HEAD / HTTP/1.1"),
        "options": get(start=b"OPTIONS * HTTP/1.1"),
    }
    bad = {
        "bad method": get(start=b"FOO / HTTP/1.1"),
        "no host": get(host=b""),
        "bad chunk": chunked(b"x\r\n"),
        "both framings": post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        "garbage": b"\x00\x01\x02\r\n\r\n",
        "close": get(b"Connection: close"),
        "http 1.0": get(start=b"GET / HTTP/1.0"),
        "http 1.0 keep-alive": get(b"Connection: keep-alive", start=b"GET / HTTP/1.0"),
        "upgrade": get(b"Connection: upgrade", b"Upgrade: websocket"),
        "connect": get(start=b"CONNECT a:80 HTTP/1.1"),
        "half a head": b"GET / HTTP/1.1\r\nHost: a\r\n",
        "half a body": post(b"Content-Length: 50", body=b"hello"),
        "unknown coding": post(b"Transfer-Encoding: gzip", body=b"hello"),
        "too many fields": get(*(b"X%d: y" % n for n in range(120))),
        "expect": post(b"Expect: 100-continue", b"Content-Length: 5", body=b"hello"),
    }
    everything = good | bad
    for one, first in everything.items():
        for two, second in everything.items():
            yield f"pipeline {one}, {two}", first + second
    yield "thirty in a row", b"".join(get(start=b"GET /%d HTTP/1.1" % n) for n in range(30))
    yield "a long mix", b"".join(list(good.values()) * 4)
