from __future__ import annotations

from typing import Any

import pytest
from envoy.config.common.matcher.v3 import matcher_pb2
from google.protobuf import json_format

from proxy.base.headers import HeaderMap
from proxy.base.messages import ResponseHead
from proxy.config.context import CompileContext
from proxy.upstream.outlier.error_matcher import compile_error_matcher, judged_by


def matches(rule: dict[str, Any], status: int = 200, **fields: str) -> bool:
    ctx = CompileContext()
    message = json_format.ParseDict(rule, matcher_pb2.MatchPredicate())
    matcher = compile_error_matcher(message, "error_matcher", ctx)
    assert not ctx.problems
    return matcher(ResponseHead(status, HeaderMap(list(fields.items()))))


def by_status(status: int) -> dict[str, Any]:
    header = {"name": ":status", "string_match": {"exact": str(status)}}
    return {"http_response_headers_match": {"headers": [header]}}


@pytest.mark.parametrize(
    ("rule", "status", "result"),
    [
        ({"any_match": True}, 200, True),
        (by_status(404), 404, True),
        (by_status(404), 500, False),
        ({"not_match": by_status(404)}, 500, True),
        ({"or_match": {"rules": [by_status(404), by_status(410)]}}, 410, True),
        ({"and_match": {"rules": [by_status(404), by_status(410)]}}, 410, False),
        ({"http_request_headers_match": {"headers": [{"name": ":path"}]}}, 200, False),
    ],
)
def test_rules(rule: dict[str, Any], status: int, result: bool) -> None:
    assert matches(rule, status) is result


def test_all_fields_of_a_rule_must_match() -> None:
    rule = {"http_response_headers_match": {"headers": [{"name": "a"}, {"name": "b"}]}}
    assert matches(rule, a="1", b="2")
    assert not matches(rule, a="1")


def test_a_rule_that_says_nothing_is_refused_by_its_place() -> None:
    ctx = CompileContext()
    message = json_format.ParseDict({"or_match": {"rules": [{}]}}, matcher_pb2.MatchPredicate())
    compile_error_matcher(message, "here", ctx)
    assert [problem.path for problem in ctx.problems] == ["here.or_match.rules[0]"]


@pytest.mark.parametrize(("status", "judged"), [(404, 500), (503, 503), (599, 599), (600, 500)])
def test_an_error_has_a_status_of_errors(status: int, judged: int) -> None:
    assert judged_by(lambda _head: True, ResponseHead(status, HeaderMap())) == judged
    assert judged_by(lambda _head: False, ResponseHead(status, HeaderMap())) == 200
