"""Heads back to bytes."""

import pytest

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.codec.http1_body import ChunkedDecoder
from proxy.codec.http1_render import (
    LAST_CHUNK,
    reason_phrase,
    render_chunk,
    render_request_head,
    render_response_head,
    render_trailers,
)


def test_a_request_head_begins_with_its_host():
    head = RequestHead("GET", "/a", "b", HeaderMap([("x", "1"), ("y", "2"), ("x", "3")]))
    assert render_request_head(head) == b"GET /a HTTP/1.1\r\nhost: b\r\nx: 1\r\nx: 3\r\ny: 2\r\n\r\n"
    assert render_request_head(head, str.upper).startswith(b"GET /a HTTP/1.1\r\nHOST: b\r\nX: 1\r\n")


def test_connect_goes_to_its_authority():
    assert render_request_head(RequestHead("CONNECT", "", "b:1", HeaderMap())).startswith(
        b"CONNECT b:1 HTTP/1.1\r\n"
    )


def test_a_response_head():
    head = ResponseHead(404, HeaderMap([("x", "\xff")]))
    assert render_response_head(head) == b"HTTP/1.1 404 Not Found\r\nx: \xff\r\n\r\n"
    assert render_response_head(head, None, "HTTP/1.0").startswith(b"HTTP/1.0 404")


@pytest.mark.parametrize(
    ("status", "phrase"), [(200, "OK"), (413, "Payload Too Large"), (103, "Unknown"), (799, "Unknown")]
)
def test_reason_phrases_are_those_of_envoy(status, phrase):
    assert reason_phrase(status) == phrase


def test_chunks_and_trailers_can_be_read_back():
    decoder = ChunkedDecoder(True)
    wire = render_chunk(b"hello") + render_chunk(b"x" * 300)
    trailers = HeaderMap([("a", "1"), ("a", "2")])
    assert decoder.feed(wire + render_trailers(trailers)) == (b"hello" + b"x" * 300, b"")
    assert decoder.trailers == trailers
    assert ChunkedDecoder().feed(LAST_CHUNK) == (b"", b"")
