"""Request heads."""

import pytest

from proxy.base.errors import ProtocolError
from proxy.codec.http1_request import METHODS, RequestParser, UnderscoresAction


def parse(start="GET / HTTP/1.1", *lines, host="Host: a\r\n", **options):
    fields = "".join(line + "\r\n" for line in lines)
    return RequestParser(**options).parse(f"{start}\r\n{host}{fields}\r\n".encode("latin-1"))


def refused(start="GET / HTTP/1.1", *lines, **options):
    with pytest.raises(ProtocolError) as caught:
        parse(start, *lines, **options)
    return caught.value.status, caught.value.details


def test_a_plain_request():
    request = parse("GET /a?b=c HTTP/1.1", "Accept: */*", "X-A: 1", "x-a: 2")
    head = request.head
    assert (head.method, head.path, head.authority, head.protocol) == ("GET", "/a?b=c", "a", "HTTP/1.1")
    assert list(head.headers.fields()) == [("accept", "*/*"), ("x-a", "1"), ("x-a", "2")]
    assert request.has_host
    assert not request.has_body
    assert not request.close


@pytest.mark.parametrize("method", sorted(METHODS - {"CONNECT"}))
def test_known_methods(method):
    assert parse(f"{method} / HTTP/1.1").head.method == method


@pytest.mark.parametrize(
    "start",
    [
        "FOO / HTTP/1.1",
        "get / HTTP/1.1",
        "GET",
        "GET ",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 x",
        "GET / x HTTP/1.1",
        "GET / HTTP/1",
        "GET / http/1.1",
        "GET / HTTP/1.10",
        "GET a HTTP/1.1",
        "GET ? HTTP/1.1",
        "GET /\xfc HTTP/1.1",
        "GET\xa0/ HTTP/1.1",
        "GET /\x85HTTP/1.1",
        "GET http:/a HTTP/1.1",
        "GET http://a@@b/ HTTP/1.1",
        "GET http://a\\b/ HTTP/1.1",
    ],
)
def test_start_lines_that_no_reader_should_accept(start):
    assert refused(start) == (400, "http1.codec_error")


@pytest.mark.parametrize(
    "start", ["GET  / HTTP/1.1", "GET\t/\tHTTP/1.1", "GET / HTTP/1.1  ", "GET /\tHTTP/1.1\t"]
)
def test_blanks_separate_as_in_envoy(start):
    head = parse(start).head
    assert (head.path, head.protocol) == ("/", "HTTP/1.1")


@pytest.mark.parametrize(
    ("field", "left"),
    [
        ("TLS/1.2", None),
        ("TLS/1.2, foo", None),
        ("TLS/1.2 ,websocket", "websocket"),
        ("foo, WebSocket, bar", "WebSocket, bar"),
        ("WebSocket , bar", "WebSocket , bar"),
        ("Foo", "Foo"),
        ("h2c, foo", "h2c"),
        ("", None),
        ("foo,", None),
        ("h2c", None),
    ],
)
def test_upgrades_that_are_ignored_were_never_asked_for(field, left):
    ignored = (lambda text: text.startswith("TLS/"), lambda text: text == "foo")
    fields = ("Connection: Upgrade, X-Hop", f"Upgrade: {field}", "X-Hop: 1")
    request = parse("GET / HTTP/1.1", *fields, ignored_upgrades=ignored)
    assert request.upgrade == (left or "").lower()
    assert request.head.headers.get("upgrade") == left
    assert ("x-hop" in request.head.headers) is (left is not None)


def test_versions():
    for version in ("HTTP/1.0", "HTTP/0.9", "HTTP/1.2", "HTTP/2.0"):
        assert parse(f"GET / {version}").head.protocol == "HTTP/1.0"
        assert refused(f"GET / {version}", accept_http_10=False) == (426, "low_version")


def test_a_start_line_without_a_version_is_a_whole_head():
    parser = RequestParser()
    block = b"GET /\r\nHost: a\r\n\r\n"
    request = parser.parse(block)
    assert request.wire_bytes == 7
    assert not request.has_host
    assert parser.check_start(b"GET /\r\nHost") == 7


def test_a_start_line_that_cannot_become_valid_is_refused_before_its_head_is_complete():
    parser = RequestParser()
    assert parser.check_start(b"GET / HTTP/1.1\r\nHo") == -1
    assert parser.check_start(b"FOO / HTTP") == -1
    for buffer in (b"FOO / HTTP/1.1\r\n", b" GET", b"\x00", b"x\n"):
        with pytest.raises(ProtocolError):
            parser.check_start(buffer)


def test_the_size_of_a_head_is_limited():
    parser = RequestParser(max_headers_bytes=1000)
    block = b"GET / HTTP/1.1\r\nHost: a\r\nX: %s\r\n\r\n"
    parser.parse(block % (b"v" * (1000 - len(block) + 2)))
    for data in (block % (b"v" * 1000), block % (b"v" * (1001 - len(block) + 2))):
        with pytest.raises(ProtocolError) as caught:
            parser.parse(data)
        assert (caught.value.status, caught.value.details) == (431, "http1.headers_too_large")
    with pytest.raises(ProtocolError) as caught:
        parser.check_start(b"GET /" + b"a" * 995)
    assert caught.value.status == 431


@pytest.mark.parametrize(
    ("target", "scheme", "authority", "path"),
    [
        ("http://b", "http", "b", "/"),
        ("HTTP://B:80/c?d", "http", "B:80", "/c?d"),
        ("https://u:p@b/", "https", "b", "/"),
        ("http://[::1]:80/", "http", "[::1]:80", "/"),
        ("http://b?c", "http", "b", "?c"),
    ],
)
def test_absolute_targets_replace_the_host(target, scheme, authority, path):
    head = parse(f"GET {target} HTTP/1.1").head
    assert (head.scheme, head.authority, head.path) == (scheme, authority, path)


@pytest.mark.parametrize(
    ("target", "details"),
    [
        ("http:///", "http1.invalid_url"),
        ("http://b:x/", "http1.invalid_url"),
        ("http://b:65536/", "http1.invalid_url"),
        ("http://a_b/", "http1.invalid_url"),
        ("http://a%20b/", "http1.invalid_url"),
        ("http://[x]/", "http1.invalid_url"),
        ("*", "http1.invalid_url"),
        ("ftp://b/", "http1.invalid_scheme"),
        ("h2://b/", "http1.invalid_scheme"),
    ],
)
def test_absurd_targets_are_refused(target, details):
    assert refused(f"GET {target} HTTP/1.1") == (400, details)


def test_absolute_targets_can_be_off():
    assert parse("GET http://b/ HTTP/1.1", allow_absolute_url=False).head.path == "http://b/"


def test_options_star():
    assert parse("OPTIONS * HTTP/1.1").head.path == "*"


def test_connect():
    head = parse("CONNECT b:443 HTTP/1.1").head
    assert (head.authority, head.path) == ("b:443", "")
    assert parse("CONNECT b:443 HTTP/1.1", "Content-Length: 0").content_length == -1
    assert refused("CONNECT b HTTP/1.1") == (400, "http1.invalid_url")
    assert refused("CONNECT u@b:1 HTTP/1.1") == (400, "http1.invalid_url")
    assert refused("CONNECT / HTTP/1.1") == (400, "http1.invalid_url")
    assert refused("CONNECT b:1 HTTP/1.1", "Content-Length: 5") == (400, "http1.body_disallowed")
    assert refused("CONNECT b:1 HTTP/1.1", "Transfer-Encoding: chunked") == (
        501,
        "http1.invalid_transfer_encoding",
    )


@pytest.mark.parametrize("host", ["a b", "a/b", "a\\b", "a,\tb", "<a>", "ü", "a#"])
def test_hosts_that_are_none(host):
    assert refused(host=f"Host: {host}\r\n") == (400, "http.invalid_authority")


def test_several_hosts_are_joined_without_the_empty_ones():
    assert parse(host="Host: a\r\nHost:\r\n").head.authority == "a"
    assert parse(host="Host: a\r\nHost: b\r\n").head.authority == "a,b"
    assert not parse(host="").has_host


def test_keep_alive():
    assert not parse().close
    assert parse("GET / HTTP/1.1", "Connection: x, Close").close
    assert parse("GET / HTTP/1.1", "Proxy-Connection: close").close
    assert parse("GET / HTTP/1.0").close
    assert not parse("GET / HTTP/1.0", "Connection: Keep-Alive").close


def test_nominated_fields_are_dropped():
    request = parse("GET / HTTP/1.1", "Connection: x-foo, close, te", "X-Foo: 1", "X-Bar: 2", "TE: trailers")
    assert set(request.head.headers) == {"connection", "x-bar", "te"}


@pytest.mark.parametrize(
    "value", ["x-forwarded-for", "X-Forwarded-Host", "x-forwarded-proto", ":path", ",".join("abcdefghij")]
)
def test_what_a_connection_field_may_not_nominate(value):
    assert refused("GET / HTTP/1.1", f"Connection: {value}") == (400, "http1.connection_header_rejected")


def test_a_nominated_te_field_has_a_limit():
    assert (
        refused("GET / HTTP/1.1", "Connection: te", "TE: " + "a" * 256)[1]
        == "http1.connection_header_rejected"
    )


def test_upgrades():
    assert parse("GET / HTTP/1.1", "Connection: Upgrade", "Upgrade: WebSocket").upgrade == "websocket"
    assert parse("GET / HTTP/1.1", "Upgrade: websocket").upgrade == ""
    assert parse("GET / HTTP/1.1", "Connection: upgrade", "Upgrade:").upgrade
    h2c = parse("GET / HTTP/1.1", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: x")
    assert h2c.upgrade == ""
    assert set(h2c.head.headers) == {"connection"}


def test_expect():
    assert parse("POST / HTTP/1.1", "Expect: 100-Continue").expect_continue
    assert not parse("POST / HTTP/1.1", "Expect: x").expect_continue


def test_underscores():
    line = "X_Y: 1"
    assert "x_y" in parse("GET / HTTP/1.1", line).head.headers
    dropped = parse("GET / HTTP/1.1", line, line, underscores=UnderscoresAction.DROP_HEADER)
    assert "x_y" not in dropped.head.headers
    assert dropped.dropped_underscores == 2
    assert refused("GET / HTTP/1.1", line, underscores=UnderscoresAction.REJECT_REQUEST) == (
        400,
        "http1.unexpected_underscore",
    )


def test_spelling_is_kept_on_demand():
    assert parse("GET / HTTP/1.1", "X-FOO: 1").original_names is None
    assert parse("GET / HTTP/1.1", "X-FOO: 1", keep_original_names=True).original_names == {
        "host": "Host",
        "x-foo": "X-FOO",
    }


def test_a_long_run_of_blanks_takes_linear_time():
    RequestParser(max_headers_bytes=1 << 20).parse(b"GET /" + b" " * 500_000 + b"HTTP/1.1\r\nHost: a\r\n\r\n")
    with pytest.raises(ProtocolError):
        RequestParser(max_headers_bytes=1 << 20).parse(b"GET" + b" " * 500_000 + b"x\r\nHost: a\r\n\r\n")
