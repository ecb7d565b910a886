"""What answers to HTTP and gRPC checks say, and what is asked."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.base.headers import HeaderMap
from proxy.base.messages import ResponseHead
from proxy.codec.messages import ParsedResponse
from proxy.router.upstream_head import SingleHead
from proxy.upstream.health_check.config import GrpcCheck, HttpCheck
from proxy.upstream.health_check.http_probe import (
    BROKEN,
    TIMED_OUT,
    GrpcProbe,
    HttpProbe,
    Result,
    grpc_head,
    grpc_message,
    http_head,
    judge,
    payload_found,
    serving,
)
from proxy.upstream.health_check.verdict import Failure
from proxy.upstream.pool.api import PoolFailure, ResetReason

SERVING = b"\0\0\0\0\2\x08\1"


def fields(**values: str) -> HeaderMap:
    headers = HeaderMap()
    for name, value in values.items():
        headers.add(name.replace("_", "-"), value)
    return headers


def response(status: int = 200, **values: str) -> ParsedResponse:
    return ParsedResponse(ResponseHead(status, fields(**values)), 0)


class Connection:
    """A connection, and the pool that gives it at once."""

    def __init__(self) -> None:
        self.sent = b""
        self.abandoned = False
        self.cancelled: list[Any] = []
        self.connects = True

    def take(self, request: Any) -> Any:
        return self if self.connects else None

    def wait(self, request: Any) -> None:
        pass

    def cancel(self, request: Any) -> None:
        self.cancelled.append(request)

    def send_head(self, body: bytes, end_stream: bool) -> None:
        assert end_stream
        self.sent = body

    def abandon(self) -> None:
        self.abandoned = True


def test_the_request_is_that_of_envoy() -> None:
    head = http_head(HttpCheck("/hc", send=b"ping", method="POST"), "c", "http")
    assert SingleHead(head, end_stream=True).http1_head(b"") == (
        b"POST /hc HTTP/1.1\r\nhost: c\r\nuser-agent: Envoy/HC\r\ncontent-length: 4\r\n\r\n"
    )
    head = grpc_head("c", "http", 1.5)
    assert dict(head.headers) == {
        "content-type": "application/grpc",
        "te": "trailers",
        "user-agent": "Envoy/HC",
        "grpc-timeout": "1500m",
    }
    assert grpc_message(GrpcCheck("a.B")) == b"\0\0\0\0\5\x0a\3a.B"
    assert grpc_message(GrpcCheck()) == b"\0\0\0\0\0"


def test_pieces_of_a_payload_follow_each_other() -> None:
    assert payload_found((b"ab", b"b"), b"xabyb")
    assert not payload_found((b"ab", b"b"), b"xab")
    assert payload_found((), b"")


@pytest.mark.parametrize(
    ("status", "values", "body", "result"),
    [
        (200, {}, b"ok", Result(status=200)),
        (201, {}, b"ok", Result(Failure.ACTIVE, status=201)),
        (500, {}, b"ok", Result(Failure.ACTIVE, retriable=True, status=500)),
        (200, {}, b"no", Result(Failure.ACTIVE, status=200)),
        (200, {"x_envoy_degraded": ""}, b"ok", Result(degraded=True, status=200)),
        (
            503,
            {"x_envoy_immediate_health_check_fail": "true"},
            b"ok",
            Result(Failure.ACTIVE, exclude=True, status=503),
        ),
    ],
)
def test_an_answer_is_judged(status: int, values: dict[str, str], body: bytes, result: Result) -> None:
    check = HttpCheck("/", receive=(b"ok",), retriable=((500, 501),))
    assert judge(check, status, fields(**values), body, True) == result


def test_the_answering_cluster_must_have_the_right_name() -> None:
    check = HttpCheck("/", service_name=lambda name: name == "me")
    right = fields(x_envoy_upstream_healthchecked_cluster="me")
    assert judge(check, 200, right, b"", True) == Result(verified=True, status=200)
    assert judge(check, 200, fields(), b"", True) == Result(Failure.ACTIVE, verified=True, status=200)
    assert judge(check, 200, fields(), b"", False) == Result(status=200)


def http_probe(check: HttpCheck, pool: Connection) -> tuple[HttpProbe, list[Result]]:
    heard: list[Result] = []
    outgoing = SingleHead(http_head(check, "c", "http"), end_stream=True)
    return HttpProbe(pool, check, outgoing, heard.append, verifies=True), heard


def test_a_body_is_kept_up_to_its_limit() -> None:
    pool = Connection()
    probe, heard = http_probe(HttpCheck("/", receive=(b"late",), buffer_size=6), pool)
    probe.start()
    probe.on_response(response(), b"1234", end_stream=False)
    probe.on_response_data(b"late", end_stream=True)
    assert heard == [Result(Failure.ACTIVE, status=200)]
    probe.cancel()
    assert not pool.abandoned


def test_a_connection_that_fails_or_breaks_is_a_network_failure() -> None:
    for failure, result in ((PoolFailure.REMOTE_CONNECT, BROKEN), (PoolFailure.TIMEOUT, TIMED_OUT)):
        probe, heard = http_probe(HttpCheck("/"), Connection())
        probe.on_pool_failure(failure, "")
        assert heard == [result]
    probe, heard = http_probe(HttpCheck("/"), Connection())
    probe.start()
    probe.on_reset(ResetReason.CONNECTION_TERMINATION, "")
    assert heard == [BROKEN]


def test_giving_up_closes_what_is_there() -> None:
    pool = Connection()
    probe, heard = http_probe(HttpCheck("/"), pool)
    probe.start()
    probe.cancel()
    assert (pool.abandoned, heard) == (True, [])
    pool.connects = False
    probe, heard = http_probe(HttpCheck("/"), pool)
    probe.start()
    probe.cancel()
    assert pool.cancelled == [probe]


@pytest.mark.parametrize(
    ("data", "well"),
    [
        (SERVING, True),
        (b"\0\0\0\0\0" + SERVING, True),
        (b"\0\0\0\0\2\x08\2", False),
        (b"\0\0\0\0\0", False),
        (b"", False),
        (SERVING * 2, False),
        (b"\1" + SERVING[1:], False),
        (SERVING[:-1], False),
        (b"\0\0\0\0\1\x08", False),
    ],
)
def test_only_one_message_that_says_serving_is_well(data: bytes, well: bool) -> None:
    assert serving(data) is well


def grpc_answers(*steps: Any) -> tuple[list[Result], Connection]:
    pool, heard = Connection(), []
    outgoing = SingleHead(grpc_head("c", "http", 1), end_stream=True)
    probe = GrpcProbe(pool, GrpcCheck(), outgoing, heard.append)
    probe.start()
    for step in steps:
        step(probe)
    return heard, pool


def test_a_grpc_host_is_well_when_it_serves_and_ends_with_ok() -> None:
    def head(probe: GrpcProbe) -> None:
        probe.on_response(response(content_type="application/grpc"), SERVING, end_stream=False)

    assert grpc_answers(head, lambda probe: probe.on_response_trailers(fields(grpc_status="0")))[0] == [
        Result()
    ]
    bad = [Result(Failure.ACTIVE)]
    assert grpc_answers(head, lambda probe: probe.on_response_trailers(fields(grpc_status="5")))[0] == bad
    assert grpc_answers(head, lambda probe: probe.on_response_data(b"", end_stream=True))[0] == bad
    assert grpc_answers(lambda probe: probe.on_response(response(grpc_status="12"), b"", True))[0] == bad
    heard, pool = grpc_answers(
        lambda probe: probe.on_response(response(content_type="text/html"), b"x", False)
    )
    assert (heard, pool.abandoned) == (bad, True)
    heard, pool = grpc_answers(head, lambda probe: probe.on_response_data(bytes(2000), end_stream=False))
    assert (heard, pool.abandoned) == (bad, True)
