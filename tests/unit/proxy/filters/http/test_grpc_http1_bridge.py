"""HTTP/1.1 clients call gRPC servers."""

from __future__ import annotations

import pytest

from proxy.base.headers import HeaderMap
from proxy.codec.grpc import prefix
from proxy.filters.http.grpc_http1_bridge import BridgeConfig, GrpcHttp1BridgeFilter
from tests.support.filters import FilteredStream

MESSAGE = prefix(3) + b"abc"


def _stream(upgrade: bool = False, protocol: str = "HTTP/1.1") -> FilteredStream:
    return FilteredStream(
        lambda callbacks: GrpcHttp1BridgeFilter(callbacks, BridgeConfig(upgrade, ignore_query=upgrade)),
        protocol=protocol,
    )


@pytest.mark.parametrize(("status", "http"), [("0", 200), ("7", 503), ("x", 503)])
def test_the_status_is_told_in_the_head(status: str, http: int) -> None:
    stream = _stream()
    stream.begin(content_type="application/grpc")
    stream.respond(content_type="application/grpc")
    stream.filters.encode_data(MESSAGE, False)
    assert not stream.response
    stream.filters.encode_trailers(HeaderMap([("grpc-status", status), ("grpc-message", "m")]))
    assert stream.response_head.status == http
    headers = stream.response_head.headers
    assert (headers["grpc-status"], headers["grpc-message"], headers["content-length"]) == (status, "m", "8")
    assert stream.response_body == MESSAGE


def test_a_bare_message_is_framed_and_the_answer_unframed() -> None:
    stream = _stream(upgrade=True)
    stream.begin(path="/a.B/C?q", content_type="application/x-protobuf", content_length="3")
    stream.filters.decode_data(b"ab", False)
    stream.filters.decode_data(b"c", False)
    stream.filters.decode_data(b"", True)
    head = stream.request[0][1]
    assert (head.path, dict(head.headers)) == ("/a.B/C", {"content-type": "application/grpc"})
    assert stream.request_body == MESSAGE
    assert stream.rerouted == 1
    stream.respond(content_type="application/grpc")
    stream.filters.encode_data(MESSAGE[:2], False)
    stream.filters.encode_data(MESSAGE[2:], False)
    stream.filters.encode_trailers(HeaderMap([("grpc-status", "0")]))
    assert stream.response_body == b"abc"
    assert stream.response_head.headers["content-length"] == "3"


def test_a_bare_message_with_trailers_is_framed() -> None:
    stream = _stream(upgrade=True)
    stream.begin(content_type="application/x-protobuf")
    stream.filters.decode_data(b"abc", False)
    stream.filters.decode_trailers(HeaderMap())
    assert stream.request_body == MESSAGE


@pytest.mark.parametrize(
    ("protocol", "content_type"), [("HTTP/2", "application/grpc"), ("HTTP/1.1", "application/x-protobuf")]
)
def test_what_needs_no_bridge_passes(protocol: str, content_type: str) -> None:
    stream = _stream(protocol=protocol)
    stream.begin(content_type=content_type)
    stream.filters.decode_data(b"abc", True)
    stream.respond(content_type="application/grpc")
    assert [entry[0] for entry in stream.response] == ["head"]
    assert stream.request_body == b"abc"
