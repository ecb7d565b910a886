"""Response heads of HTTP/2."""

import pytest

from proxy.codec.http2_frames import ErrorCode, Http2MessageError
from proxy.codec.http2_response import Http2ResponseParser, answer_to_connect

INVALID = "http2.invalid.header.field"


def parse(status="200", *extra, **options):
    return Http2ResponseParser(**options).parse([(":status", status), *extra], 20)


def refusal(*arguments, **options):
    with pytest.raises(Http2MessageError) as caught:
        parse(*arguments, **options)
    return caught.value


def test_a_response():
    response = parse("404", ("content-length", "12"), ("set-cookie", "a"), ("set-cookie", "b"), ("host", "x"))
    assert response.head.status == 404
    assert response.content_length == 12
    assert response.header_bytes == response.wire_bytes == 29
    assert response.head.headers.values_of("set-cookie") == ["a", "b"]
    assert not response.informational
    assert not response.bodyless


@pytest.mark.parametrize(
    ("status", "informational", "bodyless"),
    [
        ("100", True, True),
        ("103", True, True),
        ("204", False, True),
        ("304", False, True),
        ("999", False, False),
    ],
)
def test_statuses(status, informational, bodyless):
    response = parse(status)
    assert (response.informational, response.bodyless) == (informational, bodyless)


@pytest.mark.parametrize("status", ["", "20", "2000", "abc", "+20", "101", "099", "\xb2\xb2\xb2"])
def test_bad_statuses(status):
    assert refusal(status).details == INVALID


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(":status", "200"), (":status", "200")],
        [("a", "b"), (":status", "200")],
        [(":status", "200"), (":path", "/")],
    ],
)
def test_the_status_is_the_only_pseudo_field_and_comes_first(fields):
    with pytest.raises(Http2MessageError):
        Http2ResponseParser().parse(fields, 20)


@pytest.mark.parametrize(
    "field",
    [
        ("Upper", "x"),
        ("", "x"),
        ("a", "\0"),
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("te", "gzip"),
        ("content-length", "x"),
    ],
)
def test_bad_fields(field):
    error = refusal("200", field)
    assert (error.details, error.code, error.stream_only) == (INVALID, ErrorCode.PROTOCOL_ERROR, False)


def test_content_length_where_there_is_no_body():
    assert "content-length" not in parse("204", ("content-length", "0")).head.headers
    assert refusal("204", ("content-length", "5")).details == INVALID
    assert refusal("103", ("content-length", "0")).details == INVALID
    assert refusal("200", ("content-length", "0"), ("content-length", "0")).details == INVALID


def test_limits():
    assert refusal("200", ("a", "b"), max_headers_count=1).details == "http2.too_many_headers"
    assert refusal("200", ("a", "b"), max_headers_bytes=10).details == "http2.header_list_size_too_large"


def test_trailers():
    trailers = Http2ResponseParser().parse_trailers([("grpc-status", "0")], 9)
    assert dict(trailers) == {"grpc-status": "0"}


def test_the_answer_to_an_extended_connect_is_that_to_an_upgrade():
    response = parse("200", ("content-length", "5"), ("x", "y"))
    answer = answer_to_connect(response, "WebSocket")
    assert answer.head.status == 101
    fields = [("x", "y"), ("upgrade", "WebSocket"), ("connection", "upgrade")]
    assert list(answer.head.headers.fields()) == fields
    assert (answer.upgrade, answer.content_length) == ("websocket", -1)
    assert (answer.wire_bytes, answer.header_bytes) == (response.wire_bytes, response.header_bytes)
    assert response.head.status == 200


@pytest.mark.parametrize(("status", "protocol"), [("201", "websocket"), ("200", "")])
def test_an_accepted_tunnel_has_no_length(status, protocol):
    answer = answer_to_connect(parse(status, ("content-length", "5")), protocol)
    assert (answer.head.status, list(answer.head.headers.fields())) == (int(status), [])


def test_a_refusal_stays_as_it_is():
    response = parse("403", ("content-length", "5"))
    assert answer_to_connect(response, "websocket") is response
