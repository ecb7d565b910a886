"""The decompressor filter takes off the outermost coding and asks upstreams for it."""

from __future__ import annotations

import gzip
from types import SimpleNamespace
from typing import Any

import pytest
from envoy.extensions.compression.gzip.decompressor.v3 import gzip_pb2
from envoy.extensions.filters.http.decompressor.v3 import decompressor_pb2
from google.protobuf import json_format

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.stats import StatRegistry
from proxy.config.context import CompileContext
from proxy.filters.api import HttpFilter
from proxy.filters.http import decompressor

assert gzip_pb2
LIBRARY = {
    "name": "Lib",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.compression.gzip.decompressor.v3.Gzip"},
}


def _filter(**fields: Any) -> tuple[HttpFilter, StatRegistry]:
    message = json_format.ParseDict(
        {"decompressor_library": LIBRARY, **fields}, decompressor_pb2.Decompressor()
    )
    context = CompileContext()
    config = decompressor.FACTORY.compile(message, "d", context)
    assert not context.problems
    registry = StatRegistry()
    services: Any = SimpleNamespace(stats=registry)
    callbacks: Any = SimpleNamespace()
    assert decompressor.FACTORY.create is not None
    return decompressor.FACTORY.create(config, services, "http.x.")(callbacks), registry


def test_a_response_leaves_plain_and_tells_its_sizes_in_trailers() -> None:
    one, registry = _filter()
    head = ResponseHead(200, HeaderMap([("content-encoding", "GZIP, br"), ("content-length", "9")]))
    one.encode_headers(head, False)
    assert dict(head.headers) == {"content-encoding": "br"}
    packed = gzip.compress(b"hello" * 10)
    plain = one.encode_data(packed[:9], False)[1] + one.encode_data(packed[9:], False)[1]
    assert plain == b"hello" * 10
    trailers = HeaderMap()
    one.encode_trailers(trailers)
    assert dict(trailers) == {
        "x-envoy-decompressor-lib-compressed-bytes": str(len(packed)),
        "x-envoy-decompressor-lib-uncompressed-bytes": "50",
    }
    counted = {
        name: value for group in registry.groups() for name, value in group.counters().items() if value
    }
    assert counted == {
        "http.x.decompressor.Lib.gzip.response.decompressed": 1,
        "http.x.decompressor.Lib.gzip.response.total_compressed_bytes": len(packed),
        "http.x.decompressor.Lib.gzip.response.total_uncompressed_bytes": 50,
    }


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("content-encoding", "br, gzip")],
        [("content-encoding", "gzip"), ("cache-control", "a, no-transform")],
    ],
)
def test_what_is_not_for_us_stays(fields: list[tuple[str, str]]) -> None:
    one, _ = _filter()
    head = RequestHead("POST", "/", "host", HeaderMap(fields))
    one.decode_headers(head, False)
    assert head.headers == {**dict(fields), "accept-encoding": "gzip"}
    assert one.decode_data(b"x", True)[1] == b"x"


def test_no_transform_may_be_ignored() -> None:
    one, _ = _filter(
        request_direction_config={
            "common_config": {"ignore_no_transform_header": True},
            "advertise_accept_encoding": False,
        }
    )
    head = RequestHead(
        "POST", "/", "host", HeaderMap([("content-encoding", "gzip"), ("cache-control", "no-transform")])
    )
    one.decode_headers(head, False)
    assert dict(head.headers) == {"cache-control": "no-transform"}


@pytest.mark.parametrize(
    ("wish", "advertised"),
    [("", "gzip"), ("br", "br,gzip"), ("gzip;q=0.1, br", "br,gzip"), (" a ,, b;q=1", "a,b;q=1,gzip")],
)
def test_the_own_coding_is_wanted_most(wish: str, advertised: str) -> None:
    assert decompressor.add_encoding(wish, "gzip") == advertised
