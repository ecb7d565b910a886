from __future__ import annotations

from typing import Any

import pytest
from envoy.service.auth.v3 import external_auth_pb2
from google.protobuf.json_format import ParseDict

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.filters.http.ext_authz_answer import ERROR, Answer, read_answer


def answer(code: int, **fields: Any) -> Answer:
    response = ParseDict({"status": {"code": code}, **fields}, external_auth_pb2.CheckResponse())
    return read_answer(response.SerializeToString())


def option(name: str, value: str) -> dict[str, Any]:
    return {"header": {"key": name, "value": value}}


def test_garbage_is_an_error() -> None:
    assert read_answer(b"\xff\xff") is ERROR


@pytest.mark.parametrize(
    ("name", "value"), [("x y", "1"), ("", "1"), ("x", "a\r\nb: c"), ("x", "\0"), ("x\n", "1")]
)
def test_what_cannot_stand_in_a_head_is_an_error(name: str, value: str) -> None:
    assert answer(0, okResponse={"headers": [option(name, value)]}) is ERROR
    assert answer(7, deniedResponse={"headers": [option(name, value)]}) is ERROR


@pytest.mark.parametrize("value", ["/a b", "/a\tb", "/\x7f", "/ü"])
def test_a_target_cannot_hold_blanks_and_the_like(value: str) -> None:
    assert answer(0, okResponse={"headers": [option(":path", value)]}) is ERROR
    assert answer(0, okResponse={"queryParametersToSet": [{"key": "a", "value": value}]}) is ERROR


def test_a_refusal_has_a_status() -> None:
    assert (answer(7).verdict, answer(7).status) == ("denied", 403)
    assert answer(7, deniedResponse={"status": {"code": 401}}).status == 401


def test_a_request_is_changed() -> None:
    head = RequestHead("GET", "/x?c=1&a=2", "h", HeaderMap([("x-gone", "1"), ("x-a", "1")]))
    told = {
        "headers": [option("X-A", "2"), option("Host", "other")],
        "headersToRemove": ["X-Gone", "host", ":path"],
        "queryParametersToSet": [{"key": "b", "value": "3"}],
        "queryParametersToRemove": ["c"],
    }
    answer(0, okResponse=told).change(head)
    assert (head.path, head.authority, dict(head.headers)) == ("/x?a=2&b=3", "other", {"x-a": "2"})
