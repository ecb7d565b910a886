"""What is added to a response on its way to the client."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.hcm.response_plan import finish_response, finish_upstream_response, frame_response
from tests.support.hcm_messages import manager
from tests.support.streams import stream


@pytest.mark.parametrize(
    ("status", "end", "is_head", "http10", "framing"),
    [
        (200, False, False, False, "chunked"),
        (200, True, False, False, "0"),
        (200, True, True, False, "chunked"),
        (200, False, False, True, None),
        (304, True, False, False, None),
        (304, True, True, False, None),
        (204, True, False, False, None),
        (101, False, False, False, None),
    ],
)
def test_framing(status: int, end: bool, is_head: bool, http10: bool, framing: str | None) -> None:
    head = ResponseHead(status, HeaderMap())
    chunked = frame_response(head, end_stream=end, is_head=is_head, is_http10=http10)
    found = head.headers.get("transfer-encoding") or head.headers.get("content-length")
    assert found == framing
    assert chunked is (framing == "chunked" and not is_head)


def test_a_length_that_is_there_stays() -> None:
    head = ResponseHead(200, HeaderMap([("content-length", "7")]))
    assert not frame_response(head, end_stream=False, is_head=False, is_http10=False)
    assert dict(head.headers) == {"content-length": "7"}


def finished(
    fields: list[tuple[str, str]], request: RequestHead | None = None, **config: Any
) -> dict[str, str]:
    head = ResponseHead(200, HeaderMap(fields))
    compiled, _ = manager(**config)
    finish_response(head, compiled, date="now", request_id="id", request=request)
    return dict(head.headers)


def test_server_modes() -> None:
    theirs = [("server", "theirs")]
    assert finished(theirs)["server"] == "envoy"
    assert finished(theirs, server_header_transformation="APPEND_IF_ABSENT")["server"] == "theirs"
    assert finished([], server_header_transformation="APPEND_IF_ABSENT", server_name="me")["server"] == "me"
    assert "server" not in finished([], server_header_transformation="PASS_THROUGH")


def test_the_request_id_is_told_to_who_asks() -> None:
    assert "x-request-id" not in finished([])
    assert finished([], always_set_request_id_in_response=True)["x-request-id"] == "id"
    traced = RequestHead("GET", "/", "h", HeaderMap([("x-envoy-force-trace", "1")]))
    assert finished([], traced)["x-request-id"] == "id"


def test_a_date_that_is_there_stays() -> None:
    assert finished([])["date"] == "now"
    assert finished([("date", "then")])["date"] == "then"


def test_hop_by_hop_fields_of_the_upstream_end_here() -> None:
    fields = [("connection", "close"), ("keep-alive", "1"), ("transfer-encoding", "chunked"), ("x", "1")]
    head = ResponseHead(200, HeaderMap(fields))
    assert finish_upstream_response(head, stream(), (), service_time="5", upgrade=False)
    assert dict(head.headers) == {"x": "1", "x-envoy-upstream-service-time": "5"}
