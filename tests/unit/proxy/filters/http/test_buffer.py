"""The buffer filter holds a request until it is whole, up to its limit."""

from __future__ import annotations

from typing import Any

from envoy.extensions.filters.http.buffer.v3 import buffer_pb2
from google.protobuf import json_format

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.config.context import CompileContext
from proxy.filters.api import FilterStatus
from proxy.filters.http import buffer


class _Callbacks:
    def __init__(self, override: buffer.BufferConfig | None = None) -> None:
        self.override = override
        self.replies: list[tuple[int, str, str]] = []

    def route_config(self, name: str) -> buffer.BufferConfig | None:
        del name
        return self.override

    def local_reply(self, status: int, body: str, details: str) -> None:
        self.replies.append((status, body, details))


def _head() -> RequestHead:
    return RequestHead("POST", "/", "host", HeaderMap([("transfer-encoding", "chunked")]))


def _filter(
    limit: int, override: buffer.BufferConfig | None = None
) -> tuple[buffer.BufferFilter, _Callbacks]:
    callbacks: Any = _Callbacks(override)
    return buffer.BufferFilter(callbacks, buffer.BufferConfig(limit)), callbacks


def test_a_chunked_request_leaves_whole_and_with_its_length() -> None:
    one, _ = _filter(10)
    head = _head()
    assert one.decode_headers(head, False) is FilterStatus.STOP
    assert one.decode_data(b"abc", False) == (FilterStatus.STOP, b"")
    assert one.decode_data(b"de", True) == (FilterStatus.CONTINUE, b"abcde")
    assert dict(head.headers) == {"content-length": "5"}


def test_trailers_do_not_cost_the_body() -> None:
    one, _ = _filter(10)
    head = _head()
    one.decode_headers(head, False)
    one.decode_data(b"abc", False)
    assert one.decode_trailers(HeaderMap()) is FilterStatus.CONTINUE
    assert one.take_held() == b"abc"
    assert one.take_held() == b""
    assert dict(head.headers) == {"content-length": "3"}


def test_a_request_over_the_limit_is_refused() -> None:
    one, callbacks = _filter(3)
    one.decode_headers(_head(), False)
    assert one.decode_data(b"abcd", False) == (FilterStatus.STOP, b"")
    assert callbacks.replies == [(413, "Payload Too Large", "request_payload_too_large")]


def test_a_request_without_a_body_passes() -> None:
    one, _ = _filter(3)
    assert one.decode_headers(_head(), True) is FilterStatus.CONTINUE


def test_a_route_may_switch_it_off() -> None:
    message = json_format.ParseDict({"disabled": True}, buffer_pb2.BufferPerRoute())
    assert buffer.FACTORY.compile_route is not None
    off = buffer.FACTORY.compile_route(message, "buffer", CompileContext())
    one, _ = _filter(3, off)
    assert one.decode_headers(_head(), False) is FilterStatus.CONTINUE
    assert one.decode_data(b"abcd", False) == (FilterStatus.CONTINUE, b"abcd")
