"""Start lines, targets and Host fields."""

from __future__ import annotations

from tests.conformance.request_parts import NEXT, Named, get, post, spellings


def start_lines() -> Named:
    """Request lines."""
    versions = spellings("versions")
    for version in versions:
        yield f"version {version!r}", get(start=b"GET / " + version)
        yield f"version {version!r} and next", get(start=b"GET / " + version) + NEXT
    methods = [*spellings("methods"), "A" * 100, "A" * 9000]
    for method in methods:
        encoded = method.encode("utf-8")
        yield f"method {method[:20]}.{len(method)}", get(start=encoded + b" / HTTP/1.1")
        yield (
            f"method {method[:20]}.{len(method)} with body",
            post(b"Content-Length: 5", body=b"hello", start=encoded + b" / HTTP/1.1"),
        )
        yield (
            f"method {method[:20]}.{len(method)} chunked",
            post(
                b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n", start=encoded + b" / HTTP/1.1"
            ),
        )
        yield f"method {method[:20]}.{len(method)} star", get(start=encoded + b" * HTTP/1.1")
    for line in spellings("request lines"):
        yield f"line {line!r}", get(start=line)
        yield f"line {line!r} without fields", line + b"\r\n\r\n"
        yield f"line {line!r} alone", line + b"\r\n"
    yield "TLS hello", bytes.fromhex("16030100f8010000f40303") + bytes(range(100))
    yield "SOCKS", b"\x05\x01\x00"
    yield "PROXY", b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n" + get()
    yield "garbage", bytes(range(256))
    yield "empty lines only", b"\r\n\r\n\r\n\r\n"


def targets() -> Named:
    """Request targets with each method that treats them apart."""
    values = [*spellings("targets"), b"/" + b"a" * 8000, b"/" + b"a" * 60000, b"/" + b"a" * 70000]
    for value in values:
        for method in (b"GET", b"OPTIONS", b"CONNECT", b"POST"):
            yield (
                f"{method.decode()} target {value[:40]!r}.{len(value)}",
                get(start=method + b" " + value + b" HTTP/1.1"),
            )


def hosts() -> Named:
    """The Host field."""
    values = [*spellings("hosts"), b"a" * 255, b"a" * 300, b"a" * 5000]
    for value in values:
        yield f"host {value[:40]!r}.{len(value)}", get(host=b"Host: " + value + b"\r\n")
        yield (
            f"host {value[:40]!r}.{len(value)} with absolute target",
            get(host=b"Host: " + value + b"\r\n", start=b"GET http://b/ HTTP/1.1"),
        )
        yield (
            f"host {value[:40]!r}.{len(value)} HTTP/1.0",
            get(host=b"Host: " + value + b"\r\n", start=b"GET / HTTP/1.0"),
        )
    for name, block in (
        ("missing", b""),
        ("twice the same", b"Host: a\r\nHost: a\r\n"),
        ("twice different", b"Host: a\r\nHost: b\r\n"),
        ("twice, one empty", b"Host: a\r\nHost:\r\n"),
        ("twice, first empty", b"Host:\r\nHost: a\r\n"),
        ("three", b"Host: a\r\nX: y\r\nHost: b\r\nhost: c\r\n"),
        ("with space before colon", b"Host : a\r\n"),
        ("with leading space", b"X: y\r\n Host: a\r\n"),
        ("lower case", b"host: a\r\n"),
        ("upper case", b"HOST: a\r\n"),
        ("as pseudo field", b":authority: a\r\n"),
        ("and pseudo field", b"Host: a\r\n:authority: b\r\n"),
        ("x-forwarded-host", b"X-Forwarded-Host: a\r\n"),
        ("NUL in name", b"Ho\x00st: a\r\n"),
        ("last", b"X: y\r\nY: z\r\nHost: a\r\n"),
    ):
        for start in (
            b"GET / HTTP/1.1",
            b"GET http://c/ HTTP/1.1",
            b"GET / HTTP/1.0",
            b"OPTIONS * HTTP/1.1",
            b"CONNECT c:80 HTTP/1.1",
        ):
            yield f"host {name}, {start!r}", get(host=block, start=start)
