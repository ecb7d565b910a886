"""What of the Connect protocol is counted."""

from __future__ import annotations

import pytest

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.codec import connect_rpc
from proxy.codec.grpc import prefix

MESSAGE = prefix(3) + b"abc"


def _end(outcome: bytes) -> bytes:
    return prefix(len(outcome), 2) + outcome


@pytest.mark.parametrize("step", [1, 3, 5, 8, 100])
def test_messages_count_and_the_end_does_not(step: int) -> None:
    data = MESSAGE + prefix(0) + MESSAGE + _end(b"{}")
    counter = connect_rpc.ResponseCounter()
    counted = sum(counter.feed(data[start : start + step]) for start in range(0, len(data), step))
    assert counted == counter.count == 3
    assert counter.success


@pytest.mark.parametrize(
    ("data", "success"),
    [
        (_end(b"{}"), True),
        (_end(b'{"metadata": {}}'), True),
        (_end(b'{"error": {"code": "not_found"}}'), False),
        (_end(b'{"error": {}}'), False),
        (_end(b"[]"), False),
        (_end(b"nonsense"), False),
        (_end(b""), False),
        (_end(b"{}")[:-1], False),
        (_end(b" " * 70000 + b"{}"), False),
        (_end(b"[" * 60000), False),
        (MESSAGE, False),
        (b"", False),
    ],
)
def test_the_end_tells_the_outcome(data: bytes, success: bool) -> None:
    counter = connect_rpc.ResponseCounter()
    counter.feed(data)
    assert counter.success is success


def test_nothing_counts_after_the_end() -> None:
    counter = connect_rpc.ResponseCounter()
    assert counter.feed(_end(b"{}") + MESSAGE) == 0
    assert counter.success


def test_kinds_of_messages() -> None:
    stream = HeaderMap([("content-type", "application/connect+json")])
    assert connect_rpc.is_streaming_request(RequestHead("POST", "/", "", stream))
    assert connect_rpc.is_streaming_response(ResponseHead(200, stream))
    assert not connect_rpc.is_streaming_response(ResponseHead(503, stream))
    assert not connect_rpc.is_unary_request(RequestHead("POST", "/", "", stream))
    unary = HeaderMap([("connect-protocol-version", "1")])
    assert connect_rpc.is_unary_request(RequestHead("POST", "/", "", unary))
