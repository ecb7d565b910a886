"""Response heads."""

import pytest

from proxy.base.errors import ProtocolError
from proxy.codec.http1_response import ResponseParser


def parse(start="HTTP/1.1 200 OK", *lines, **options):
    fields = "".join(line + "\r\n" for line in lines)
    return ResponseParser(**options).parse(f"{start}\r\n{fields}\r\n".encode("latin-1"))


@pytest.mark.parametrize(
    ("start", "status"),
    [
        ("HTTP/1.1 200 OK", 200),
        ("HTTP/1.1 200", 200),
        ("HTTP/1.1\t99  x y ", 99),
        ("HTTP/1.0 600 \xfc", 600),
        ("HTTP/9.9 999", 999),
    ],
)
def test_status_lines(start, status):
    assert parse(start).head.status == status


@pytest.mark.parametrize(
    "start",
    """
HTTP/1.1
HTTP/1.1 abc
HTTP/1.1 2000
HTTP/1.1 +200
HTTP/1.1 -200
HTTP/1.1 200abc
HTTP/1.1 \xb200
HTTP/1 200
http/1.1 200
ICY 200
 HTTP/1.1 200
""".strip("\n").split("\n"),
)
def test_broken_status_lines(start):
    with pytest.raises(ProtocolError) as caught:
        parse(start)
    assert caught.value.details == "http1.codec_error"


def test_a_status_line_that_cannot_become_valid_is_refused_at_once():
    parser = ResponseParser(max_headers_bytes=100)
    parser.check_start(b"H")
    parser.check_start(b"HTTP/1.1 200 OK\r\nX")
    for buffer in (b"h", b"\r\n", b"HTTP/1.1 x\r\n", b"HTTP/1.1 200 " + b"x" * 100):
        with pytest.raises(ProtocolError):
            parser.check_start(buffer)


def test_limits():
    with pytest.raises(ProtocolError) as caught:
        parse("HTTP/1.1 200 OK", "X: " + "v" * 1000, max_headers_bytes=1000)
    assert caught.value.details == "http1.headers_too_large"
    with pytest.raises(ProtocolError) as caught:
        parse("HTTP/1.1 200 OK", *["X: v"] * 11, max_headers_count=10)
    assert caught.value.details == "http1.too_many_headers"


def test_framing():
    assert parse("HTTP/1.1 200 OK", "Content-Length: 5").content_length == 5
    assert parse("HTTP/1.1 200 OK", "Transfer-Encoding: chunked").chunked
    assert parse().content_length == -1


@pytest.mark.parametrize("status", [100, 103, 101, 204, 304])
def test_statuses_without_a_body(status):
    assert parse(f"HTTP/1.1 {status} X").bodyless


@pytest.mark.parametrize("status", [99, 200, 205, 404, 600])
def test_statuses_with_a_body(status):
    assert not parse(f"HTTP/1.1 {status} X").bodyless


@pytest.mark.parametrize("status", [99, 100, 199, 204])
def test_framing_where_no_body_can_be(status):
    assert "content-length" not in parse(f"HTTP/1.1 {status} X", "Content-Length: 0").head.headers
    for line in ("Content-Length: 5", "Content-Length: 00", "Transfer-Encoding: chunked"):
        with pytest.raises(ProtocolError):
            parse(f"HTTP/1.1 {status} X", line)


def test_not_modified_tells_the_length_of_what_was_not_sent():
    assert parse("HTTP/1.1 304 X", "Content-Length: 5").head.headers["content-length"] == "5"


def test_keep_alive():
    assert parse().keep_alive
    assert not parse("HTTP/1.1 200 OK", "Connection: Close").keep_alive
    assert not parse("HTTP/1.1 200 OK", "Proxy-Connection: close").keep_alive
    assert not parse("HTTP/1.0 200 OK").keep_alive
    assert parse("HTTP/1.0 200 OK", "Connection: keep-alive").keep_alive


def test_upgrades():
    assert parse("HTTP/1.1 101 X", "Connection: Upgrade", "Upgrade: WebSocket").upgrade == "websocket"
    assert parse("HTTP/1.1 200 X", "Upgrade: h2").upgrade == ""
