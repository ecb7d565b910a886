"""Replies of our own, with and without mappers."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from google.protobuf import json_format

from proxy.base.headers import HeaderMap
from proxy.hcm.local_reply import LocalReplyMapper, compile_local_reply, make_local_reply
from tests.support.streams import context, stream

GRPC = [("content-type", "application/grpc")]


def mapper(**fields: Any) -> LocalReplyMapper:
    compiled = context()
    message = json_format.ParseDict(fields, hcm_pb2.LocalReplyConfig())
    result = compile_local_reply(message, "local_reply_config", compiled)
    assert not compiled.problems
    return result


def by_status(status: int, **fields: Any) -> dict[str, Any]:
    comparison = {"op": "EQ", "value": {"default_value": status, "runtime_key": "k"}}
    return {"filter": {"status_code_filter": {"comparison": comparison}}, **fields}


def test_plain_text() -> None:
    head, body = make_local_reply(503, "no healthy upstream", stream())
    assert (head.status, body) == (503, b"no healthy upstream")
    assert dict(head.headers) == {"content-length": "19", "content-type": "text/plain"}


def test_without_a_body_there_is_no_content_type() -> None:
    def modify(headers: HeaderMap) -> None:
        headers.set("content-type", "text/html")

    head, body = make_local_reply(404, "", stream(), modify=modify)
    assert (body, dict(head.headers)) == (b"", {})


@pytest.mark.parametrize(
    ("status", "grpc"),
    [(400, "13"), (401, "16"), (403, "7"), (404, "12"), (429, "14"), (503, "14"), (500, "2")],
)
def test_grpc_clients_get_a_status_of_their_own(status: int, grpc: str) -> None:
    head, body = make_local_reply(status, "a b%", stream(GRPC))
    assert (head.status, body) == (200, b"")
    assert head.headers["grpc-status"] == grpc
    assert head.headers["grpc-message"] == "a b%25"


def test_grpc_web_is_not_grpc() -> None:
    head, _ = make_local_reply(404, "", stream([("content-type", "application/grpc-web")]))
    assert head.status == 404


def test_a_given_grpc_status() -> None:
    head, _ = make_local_reply(504, "", stream(GRPC), grpc_status=4)
    assert head.headers["grpc-status"] == "4"


def test_the_first_matching_mapper_rewrites() -> None:
    added = {"header": {"key": "x-was", "value": "%RESPONSE_CODE%"}}
    own = mapper(
        mappers=[
            by_status(503, status_code=599),
            by_status(404, status_code=406, body={"inline_string": "gone"}, headers_to_add=[added]),
            by_status(404, status_code=410),
        ]
    )
    head, body = make_local_reply(404, "", stream(response_code=404), own)
    assert (head.status, body) == (406, b"gone")
    assert head.headers["x-was"] == "404"


def test_a_format_replaces_the_content_type() -> None:
    own = mapper(body_format={"json_format": {"code": "%RESPONSE_CODE%", "body": "%LOCAL_REPLY_BODY%"}})

    def modify(headers: HeaderMap) -> None:
        headers.set("content-type", "text/html")

    head, body = make_local_reply(503, "x", stream(response_code=503), own, modify)
    assert body == b'{"body":"x","code":503}\n'
    assert head.headers["content-type"] == "application/json"
    head, _ = make_local_reply(503, "x", stream(GRPC, response_code=503), own)
    assert head.headers["grpc-message"] == '{"body":"x","code":503}'
