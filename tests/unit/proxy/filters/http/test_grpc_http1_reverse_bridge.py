"""gRPC clients call servers that know only HTTP/1.1."""

from __future__ import annotations

import pytest

from proxy.base.headers import HeaderMap
from proxy.codec.grpc import prefix
from proxy.filters.http.grpc_http1_reverse_bridge import (
    GrpcHttp1ReverseBridgeFilter,
    ReverseBridgeConfig,
    ReverseBridgeRoute,
)
from tests.support.filters import FilteredStream

MESSAGE = prefix(3) + b"abc"
PROTO = "application/x-protobuf"


def _stream(withhold: bool = True, size_header: str = "", disabled: bool = False) -> FilteredStream:
    stream = FilteredStream(
        lambda callbacks: GrpcHttp1ReverseBridgeFilter(
            callbacks, ReverseBridgeConfig(PROTO, withhold, size_header)
        ),
        overrides={"filter0": ReverseBridgeRoute(disabled)},
    )
    stream.begin(content_type="application/grpc+proto", content_length="8")
    stream.filters.decode_data(MESSAGE, True)
    return stream


def test_the_request_becomes_a_bare_message() -> None:
    stream = _stream()
    assert dict(stream.request[0][1].headers) == {
        "content-type": PROTO,
        "accept": PROTO,
        "content-length": "3",
    }
    assert stream.request_body == b"abc"
    assert stream.rerouted == 1


def test_the_prefix_stays_unless_withheld() -> None:
    stream = _stream(withhold=False)
    assert stream.request[0][1].headers["content-length"] == "8"
    assert stream.request_body == MESSAGE
    stream.respond(content_type=PROTO)
    stream.filters.encode_data(MESSAGE, True)
    assert stream.response_body == MESSAGE
    assert stream.response_trailers == {"grpc-status": "0"}


@pytest.mark.parametrize(("status", "grpc_status"), [(200, "0"), (404, "12"), (503, "14"), (201, "2")])
def test_the_http_status_becomes_a_trailer(status: int, grpc_status: str) -> None:
    stream = _stream()
    stream.respond(status, content_type=PROTO, content_length="3")
    stream.filters.encode_data(b"abc", False)
    stream.filters.encode_data(b"", True)
    assert stream.response_head.status == 200
    assert dict(stream.response_head.headers) == {
        "content-type": "application/grpc+proto",
        "content-length": "8",
    }
    assert stream.response_body == MESSAGE
    assert stream.response_trailers == {"grpc-status": grpc_status}


def test_a_response_of_known_length_is_not_held() -> None:
    stream = _stream()
    stream.respond(content_type=PROTO, content_length="3")
    stream.filters.encode_data(b"a", False)
    assert stream.response_body == prefix(3) + b"a"


@pytest.mark.parametrize("with_trailers", [False, True])
def test_a_response_of_unknown_length_is_held(with_trailers: bool) -> None:
    stream = _stream()
    stream.respond(content_type=PROTO)
    stream.filters.encode_data(b"ab", False)
    assert stream.response_body == b""
    stream.filters.encode_data(b"c", not with_trailers)
    if with_trailers:
        stream.filters.encode_trailers(HeaderMap([("x-t", "1")]))
    assert stream.response_body == MESSAGE
    trailers = stream.response_trailers
    assert trailers is not None
    assert trailers["grpc-status"] == "0"


def test_a_response_without_a_body_is_an_empty_message() -> None:
    stream = _stream()
    stream.respond(503, end_stream=True, content_type=PROTO)
    assert stream.response_body == prefix(0)
    assert stream.response_trailers == {"grpc-status": "14"}
    assert stream.response_head.headers["content-length"] == "5"


def test_a_field_tells_the_length() -> None:
    stream = _stream(size_header="x-size")
    stream.respond(content_type=PROTO, x_size="3,4")
    stream.filters.encode_data(b"ab", False)
    assert stream.response_body == prefix(3) + b"ab"
    stream.filters.encode_data(b"c", True)
    assert stream.response_trailers == {"grpc-status": "0"}


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"content_type": PROTO}, "13", "envoy reverse bridge: upstream did not set content length"),
        (
            {"content_type": PROTO, "x_size": "-1"},
            "13",
            "envoy reverse bridge: upstream did not set content length",
        ),
        (
            {"content_type": PROTO, "x_size": "1" * 5000},
            "13",
            "envoy reverse bridge: upstream did not set content length",
        ),
        (
            {"content_type": "text/plain"},
            "2",
            "envoy reverse bridge: upstream responded with unsupported content-type text/plain, status code 200",
        ),
        ({}, "2", "envoy reverse bridge: upstream responded with no content-type header, status code 200"),
    ],
)
def test_a_response_that_will_not_do_is_replaced(fields: dict[str, str], status: str, message: str) -> None:
    stream = _stream(size_header="x-size")
    stream.respond(**fields)
    headers = stream.response_head.headers
    assert (headers["grpc-status"], headers["grpc-message"]) == (status, message)


def test_a_wrong_length_breaks_the_response() -> None:
    stream = _stream(size_header="x-size")
    stream.respond(content_type=PROTO, x_size="4")
    stream.filters.encode_data(b"abc", True)
    assert stream.response[-1] == ("reset",)


def test_a_request_without_a_message_is_refused() -> None:
    stream = FilteredStream(
        lambda callbacks: GrpcHttp1ReverseBridgeFilter(callbacks, ReverseBridgeConfig(PROTO, True, ""))
    )
    stream.begin(content_type="application/grpc", content_length="3")
    stream.filters.decode_data(b"abc", False)
    # As in Envoy, the filter takes its own reply for one of the upstream.
    assert stream.replies == ["grpc_bridge_data_too_small", "grpc_bridge_content_type_wrong"]
    assert stream.response_head.headers["grpc-status"] == "2"


def test_a_route_may_switch_it_off() -> None:
    stream = _stream(disabled=True)
    assert stream.request_body == MESSAGE
    stream.respond(404, b"no", end_stream=True)
    assert stream.response_head.status == 404
