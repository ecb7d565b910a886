"""Where the body of a request ends, in every spelling that two readers might read differently."""

from __future__ import annotations

from tests.conformance.request_parts import NEXT, Named, chunked, get, post, spellings


def lengths() -> Named:
    """Content-Length in every spelling."""
    body = b"hello"
    values = [*spellings("content-length values"), b"0" * 30, b"0" * 30 + b"5", b"1" * 400]
    for value in values:
        yield f"content-length {value[:40]!r}", post(b"Content-Length: " + value, body=body)
        yield f"GET content-length {value[:40]!r}", get(b"Content-Length: " + value) + body
    pairs = [(b"5", b"5"), (b"5", b"6"), (b"6", b"5"), (b"5", b"05"), (b"5", b""), (b"", b"5"), (b"0", b"5")]
    pairs += [(b"5", b"0"), (b"5", b"+5"), (b"5", b"5, 5"), (b"0", b"0")]
    for one, two in pairs:
        yield (
            f"two content-lengths {one!r} {two!r}",
            post(b"Content-Length: " + one, b"Content-Length: " + two, body=body),
        )
    for name in spellings("content-length names"):
        yield f"length name {name!r}", post(name + b": 5", body=body)
        yield f"length name {name!r} and next", post(name + b": 5", body=body) + NEXT
    yield "body longer than declared", post(b"Content-Length: 3", body=b"hello")
    yield "body shorter than declared", post(b"Content-Length: 10", body=b"hello")
    yield "body with no length", post(body=b"hello")
    yield "second request in the body", post(b"Content-Length: %d" % len(NEXT), body=NEXT)
    yield "second request after the body", post(b"Content-Length: 5", body=b"hello") + NEXT
    yield "second request after no body", post(b"Content-Length: 0") + NEXT
    yield "second request after unsized POST", post() + NEXT


def both_framings() -> Named:
    """CL.TE and TE.CL."""
    smuggled = b"0\r\n\r\n" + NEXT
    for first, second in (
        (b"Content-Length: %d" % len(smuggled), b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: %d" % len(smuggled)),
        (b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 3"),
        (b"Content-Length: 0", b"Transfer-Encoding: chunked"),
        (b"Transfer-Encoding: chunked", b"Content-Length: 0"),
        (b"Content-Length: ", b"Transfer-Encoding: chunked"),
        (b"Content-Length: x", b"Transfer-Encoding: chunked"),
        (b"Content-Length: 5", b"Transfer-Encoding: identity"),
        (b"Content-Length: 5", b"Transfer-Encoding: "),
        (b"Content-Length: 5", b"Transfer-Encoding: x"),
        (b"Content-Length: 5", b"transfer_encoding: chunked"),
        (b"Content-Length: 5", b"Connection: content-length"),
        (b"Transfer-Encoding: chunked", b"Connection: transfer-encoding"),
        (b"Transfer-Encoding: chunked", b"Connection: Transfer-Encoding, close"),
        (b"Content-Length: 5", b"Transfer-Encoding : chunked"),
        (b"Content-Length: 5", b"Transfer-Encoding\t: chunked"),
        (b"Content-Length: 5", b" Transfer-Encoding: chunked"),
        (b"Content-Length: 5", b"X: y\r\n Transfer-Encoding: chunked"),
        (b"Content-Length: 5", b"X: y\nTransfer-Encoding: chunked"),
        (b"Content-Length: 5", b"X: y\rTransfer-Encoding: chunked"),
        (b"Content-Length: 5", b"Transfer-Encoding\x00: chunked"),
        (b"Content-Length: 5", b"Transfer-Encoding\x0b: chunked"),
        (b"Content-Length: 5", b"Transfer\xe2\x80\x90Encoding: chunked"),
        (b"Content-Length: 5", b"\xefTransfer-Encoding: chunked"),
        (b"Content-Length: 5", b"Transfer-Encoding:\x0bchunked"),
        (b"Content-Length: 5", b"Transfer-Encoding:\nchunked"),
        (b"Content-Length: 5", b"Transfer-Encoding:\r\n chunked"),
    ):
        for start in (b"POST / HTTP/1.1", b"GET / HTTP/1.1", b"POST / HTTP/1.0", b"HEAD / HTTP/1.1"):
            yield (
                f"{start.split()[0].decode()} {start[-3:].decode()} {first!r} {second!r}",
                post(first, second, body=smuggled, start=start),
            )


def codings() -> Named:
    """Transfer-Encoding in every spelling."""
    body = b"5\r\nhello\r\n0\r\n\r\n"
    values = spellings("transfer-encoding values")
    for value in values:
        yield f"coding {value!r}", post(b"Transfer-Encoding: " + value, body=body)
        yield f"coding {value!r} and next", post(b"Transfer-Encoding: " + value, body=body) + NEXT
    for one, two in (
        (b"chunked", b"chunked"),
        (b"chunked", b"identity"),
        (b"identity", b"chunked"),
        (b"gzip", b"chunked"),
        (b"chunked", b"gzip"),
        (b"chunked", b""),
        (b"", b"chunked"),
        (b"x", b"chunked"),
    ):
        yield (
            f"two codings {one!r} {two!r}",
            post(b"Transfer-Encoding: " + one, b"Transfer-Encoding: " + two, body=body),
        )
    for name in spellings("transfer-encoding names"):
        yield f"coding name {name!r}", post(name + b": chunked", body=body)
        yield f"coding name {name!r} with length", post(name + b": chunked", b"Content-Length: 15", body=body)
    for start in (
        b"GET / HTTP/1.1",
        b"GET / HTTP/1.0",
        b"POST / HTTP/1.0",
        b"DELETE / HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
    ):
        yield f"chunked with {start!r}", post(b"Transfer-Encoding: chunked", body=body, start=start)
        yield f"gzip with {start!r}", post(b"Transfer-Encoding: gzip", body=body, start=start)


def chunks() -> Named:
    """Chunk framing."""
    last = b"0\r\n\r\n"
    sizes = [
        *spellings("chunk sizes"),
        b"0" * 15 + b"5",
        b"0" * 17 + b"5",
        b"0" * 100 + b"5",
        b"0" * 5000 + b"5",
        b"f" * 17,
        b"f" * 30,
        b"5;" + b"a" * 100,
        b"5;" + b"a" * 5000,
        b"5;" + b"a" * 17000,
        b"5;" + b"a" * 70000,
    ]
    for size in sizes:
        yield f"chunk size {size[:30]!r}.{len(size)}", chunked(size + b"\r\nhello\r\n" + last)
        yield f"chunk size {size[:30]!r}.{len(size)} and next", chunked(size + b"\r\nhello\r\n" + last) + NEXT
    for name, body in (
        ("LF after size", b"5\nhello\r\n0\r\n\r\n"),
        ("CR after size", b"5\rhello\r\n0\r\n\r\n"),
        ("LF after data", b"5\r\nhello\n0\r\n\r\n"),
        ("CR after data", b"5\r\nhello\r0\r\n\r\n"),
        ("nothing after data", b"5\r\nhello0\r\n\r\n"),
        ("space after data", b"5\r\nhello \r\n0\r\n\r\n"),
        ("too much data", b"5\r\nhello!\r\n0\r\n\r\n"),
        ("CRCR LF after data", b"5\r\nhello\r\r\n0\r\n\r\n"),
        ("two CRLF after data", b"5\r\nhello\r\n\r\n0\r\n\r\n"),
        ("LF CR after data", b"5\r\nhello\n\r0\r\n\r\n"),
        ("too little data", b"6\r\nhello\r\n0\r\n\r\n"),
        ("LF after the last size", b"5\r\nhello\r\n0\n\r\n"),
        ("LF at the end", b"5\r\nhello\r\n0\r\n\n"),
        ("LF LF at the end", b"5\r\nhello\r\n0\n\n"),
        ("CR at the end", b"5\r\nhello\r\n0\r\n\r"),
        ("CR x at the end", b"5\r\nhello\r\n0\r\n\rx"),
        ("CR CR LF at the end", b"5\r\nhello\r\n0\r\n\r\r\n"),
        ("several zeros", b"5\r\nhello\r\n000\r\n\r\n"),
        ("many zeros", b"5\r\nhello\r\n" + b"0" * 40 + b"\r\n\r\n"),
        ("zero with extension", b"5\r\nhello\r\n0;a=b\r\n\r\n"),
        ("zero with space", b"5\r\nhello\r\n0 \r\n\r\n"),
        ("minus zero", b"5\r\nhello\r\n-0\r\n\r\n"),
        ("plus zero", b"5\r\nhello\r\n+0\r\n\r\n"),
        ("0x0", b"5\r\nhello\r\n0x0\r\n\r\n"),
        ("empty", b"0\r\n\r\n"),
        ("no last chunk", b"5\r\nhello\r\n"),
        ("nothing at all", b""),
        ("only CRLF", b"\r\n"),
        ("only CRLF CRLF", b"\r\n\r\n"),
        ("a leading CRLF", b"\r\n5\r\nhello\r\n0\r\n\r\n"),
        ("many chunks", b"".join(b"1\r\n%c\r\n" % c for c in b"hello world" * 20) + last),
        ("garbage after the end", b"5\r\nhello\r\n0\r\n\r\ngarbage"),
        ("LF LF after size of zero", b"0\n\n"),
        ("zero then next at once", b"0\r\n" + NEXT),
        ("size only", b"5"),
        ("extension only", b";a\r\nhello\r\n0\r\n\r\n"),
        ("NUL before size", b"\x005\r\nhello\r\n0\r\n\r\n"),
    ):
        yield f"chunked: {name}", chunked(body)
        yield f"chunked: {name} and next", chunked(body) + NEXT


def trailers() -> Named:
    """What follows the last chunk."""
    for name, block in (
        ("one", b"X-T: 1\r\n\r\n"),
        ("two", b"X-T: 1\r\nY: 2\r\n\r\n"),
        ("no colon", b"X-T\r\n\r\n"),
        ("no name", b": 1\r\n\r\n"),
        ("space before colon", b"X-T : 1\r\n\r\n"),
        ("leading space", b" X-T: 1\r\n\r\n"),
        ("fold", b"X-T: 1\r\n 2\r\n\r\n"),
        ("LF", b"X-T: 1\n\n"),
        ("LF then CRLF", b"X-T: 1\n\r\n"),
        ("CR inside", b"X-T: 1\rY: 2\r\n\r\n"),
        ("NUL in value", b"X-T: \x00\r\n\r\n"),
        ("NUL in name", b"X\x00T: 1\r\n\r\n"),
        ("control byte in value", b"X-T: \x01\r\n\r\n"),
        ("high byte in value", b"X-T: \xff\r\n\r\n"),
        ("high byte in name", b"X\xffT: 1\r\n\r\n"),
        ("empty value", b"X-T:\r\n\r\n"),
        ("content-length", b"Content-Length: 5\r\n\r\n"),
        ("two content-lengths", b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n"),
        ("bad content-length", b"Content-Length: x\r\n\r\n"),
        ("transfer-encoding", b"Transfer-Encoding: chunked\r\n\r\n"),
        ("bad transfer-encoding", b"Transfer-Encoding: x\r\n\r\n"),
        ("host", b"Host: b\r\n\r\n"),
        ("connection", b"Connection: close\r\n\r\n"),
        ("pseudo", b":path: /b\r\n\r\n"),
        ("underscore", b"X_T: 1\r\n\r\n"),
        ("never ending", b"X-T: 1\r\n"),
        ("100", b"".join(b"T%d: 1\r\n" % n for n in range(100)) + b"\r\n"),
        ("101", b"".join(b"T%d: 1\r\n" % n for n in range(101)) + b"\r\n"),
        ("50 kB", b"X-T: " + b"v" * 50_000 + b"\r\n\r\n"),
        ("70 kB", b"X-T: " + b"v" * 70_000 + b"\r\n\r\n"),
        ("long name", b"n" * 70_000 + b": 1\r\n\r\n"),
    ):
        yield f"trailers: {name}", chunked(b"5\r\nhello\r\n0\r\n" + block)
        yield f"trailers: {name} and next", chunked(b"5\r\nhello\r\n0\r\n" + block) + NEXT
