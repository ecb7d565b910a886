"""The compressor filter decides by the response and the request, and says what it did."""

from __future__ import annotations

import gzip
from types import SimpleNamespace
from typing import Any

from envoy.extensions.compression.gzip.compressor.v3 import gzip_pb2
from envoy.extensions.filters.http.compressor.v3 import compressor_pb2
from google.protobuf import json_format

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.runtime import Runtime
from proxy.base.stats import StatRegistry
from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.filters.http import compressor
from tests.support.streams import stream

assert gzip_pb2
LIBRARY = {
    "name": "lib",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip"},
}


class _Callbacks:
    def __init__(self, info: StreamInfo, route: Any = None) -> None:
        self.info = info
        self.route = route

    def route_config(self, name: str) -> Any:
        del name
        return self.route


class _Chain:
    """One filter with its own counters."""

    def __init__(self, runtime: Runtime | None = None, route: Any = None, **fields: Any) -> None:
        message = json_format.ParseDict(
            {"compressor_library": LIBRARY, **fields}, compressor_pb2.Compressor()
        )
        context = CompileContext(runtime=runtime)
        config = compressor.FACTORY.compile(message, "c", context)
        assert not context.problems
        self.registry = StatRegistry()
        services: Any = SimpleNamespace(stats=self.registry)
        assert compressor.FACTORY.create is not None
        make = compressor.FACTORY.create(config, services, "http.x.")
        callbacks: Any = _Callbacks(stream(), route)
        self.filter = make(callbacks)

    def request(self, *fields: tuple[str, str], end_stream: bool = True) -> RequestHead:
        head = RequestHead("POST", "/", "host", HeaderMap(fields))
        self.filter.decode_headers(head, end_stream)
        return head

    def response(self, *fields: tuple[str, str], status: int = 200) -> ResponseHead:
        head = ResponseHead(status, HeaderMap(fields))
        self.filter.encode_headers(head, False)
        return head

    def counted(self) -> dict[str, int]:
        return {
            name.removeprefix("http.x.compressor.lib.gzip."): value
            for group in self.registry.groups()
            for name, value in group.counters().items()
            if value
        }


def test_a_response_is_compressed_for_who_wants_it() -> None:
    chain = _Chain(response_direction_config={})
    chain.request(("accept-encoding", "gzip"))
    head = chain.response(("content-length", "100"), ("content-type", "text/plain"), ("etag", '"a"'))
    assert dict(head.headers) == {
        "content-type": "text/plain",
        "content-encoding": "gzip",
        "vary": "Accept-Encoding",
    }
    _, first = chain.filter.encode_data(b"x" * 60, False)
    _, nothing = chain.filter.encode_data(b"", False)
    _, last = chain.filter.encode_data(b"y" * 40, True)
    assert nothing == b""
    assert gzip.decompress(first + last) == b"x" * 60 + b"y" * 40
    assert chain.counted() == {
        "request.not_compressed": 1,
        "header_compressor_used": 1,
        "response.compressed": 1,
        "response.total_uncompressed_bytes": 100,
        "response.total_compressed_bytes": len(first + last),
    }


def test_without_a_wish_it_stays_plain_and_caches_are_told() -> None:
    chain = _Chain()
    chain.request()
    head = chain.response(("content-length", "100"), ("vary", "Origin"))
    assert dict(head.headers) == {"content-length": "100", "vary": "Origin, Accept-Encoding"}
    assert chain.filter.encode_data(b"x", True)[1] == b"x"
    assert chain.counted() == {"request.not_compressed": 1, "no_accept_header": 1, "not_compressed": 1}


def test_the_status_header_tells_why_not() -> None:
    settings = {
        "status_header_enabled": True,
        "disable_on_etag_header": True,
        "uncompressible_response_codes": [206],
    }
    reasons = {
        "gzip;ContentLengthTooSmall": (200, ("content-length", "1")),
        "gzip;ContentTypeNotAllowed": (200, ("content-type", "image/png")),
        "gzip;EtagNotAllowed": (200, ("etag", "W/x")),
        "gzip;StatusCodeNotAllowed": (206, ("x", "y")),
        "gzip;Compressed;OriginalLength=30": (200, ("content-length", "30")),
    }
    for reason, (status, field) in reasons.items():
        chain = _Chain(response_direction_config=settings)
        chain.request(("accept-encoding", "gzip"))
        head = chain.response(field, status=status)
        assert head.headers["x-envoy-compression-status"] == reason


def test_requests_are_compressed_only_if_asked_for() -> None:
    field = ("content-length", "100")
    assert dict(_Chain().request(field, end_stream=False).headers) == {"content-length": "100"}
    chain = _Chain(request_direction_config={})
    assert dict(chain.request(field, end_stream=False).headers) == {"content-encoding": "gzip"}
    _, packed = chain.filter.decode_data(b"x" * 100, True)
    assert gzip.decompress(packed) == b"x" * 100


def test_the_runtime_switches_it() -> None:
    flag = {"enabled": {"default_value": True, "runtime_key": "key"}}
    for value, expected in ((None, True), ("false", False), ("true", True)):
        runtime = Runtime({} if value is None else {"key": value})
        chain = _Chain(runtime, response_direction_config={"common_config": flag})
        chain.request(("accept-encoding", "gzip"))
        assert ("content-encoding" in chain.response().headers) is expected


def test_a_route_may_switch_it_off_or_on() -> None:
    assert compressor.FACTORY.compile_route is not None

    def route(**fields: Any) -> Any:
        message = json_format.ParseDict(fields, compressor_pb2.CompressorPerRoute())
        assert compressor.FACTORY.compile_route is not None
        return compressor.FACTORY.compile_route(message, "c", CompileContext())

    chain = _Chain(route=route(disabled=True), remove_accept_encoding_header=True)
    assert "accept-encoding" in chain.request(("accept-encoding", "gzip")).headers
    assert "content-encoding" not in chain.response().headers
    off = {"common_config": {"enabled": {"default_value": False}}}
    on = route(overrides={"response_direction_config": {"remove_accept_encoding_header": True}})
    chain = _Chain(route=on, response_direction_config=off)
    assert "accept-encoding" not in chain.request(("accept-encoding", "gzip")).headers
    assert "content-encoding" in chain.response().headers


def test_the_streams_filters_are_let_go() -> None:
    chain = _Chain()
    info = chain.filter.callbacks.info
    assert info.compressors.filters == [chain.filter]
    chain.filter.on_destroy()
    assert info.compressors.filters == []
