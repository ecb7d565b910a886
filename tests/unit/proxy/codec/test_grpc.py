"""What gRPC looks like on the wire."""

from __future__ import annotations

import pytest

from proxy.base.headers import HeaderMap
from proxy.base.messages import ResponseHead
from proxy.codec.grpc import (
    MessageCounter,
    encode_message,
    grpc_status,
    http_of_status,
    is_grpc,
    is_grpc_response,
    prefix,
    service_and_method,
    status_of_http,
)

MESSAGES = [prefix(3) + b"abc", prefix(0), prefix(2, 1) + b"de", prefix(300) + b"x" * 300]


@pytest.mark.parametrize(
    ("content_type", "grpc"),
    [
        ("application/grpc", True),
        ("application/grpc+proto", True),
        ("application/grpc-web", False),
        ("application/grpc;x", False),
        ("text/plain", False),
        ("", False),
    ],
)
def test_which_content_types_are_grpc(content_type: str, grpc: bool) -> None:
    assert is_grpc(content_type) is grpc


@pytest.mark.parametrize(
    ("status", "fields", "end_stream", "grpc"),
    [
        (200, {"content-type": "application/grpc"}, False, True),
        (200, {"content-type": "application/grpc"}, True, False),
        (503, {"grpc-status": "14"}, True, True),
        (503, {"content-type": "application/grpc"}, False, False),
        (200, {"content-type": "text/plain"}, False, False),
    ],
)
def test_which_responses_are_grpc(status: int, fields: dict[str, str], end_stream: bool, grpc: bool) -> None:
    head = ResponseHead(status, HeaderMap(fields.items()))
    assert is_grpc_response(head, end_stream=end_stream) is grpc


def test_statuses_stand_for_each_other() -> None:
    assert {
        code: int(status_of_http(code)) for code in (200, 400, 401, 403, 404, 429, 500, 502, 503, 504)
    } == {
        200: 2,
        400: 13,
        401: 16,
        403: 7,
        404: 12,
        429: 14,
        500: 2,
        502: 14,
        503: 14,
        504: 14,
    }
    assert [http_of_status(code) for code in range(18)] == [
        *(200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401, 500)
    ]


@pytest.mark.parametrize(
    ("text", "status"),
    [("0", 0), ("16", 16), ("99", 99), ("", None), ("x", -1), ("-1", -1), ("1" * 5000, -1)],
)
def test_a_status_is_read(text: str, status: int | None) -> None:
    assert grpc_status(HeaderMap([("grpc-status", text)])) == status


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/a.B/C", ("a.B", "C")),
        ("//a.B//C/?x=/1", ("a.B", "C")),
        ("/a.B", None),
        ("/a/b/c", None),
        ("", None),
    ],
)
def test_a_path_names_service_and_method(path: str, names: tuple[str, str] | None) -> None:
    assert service_and_method(path) == names


def test_a_message_is_percent_encoded() -> None:
    assert encode_message(b"a b%~\n\xc3\xbc") == "a b%25%7E%0A%C3%BC"


@pytest.mark.parametrize("step", [1, 2, 4, 5, 7, 400])
def test_messages_are_counted_however_they_are_cut(step: int) -> None:
    data = b"".join(MESSAGES)
    counter = MessageCounter()
    counted = sum(counter.feed(data[start : start + step]) for start in range(0, len(data), step))
    assert counted == counter.count == len(MESSAGES)


def test_a_message_counts_when_it_begins() -> None:
    counter = MessageCounter()
    assert counter.feed(prefix(3)[:1]) == 1
    assert counter.feed(prefix(3)[1:] + b"abc") == 0
    assert counter.feed(prefix(0) + prefix(1)) == 2
