"""Browsers talk to gRPC servers."""

from __future__ import annotations

import base64
from types import SimpleNamespace

import pytest

from proxy.base.headers import HeaderMap
from proxy.base.stats import StatRegistry
from proxy.codec.grpc import prefix
from proxy.filters.http.grpc_charges import charges_of
from proxy.filters.http.grpc_web import GrpcWebFilter, TextEncoder
from tests.support.filters import FilteredStream

MESSAGE = prefix(3) + b"abc"
TRAILERS = [("grpc-status", "0"), ("x-t", "1")]
CLUSTER = SimpleNamespace(stats=SimpleNamespace(prefix="cluster.x."))


def _stream(registry: StatRegistry | None = None) -> FilteredStream:
    return FilteredStream(
        lambda callbacks: GrpcWebFilter(callbacks, registry or StatRegistry()), cluster=CLUSTER, limit=1 << 20
    )


def _begin(stream: FilteredStream, text: bool = False) -> None:
    kind = "application/grpc-web-text" if text else "application/grpc-web"
    stream.begin(path="/a.B/C", content_type=kind, accept=kind, content_length="8")


def test_the_request_becomes_grpc() -> None:
    stream = _stream()
    _begin(stream)
    stream.filters.decode_data(MESSAGE, True)
    assert dict(stream.request[0][1].headers) == {
        "content-type": "application/grpc",
        "accept": "application/grpc-web",
        "te": "trailers",
        "grpc-accept-encoding": "identity",
    }
    assert stream.request_body == MESSAGE


def test_trailers_become_a_frame() -> None:
    stream = _stream()
    _begin(stream)
    stream.respond(content_type="application/grpc", content_length="8")
    stream.filters.encode_data(MESSAGE, False)
    stream.filters.encode_trailers(HeaderMap(TRAILERS))
    assert dict(stream.response_head.headers) == {"content-type": "application/grpc-web+proto"}
    assert stream.response_body == MESSAGE + prefix(22, 0x80) + b"grpc-status:0\r\nx-t:1\r\n"
    assert stream.response_trailers == {}


@pytest.mark.parametrize("step", [1, 3, 7, 100])
def test_text_is_base64_both_ways(step: int) -> None:
    stream = _stream()
    _begin(stream, text=True)
    sent = base64.b64encode(MESSAGE)
    for start in range(0, len(sent), step):
        stream.filters.decode_data(sent[start : start + step], False)
    stream.filters.decode_data(b"", True)
    assert stream.request_body == MESSAGE
    stream.respond(content_type="application/grpc")
    for start in range(0, len(MESSAGE), step):
        stream.filters.encode_data(MESSAGE[start : start + step], False)
    stream.filters.encode_trailers(HeaderMap(TRAILERS))
    frame = prefix(22, 0x80) + b"grpc-status:0\r\nx-t:1\r\n"
    assert stream.response_body == base64.b64encode(MESSAGE) + base64.b64encode(frame)


@pytest.mark.parametrize("text", [b"AAAAA", b"AA!A", b"====", b"AA==AAAA", b"AB=="])
def test_bad_base64_is_refused(text: bytes) -> None:
    stream = _stream()
    _begin(stream, text=True)
    stream.filters.decode_data(text, False)
    stream.filters.decode_data(b"", True)
    assert len(stream.replies) == 1
    assert stream.response_head.status == 400
    assert stream.response_head.headers["grpc-status"] == "13"
    assert stream.response_body == b""


def test_another_response_becomes_status_and_message() -> None:
    stream = _stream()
    _begin(stream)
    stream.respond(503, content_type="text/plain", content_length="4")
    stream.filters.encode_data(b"n%", False)
    stream.filters.encode_data(b"o" * 20000, False)
    stream.filters.encode_data(b"", True)
    assert stream.response_head.status == 503
    headers = stream.response_head.headers
    assert headers["grpc-status"] == "14"
    assert headers["grpc-message"] == "n%25" + "o" * 16382
    assert headers["content-length"] == "0"
    assert stream.response_body == b""


def test_a_text_response_without_trailers_ends() -> None:
    stream = _stream()
    _begin(stream, text=True)
    stream.respond(content_type="application/grpc")
    stream.filters.encode_data(b"\0", True)
    assert stream.response[-1] == ("end",)


def test_what_is_no_grpc_web_passes() -> None:
    stream = _stream()
    stream.begin(content_type="application/grpc", content_length="8")
    stream.filters.decode_data(MESSAGE, True)
    assert dict(stream.request[0][1].headers) == {"content-type": "application/grpc", "content-length": "8"}
    stream.respond(503, b"no", end_stream=True, content_type="text/plain")
    assert stream.response_body == b"no"


def test_outcomes_count() -> None:
    registry = StatRegistry()
    stream = _stream(registry)
    _begin(stream)
    stream.respond(content_type="application/grpc")
    stream.filters.encode_trailers(HeaderMap([("grpc-status", "7")]))
    assert charges_of(registry, CLUSTER).counters() == {
        "cluster.x.grpc-web.a.B.C.7": 1,
        "cluster.x.grpc-web.a.B.C.failure": 1,
        "cluster.x.grpc-web.a.B.C.total": 1,
    }


@pytest.mark.parametrize("step", [1, 2, 3, 5, 8, 1000])
def test_each_message_is_encoded_for_itself(step: int) -> None:
    messages = [prefix(3) + b"abc", prefix(0), prefix(1, 1) + b"x", prefix(700) + b"y" * 700]
    data = b"".join(messages)
    encoder = TextEncoder()
    encoded = b"".join(encoder.feed(data[start : start + step]) for start in range(0, len(data), step))
    assert encoded == b"".join(base64.b64encode(message) for message in messages)


def test_nothing_is_encoded_past_an_unknown_flag() -> None:
    encoder = TextEncoder()
    assert encoder.feed(MESSAGE + prefix(1, 2) + b"x") == base64.b64encode(MESSAGE)
    assert encoder.feed(MESSAGE) == b""
