"""Responses of hostile, broken or merely odd origins, and where they are cut off.

A case is a request, the bytes of the answer and how the origin ends the connection; what a proxy should make of
it, real Envoy says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.conformance.request_parts import spellings

HELLO = b"Content-Length: 5\r\n\r\nhello"
SIZED = b"HTTP/1.1 200 OK\r\nX-A: b\r\n" + HELLO
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nhello"


@dataclass(frozen=True)
class Exchange:
    """`answer` in pieces; `end` is open, close or reset. `request` has `{number}` in its path."""

    name: str
    answer: bytes | tuple[bytes, ...]
    end: str = "open"
    method: str = "GET"
    fields: str = ""

    def request(self, number: int) -> bytes:
        """The request of this case as number `number`."""
        return f"{self.method} /{number} HTTP/1.1\r\nHost: a\r\n{self.fields}\r\n".encode()


def status_lines() -> Iterator[Exchange]:
    """Status lines."""
    for line in spellings("status lines"):
        yield Exchange(f"line {line!r}", line + b"\r\n" + HELLO)
        yield Exchange(f"line {line!r} alone", line + b"\r\n")
    for status in (
        *range(99, 105),
        199,
        200,
        201,
        204,
        205,
        206,
        304,
        305,
        400,
        408,
        499,
        500,
        599,
        600,
        999,
    ):
        for method in ("GET", "HEAD"):
            start = b"HTTP/1.1 %d X\r\n" % status
            yield Exchange(f"{method} {status} with body", start + HELLO, method=method)
            yield Exchange(f"{method} {status} without body", start + b"\r\n", method=method)
            yield Exchange(f"{method} {status} until close", start + b"\r\nhello", "close", method)
            yield Exchange(f"{method} {status} chunked", start + CHUNKED[17:], method=method)
            yield Exchange(f"{method} {status} empty", start + b"Content-Length: 0\r\n\r\n", method=method)
            yield Exchange(f"{method} {status} zeros", start + b"Content-Length: 00\r\n\r\n", method=method)
    for status in range(200, 600):
        yield Exchange(f"reason of {status}", b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)
    for first in (b"\r\n", b"\n", b"\r", b" ", b"\x00", b"x", b"h", b"HTTP", b"\r\n\r\n"):
        yield Exchange(f"{first!r} before", first + SIZED)


def response_fields() -> Iterator[Exchange]:
    """Field lines."""
    for line in spellings("response fields"):
        yield Exchange(f"field {line!r}", b"HTTP/1.1 200 OK\r\n" + line + b"\r\n" + HELLO)
    for number in (*range(33), 34, 40, 58, 64, 95, 127, 128, 160, 255):
        byte = bytes([number])
        yield Exchange(f"byte {byte!r} in value", b"HTTP/1.1 200 OK\r\nX: a" + byte + b"b\r\n" + HELLO)
        yield Exchange(f"byte {byte!r} in name", b"HTTP/1.1 200 OK\r\nX" + byte + b"Y: a\r\n" + HELLO)
        yield Exchange(f"byte {byte!r} in reason", b"HTTP/1.1 200 O" + byte + b"K\r\n" + HELLO)
    for count in (99, 100, 101, 102, 1000):
        lines = b"".join(b"X%d: y\r\n" % n for n in range(count - 1))
        yield Exchange(f"{count} fields", b"HTTP/1.1 200 OK\r\n" + lines + HELLO)
    for size in (50_000, 61_000, 61_380, 61_390, 61_400, 61_440, 62_000, 100_000, 300_000):
        yield Exchange(f"{size} bytes", b"HTTP/1.1 200 OK\r\nX: " + b"v" * size + b"\r\n" + HELLO)
        yield Exchange(f"{size} bytes without end", b"HTTP/1.1 200 OK\r\nX: " + b"v" * size)
        yield Exchange(f"{size} bytes of reason", b"HTTP/1.1 200 " + b"v" * size + b"\r\n" + HELLO)
    yield Exchange("LF only", SIZED.replace(b"\r\n", b"\n"))
    yield Exchange("fold", b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n" + HELLO)
    yield Exchange("fold first", b"HTTP/1.1 200 OK\r\n X: a\r\n" + HELLO)


def response_framing() -> Iterator[Exchange]:
    """Lengths, codings, chunks and trailers."""
    start = b"HTTP/1.1 200 OK\r\n"
    for value in spellings("content-length values"):
        yield Exchange(f"length {value!r}", start + b"Content-Length: " + value + b"\r\n\r\nhello")
    for value in spellings("transfer-encoding values"):
        data = start + b"Transfer-Encoding: " + value + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        yield Exchange(f"coding {value!r}", data)
        yield Exchange(f"coding {value!r} and close", data, "close")
    for size in spellings("chunk sizes"):
        yield Exchange(
            f"chunk size {size!r}",
            start + b"Transfer-Encoding: chunked\r\n\r\n" + size + b"\r\nhello\r\n0\r\n\r\n",
        )
    for lines in (
        b"Content-Length: 5\r\nContent-Length: 5",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    ):
        yield Exchange(f"{lines!r}", start + lines + b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        yield Exchange(f"{lines!r} and close", start + lines + b"\r\n\r\nhello", "close")
    for block in [
        b"X-T: 1\r\n\r\n",
        b"X-T\r\n\r\n",
        b": 1\r\n\r\n",
        b"X-T : 1\r\n\r\n",
        b"X\x00: 1\r\n\r\n",
        b"\n",
        b"\r\r\n",
    ]:
        yield Exchange(f"trailers {block!r}", CHUNKED[:-2] + block)
        yield Exchange(f"trailers {block!r} apart", (CHUNKED[:-2], block))
    yield Exchange("trailers of 70 kB", CHUNKED[:-2] + b"X: " + b"t" * 70_000 + b"\r\n\r\n")
    for name, data in (
        ("sized", SIZED),
        ("chunked", CHUNKED),
        ("empty", start + b"Content-Length: 0\r\n\r\n"),
    ):
        for extra in (b"x", b"\r\n", b"\n", b"\x00", SIZED, b"HTTP/1.1 200 OK\r\n"):
            yield Exchange(f"{name} and then {extra[:20]!r}", data + extra)
            yield Exchange(f"{name} and later {extra[:20]!r}", (data, extra))
    for connection in ("close", "keep-alive", "Close", "close, x", "x"):
        field = f"Connection: {connection}\r\n".encode()
        for version in (b"1.0", b"1.1"):
            yield Exchange(
                f"{version!r} connection {connection}", b"HTTP/" + version + b" 200 OK\r\n" + field + HELLO
            )


def informational() -> Iterator[Exchange]:
    """1xx and 101."""
    early = b"HTTP/1.1 %d X\r\nX-Early: 1\r\n\r\n"
    for status in (100, 101, 102, 103, 104, 150, 199):
        yield Exchange(f"{status} first", early % status + SIZED)
        yield Exchange(f"{status} first, apart", (early % status, SIZED))
        yield Exchange(f"{status} and close", early % status, "close")
        yield Exchange(f"{status} and reset", early % status, "reset")
        yield Exchange(f"{status} and nothing", early % status)
        yield Exchange(f"{status} after the response", SIZED + early % status)
    yield Exchange("50 interim responses", early % 103 * 50 + SIZED)
    yield Exchange("100 with a length", b"HTTP/1.1 100 X\r\nContent-Length: 5\r\n\r\nhello" + SIZED)
    yield Exchange("103 with a length of 0", b"HTTP/1.1 103 X\r\nContent-Length: 0\r\n\r\n" + SIZED)
    yield Exchange("101 with an upgrade", b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello")
    yield Exchange("200 with an upgrade", b"HTTP/1.1 200 X\r\nConnection: upgrade\r\nUpgrade: x\r\n" + HELLO)


def cuts() -> Iterator[Exchange]:
    """The connection ends at each point of a response."""
    for name, data in (("sized", SIZED), ("chunked", CHUNKED), ("until close", UNTIL_CLOSE)):
        for end in ("close", "reset"):
            for at in range(len(data) + 1):
                yield Exchange(f"{name} {end} at {at}", data[:at], end)
    for method in ("HEAD", "POST"):
        for end in ("close", "reset"):
            yield Exchange(f"{method} {end} at once", b"", end, method)
            yield Exchange(f"{method} {end} after head", b"HTTP/1.1 200 OK\r\n\r\n", end, method)
            yield Exchange(f"{method} {end} in the body", SIZED[:-2], end, method)


def unfinished() -> Iterator[Exchange]:
    """The response stops and the connection stays."""
    for name, data in (("sized", SIZED), ("chunked", CHUNKED), ("until close", UNTIL_CLOSE)):
        for at in range(0, len(data) + 1, 7):
            yield Exchange(f"{name} stops at {at}", data[:at])


TABLES = {
    "status_lines": status_lines,
    "response_fields": response_fields,
    "response_framing": response_framing,
    "informational": informational,
    "cuts": cuts,
    "unfinished": unfinished,
}
