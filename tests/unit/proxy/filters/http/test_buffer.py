"""The buffer filter holds a request until it is whole, up to its limit."""

from __future__ import annotations

from envoy.extensions.filters.http.buffer.v3 import buffer_pb2
from google.protobuf import json_format

from proxy.base.headers import HeaderMap
from proxy.config.context import CompileContext
from proxy.filters.http import buffer
from tests.support.filters import FilteredStream


def _stream(limit: int, override: buffer.BufferConfig | None = None) -> FilteredStream:
    return FilteredStream(
        lambda callbacks: buffer.BufferFilter(callbacks, buffer.BufferConfig(limit)),
        overrides={} if override is None else {"filter0": override},
    )


def test_a_chunked_request_leaves_whole_and_with_its_length() -> None:
    stream = _stream(10)
    stream.begin(transfer_encoding="chunked")
    stream.filters.decode_data(b"abc", False)
    assert not stream.request
    stream.filters.decode_data(b"de", True)
    assert [entry[0] for entry in stream.request] == ["head", "data", "end"]
    assert stream.request_body == b"abcde"
    assert dict(stream.request[0][1].headers) == {"content-length": "5"}


def test_trailers_do_not_cost_the_body() -> None:
    stream = _stream(10)
    stream.begin(transfer_encoding="chunked")
    stream.filters.decode_data(b"abc", False)
    stream.filters.decode_trailers(HeaderMap([("x-t", "1")]))
    assert [entry[0] for entry in stream.request] == ["head", "data", "trailers"]
    assert dict(stream.request[0][1].headers) == {"content-length": "3"}


def test_a_request_over_the_limit_is_refused() -> None:
    stream = _stream(3)
    stream.begin()
    stream.filters.decode_data(b"abcd", False)
    assert stream.replies == ["request_payload_too_large"]
    assert stream.response_head.status == 413
    assert not stream.request


def test_a_request_without_a_body_passes() -> None:
    stream = _stream(3)
    stream.begin(end_stream=True)
    assert [entry[0] for entry in stream.request] == ["head", "end"]


def test_a_route_may_switch_it_off() -> None:
    message = json_format.ParseDict({"disabled": True}, buffer_pb2.BufferPerRoute())
    assert buffer.FACTORY.compile_route is not None
    stream = _stream(3, buffer.FACTORY.compile_route(message, "buffer", CompileContext()))
    stream.begin()
    stream.filters.decode_data(b"abcd", False)
    assert stream.request_body == b"abcd"
