"""Request heads of HTTP/2."""

import pytest

from proxy.codec.http1_request import UnderscoresAction
from proxy.codec.http2_frames import ErrorCode, Http2MessageError
from proxy.codec.http2_request import Http2RequestParser

INVALID = "http2.invalid.header.field"
VIOLATION = "http2.violation.of.messaging.rule"
BASE = {":method": "GET", ":scheme": "http", ":path": "/a?b", ":authority": "ex.com"}
BLOCK_SIZE = 40


def fields(*extra, without=(), **changes):
    changed = {**BASE, **{f":{name}": value for name, value in changes.items()}}
    return [(name, value) for name, value in changed.items() if name not in without] + list(extra)


def parse(*extra, parser=None, without=(), size=BLOCK_SIZE, options=None, **changes):
    parser = parser or Http2RequestParser(**(options or {}))
    return parser.parse(fields(*extra, without=without, **changes), size)


def refusal(*extra, **arguments):
    with pytest.raises(Http2MessageError) as caught:
        parse(*extra, **arguments)
    return caught.value


def test_a_request():
    request = parse(("accept", "*/*"), ("x", "1"), ("x", "2"))
    head = request.head
    assert (head.method, head.scheme, head.authority, head.path) == ("GET", "http", "ex.com", "/a?b")
    assert head.protocol == "HTTP/2"
    assert list(head.headers.fields()) == [("accept", "*/*"), ("x", "1"), ("x", "2")]
    assert request.content_length == -1
    assert request.has_host
    assert not request.upgrade
    assert request.header_bytes == request.wire_bytes == BLOCK_SIZE + 9


@pytest.mark.parametrize(
    ("changes", "details"),
    [
        ({"method": ""}, INVALID),
        ({"method": "G T"}, INVALID),
        ({"scheme": ""}, INVALID),
        ({"scheme": "ht tp"}, INVALID),
        ({"path": ""}, INVALID),
        ({"path": "/a b"}, INVALID),
        ({"path": "/\x7f"}, INVALID),
        ({"path": "*"}, VIOLATION),
        ({"path": "a"}, VIOLATION),
        ({"path": "http://ex.com/"}, VIOLATION),
        ({"authority": ""}, INVALID),
        ({"authority": "a b"}, INVALID),
        ({"authority": "user@ex.com"}, INVALID),
        ({"authority": "a/b"}, INVALID),
        ({"authority": "\xe9"}, INVALID),
        ({"status": "200"}, INVALID),
        ({"other": "x"}, INVALID),
        ({"protocol": "websocket"}, INVALID),
    ],
)
def test_bad_pseudo_fields(changes, details):
    error = refusal(**changes)
    assert (error.details, error.code, error.stream_only) == (details, ErrorCode.PROTOCOL_ERROR, False)


@pytest.mark.parametrize("name", list(BASE))
def test_pseudo_fields_are_required_and_come_once(name):
    assert refusal(without=(name,)).details == VIOLATION
    assert refusal((name, BASE[name])).details == INVALID


def test_pseudo_fields_come_first():
    parser = Http2RequestParser()
    for _ in range(2):
        with pytest.raises(Http2MessageError):
            parser.parse([*fields(("a", "b"), without=(":path",)), (":path", "/a?b")], BLOCK_SIZE)
        # The same fields in order do not make the others good.
        parse(("a", "b"), parser=parser)


@pytest.mark.parametrize("path", ['/"<>', "/a\\b", "/^`{|}[]", "/\xe9", "/a#b"])
def test_odd_paths_are_for_the_connection_manager(path):
    assert parse(path=path).head.path == path


@pytest.mark.parametrize("method", ["get", "FOO", "TRACE", "A" * 200])
def test_any_token_is_a_method(method):
    assert parse(method=method).head.method == method


def test_a_star_is_for_options():
    assert parse(method="OPTIONS", path="*").head.path == "*"


@pytest.mark.parametrize("scheme", ["http", "https", "HTTPS", "ftp", "a+b-c.1"])
def test_schemes(scheme):
    assert parse(scheme=scheme).head.scheme == scheme


def test_a_scheme_of_another_kind_has_its_own_paths():
    assert parse(scheme="ftp", path="abc").head.path == "abc"


@pytest.mark.parametrize(
    ("extra", "without", "authority"),
    [
        ([("host", "h.com")], (":authority",), "h.com"),
        ([("host", "h.com")], (), "ex.com"),
    ],
)
def test_host_stands_in_for_authority(extra, without, authority):
    request = parse(*extra, without=without)
    assert request.head.authority == authority
    assert "host" not in request.head.headers


@pytest.mark.parametrize("hosts", [[""], ["a", "a"], ["a/b"], ["u@a"]])
def test_bad_hosts(hosts):
    extra = [("host", host) for host in hosts]
    assert refusal(*extra).details == refusal(*extra, without=(":authority",)).details == INVALID


@pytest.mark.parametrize(
    "field",
    [
        ("", "x"),
        ("Upper", "x"),
        ("a b", "x"),
        ("a:b", "x"),
        ("\xe9", "x"),
        ("a", "x\0"),
        ("a", "x\ry"),
        ("a", "x\ny"),
        ("a", "\x7f"),
        ("connection", "close"),
        ("keep-alive", "1"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("te", "trailers, gzip"),
        ("content-length", ""),
        ("content-length", "+5"),
        ("content-length", "5, 5"),
        ("content-length", " 5"),
        ("content-length", "\xb2"),
        ("content-length", "9223372036854775808"),
        ("content-length", "9" * 5000),
    ],
)
def test_bad_fields(field):
    error = refusal(field)
    assert (error.details, error.stream_only) == (INVALID, False)


@pytest.mark.parametrize("value", ["x\ty", " x ", "\xff", ""])
def test_odd_values_pass(value):
    assert parse(("a", value)).head.headers["a"] == value


def test_te_is_kept_as_it_is_spelled_in_the_standard_only():
    assert parse(("te", "trailers")).head.headers["te"] == "trailers"
    assert "te" not in parse(("te", "TRAILERS")).head.headers


def test_content_length():
    request = parse(("content-length", "005"))
    assert request.content_length == 5
    assert request.head.headers["content-length"] == "005"
    assert refusal(("content-length", "5"), ("content-length", "5")).details == INVALID


@pytest.mark.parametrize(
    ("crumbs", "cookie"),
    [(["a=1"], "a=1"), (["a=1", "b=2", "c"], "a=1; b=2; c"), (["", "b=2"], "b=2"), ([""], None)],
)
def test_cookie_crumbs_are_joined_behind_the_other_fields(crumbs, cookie):
    extra = [("cookie", crumb) for crumb in crumbs]
    headers = parse(*extra, ("z", "1")).head.headers
    assert headers.get("cookie") == cookie
    assert next(iter(headers)) == "z"


def test_expectation():
    assert parse(("expect", "100-Continue")).expect_continue
    assert not parse(("expect", "other")).expect_continue


def test_connect():
    request = parse(("content-length", "5"), method="CONNECT", without=(":path", ":scheme"))
    assert (request.head.method, request.head.path, request.head.authority) == ("CONNECT", "", "ex.com")
    assert request.content_length == -1
    for without in ((":path",), (":scheme",), (), (":path", ":scheme", ":authority")):
        assert refusal(method="CONNECT", without=without).details == VIOLATION


def test_extended_connect_becomes_an_upgrade():
    options = {"allow_connect": True}
    request = parse(method="CONNECT", protocol="WebSocket", options=options)
    assert (request.head.method, request.head.path, request.upgrade) == ("GET", "/a?b", "websocket")
    assert dict(request.head.headers) == {"upgrade": "WebSocket", "connection": "upgrade"}
    assert refusal(method="GET", protocol="websocket", options=options).details == VIOLATION
    assert refusal(method="CONNECT", protocol=" ", options=options).details == INVALID
    assert refusal(method="CONNECT", protocol="x", without=(":path",), options=options).details == VIOLATION


def test_underscores():
    field = ("a_b", "x")
    assert parse(field).head.headers["a_b"] == "x"
    dropped = parse(field, field, options={"underscores": UnderscoresAction.DROP_HEADER})
    assert "a_b" not in dropped.head.headers
    assert dropped.dropped_underscores == 2
    error = refusal(field, options={"underscores": UnderscoresAction.REJECT_REQUEST})
    assert error.details == "http2.unexpected_underscore"
    assert (error.code, error.stream_only) == (ErrorCode.INTERNAL_ERROR, True)


def test_the_limit_on_the_number_of_fields_counts_crumbs_and_pseudo_fields():
    options = {"max_headers_count": 6}
    parse(("a", "1"), ("cookie", "x"), options=options)
    error = refusal(("cookie", "x"), ("cookie", "y"), ("cookie", "z"), options=options)
    assert error.details == "http2.too_many_headers"
    assert (error.code, error.stream_only) == (ErrorCode.INTERNAL_ERROR, True)


def test_the_limit_on_the_size_counts_names_and_values():
    size = sum(len(name) + len(value) for name, value in BASE.items())
    options = {"max_headers_bytes": size + 10}
    parse(("a", "x" * 9), options=options)
    error = refusal(("a", "x" * 10), options=options)
    assert error.details == "http2.header_list_size_too_large"
    assert (error.code, error.stream_only) == (ErrorCode.INTERNAL_ERROR, True)


def test_the_limits_hold_for_known_fields_too():
    size = sum(len(name) + len(value) for name, value in BASE.items())
    parser = Http2RequestParser(max_headers_bytes=size + 10)
    for _ in range(2):
        parse(parser=parser)
    parse(parser=parser, path="/" + "x" * 13)
    assert refusal(parser=parser, path="/" + "x" * 14).details == "http2.header_list_size_too_large"


def test_equal_requests_are_one_object_from_the_second_on():
    parser = Http2RequestParser()
    assert parse(("a", "b"), parser=parser).fields is None
    first = parse(("a", "b"), parser=parser)
    assert parse(("a", "b"), parser=parser) is first
    assert parse(("a", "c"), parser=parser) is not first
    assert parse(("a", "b"), parser=parser, size=BLOCK_SIZE + 1) is not first


def test_requests_for_other_paths_share_the_fields():
    parser = Http2RequestParser()
    parse(("content-length", "7"), ("expect", "100-continue"), parser=parser)
    first = parse(("content-length", "7"), ("expect", "100-continue"), parser=parser)
    second = parse(("content-length", "7"), ("expect", "100-continue"), parser=parser, path="/other")
    assert second.head.path == "/other"
    assert second.fields is first.fields
    assert second.head.headers is first.head.headers
    assert (second.head.method, second.head.authority, second.head.scheme) == ("GET", "ex.com", "http")
    assert second.head.protocol == "HTTP/2"
    assert (second.content_length, second.expect_continue) == (7, True)
    assert (
        refusal(("content-length", "7"), ("expect", "100-continue"), parser=parser, path="bad").details
        == VIOLATION
    )


def with_id(parser, request_id, path="/", **changes):
    return parse(("a", "b"), ("x-request-id", request_id), ("c", "d"), parser=parser, path=path, **changes)


def test_requests_of_other_ids_share_the_other_fields():
    parser = Http2RequestParser(ids_apart=True)
    first = with_id(parser, "1")
    assert (first.given_id, first.head.headers["x-request-id"]) == ("", "1")
    second, third = with_id(parser, "2"), with_id(parser, "3", "/other")
    assert (second.given_id, third.given_id, third.head.path) == ("2", "3", "/other")
    assert second.head.headers is third.head.headers
    assert dict(third.head.headers) == {"a": "b", "c": "d"}
    assert with_id(parser, "2").given_id == "2"
    # One without an id has fields of its own.
    assert parse(("a", "b"), ("c", "d"), parser=parser).fields is None
    assert (
        refusal(("a", "b"), ("x-request-id", "4"), ("c", "d"), parser=parser, path="bad").details == VIOLATION
    )


@pytest.mark.parametrize("request_id", ["", "x" * 127, "\xe9", "a\tb"])
def test_odd_ids_stay_among_the_fields(request_id):
    parser = Http2RequestParser(ids_apart=True)
    for _ in range(4):
        request = with_id(parser, request_id)
        assert (request.given_id, request.head.headers["x-request-id"]) == ("", request_id)


def test_two_ids_stay_among_the_fields():
    parser = Http2RequestParser(ids_apart=True)
    for number in range(4):
        request = parse(("x-request-id", str(number)), ("x-request-id", "x"), parser=parser)
        assert (request.given_id, request.head.headers["x-request-id"]) == ("", f"{number},x")


def test_what_is_kept_is_bounded():
    parser = Http2RequestParser()
    for number in range(3000):
        for _ in range(2):
            parse(("a", str(number)), parser=parser, path=f"/{number}")
        parse(parser=parser, path=f"/{number}")
    kept = [len(known.requests) for known in parser._known.values()]
    assert len(kept) <= 512
    assert len(parser._seen) <= 1024
    assert len(parser._seen_paths) <= 1024
    assert sum(kept) <= 1024


def test_a_large_block_is_not_kept():
    parser = Http2RequestParser()
    for _ in range(2):
        parse(parser=parser)
    for _ in range(3):
        parse(parser=parser, path="/" + "x" * 4000, size=4000)
    assert not parser._seen_paths
    parse(parser=parser, size=4000)
    assert parse(parser=parser, size=4000) is not parse(parser=parser, size=4000)


def test_trailers():
    parser = Http2RequestParser()
    trailers, dropped = parser.parse_trailers(
        [("a", "1"), ("content-length", "3"), ("host", "x"), ("a", "2")], 9
    )
    assert list(trailers.fields()) == [("a", "1"), ("a", "2"), ("content-length", "3"), ("host", "x")]
    assert dropped == 0


@pytest.mark.parametrize("field", [(":path", "/"), ("A", "x"), ("connection", "x"), ("te", "x"), ("a", "\0")])
def test_bad_trailers(field):
    with pytest.raises(Http2MessageError) as caught:
        Http2RequestParser().parse_trailers([field], 9)
    assert caught.value.details == INVALID


def test_two_lengths_in_trailers():
    with pytest.raises(Http2MessageError) as caught:
        Http2RequestParser().parse_trailers([("content-length", "3"), ("content-length", "3")], 9)
    assert caught.value.details == INVALID


def test_underscores_in_trailers():
    fields = [("a_b", "1"), ("c", "2")]
    drops = Http2RequestParser(underscores=UnderscoresAction.DROP_HEADER)
    trailers, dropped = drops.parse_trailers(fields, 9)
    assert (dict(trailers), dropped) == ({"c": "2"}, 1)
    rejects = Http2RequestParser(underscores=UnderscoresAction.REJECT_REQUEST)
    with pytest.raises(Http2MessageError) as caught:
        rejects.parse_trailers(fields, 9)
    assert caught.value.stream_only
