"""One call: which answers make which status."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.base.headers import HeaderMap
from proxy.base.messages import ResponseHead
from proxy.base.stream_info import StreamInfo
from proxy.codec.grpc import GrpcStatus, prefix
from proxy.codec.messages import ParsedResponse
from proxy.grpc_client.config import GrpcServiceConfig
from proxy.grpc_client.unary import UnaryCall
from tests.support.fake_clock import FakeClock
from tests.support.own_request import Request, connection

MESSAGE = prefix(3) + b"yes"
OK = (("grpc-status", "0"),)


class User:
    def __init__(self) -> None:
        self.outcomes: list[Any] = []

    def on_grpc_success(self, message: bytes) -> None:
        self.outcomes.append(message)

    def on_grpc_failure(self, status: int, message: str) -> None:
        self.outcomes.append((status, message))


class Bench:
    def __init__(self, timeout: float = 1.0, most: int | None = None) -> None:
        self.clock = FakeClock()
        self.user = User()
        self.request = Request()
        config = GrpcServiceConfig("c", "c", timeout, max_message_bytes=most)
        self.call = UnaryCall(self.user, StreamInfo(connection(), self.clock()), config, self.clock)
        self.call.request = self.request  # type: ignore[assignment]
        self.call.send(b"hello", lambda *_: None)

    def head(self, status: int = 200, *fields: tuple[str, str], body: bytes = b"", end: bool = False) -> None:
        response = ParsedResponse(ResponseHead(status, headers(*fields)), 0)
        self.call.on_upstream_response(response, body, end)

    def trailers(self, *fields: tuple[str, str]) -> None:
        self.call.on_upstream_trailers(headers(*fields))


def headers(*fields: tuple[str, str]) -> HeaderMap:
    made = HeaderMap()
    for name, value in fields:
        made.add(name, value)
    return made


def test_a_message_goes_out_framed_and_one_comes_back() -> None:
    bench = Bench()
    assert bench.request.sent == prefix(5) + b"hello"
    bench.head()
    bench.call.on_upstream_data(MESSAGE[:4], False)
    bench.call.on_upstream_data(MESSAGE[4:], False)
    assert bench.user.outcomes == []
    bench.trailers(*OK)
    assert bench.user.outcomes == [b"yes"]
    assert bench.call.over


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ((("grpc-status", "7"), ("grpc-message", "not%20you")), (7, "not you")),
        ((("grpc-status", "nonsense"),), (-1, "")),
        ((), (GrpcStatus.UNKNOWN, "")),
        (OK, (GrpcStatus.INTERNAL, "")),
    ],
)
def test_the_end_has_a_status(fields: tuple[tuple[str, str], ...], outcome: Any) -> None:
    in_head, in_trailers = Bench(), Bench()
    in_head.head(200, *fields, end=True)
    in_trailers.head()
    in_trailers.trailers(*fields)
    assert in_head.user.outcomes == in_trailers.user.outcomes == [outcome]


@pytest.mark.parametrize(
    ("status", "outcome"), [(503, GrpcStatus.UNAVAILABLE), (403, GrpcStatus.PERMISSION_DENIED), (500, 2)]
)
def test_an_http_error_stands_for_a_status(status: int, outcome: int) -> None:
    bench = Bench()
    bench.head(status, body=b"text")
    assert bench.user.outcomes == [(outcome, "")]
    assert bench.request.abandoned == 1


def test_bodies_that_cannot_be_end_the_call() -> None:
    compressed, long, unfinished = Bench(), Bench(most=2), Bench()
    compressed.head(body=b"\1" + MESSAGE[1:])
    long.head(body=MESSAGE)
    unfinished.head(body=MESSAGE, end=True)
    assert compressed.user.outcomes == [(GrpcStatus.INTERNAL, "")]
    assert long.user.outcomes == [(GrpcStatus.RESOURCE_EXHAUSTED, "")]
    assert unfinished.user.outcomes == [(GrpcStatus.UNKNOWN, "")]


def test_time_runs_out() -> None:
    bench = Bench(timeout=0.5)
    bench.clock.advance(0.4)
    assert bench.user.outcomes == []
    bench.clock.advance(0.2)
    assert bench.user.outcomes == [(GrpcStatus.UNAVAILABLE, "upstream request timeout")]
    assert bench.request.abandoned == 1
    assert bench.request.counted == [504]
    assert bench.request.cluster.stats.upstream_rq_timeout == 1
    assert bench.request.timed_out == 1
    bench.head(end=True)
    assert len(bench.user.outcomes) == 1


def test_a_host_that_fails_is_unavailable() -> None:
    bench = Bench()
    bench.call.on_upstream_failure(503, "refused", "details", 0, None)
    assert bench.user.outcomes == [(GrpcStatus.UNAVAILABLE, "refused")]
    assert bench.request.counted == [503]
    broken = Bench()
    broken.head()
    broken.call.on_upstream_reset_after_response("details", 0)
    assert broken.user.outcomes == [(GrpcStatus.INTERNAL, "")]


def test_who_has_cancelled_hears_no_more() -> None:
    bench = Bench()
    bench.call.cancel()
    bench.call.cancel()
    assert bench.request.abandoned == 1
    bench.head(body=MESSAGE)
    bench.trailers(*OK)
    bench.clock.advance(5)
    assert bench.user.outcomes == []
