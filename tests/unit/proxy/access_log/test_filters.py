from __future__ import annotations

from typing import Any

import pytest
from envoy.config.accesslog.v3.accesslog_pb2 import AccessLogFilter
from google.protobuf import json_format

from proxy.access_log.filters import compile_log_filter
from proxy.base.headers import HeaderMap
from proxy.base.response_flags import ResponseFlag
from proxy.config.context import CompileContext
from tests.support.streams import context, stream


def matches(filter_message: dict[str, Any], ctx: CompileContext | None = None, **facts: Any) -> bool:
    ctx = ctx or context()
    compiled = compile_log_filter(json_format.ParseDict(filter_message, AccessLogFilter()), "f", ctx)
    assert ctx.problems == []
    return compiled(stream(**facts))


def status(op: str, value: int, key: str = "k") -> dict[str, Any]:
    comparison = {"op": op, "value": {"default_value": value, "runtime_key": key}}
    return {"status_code_filter": {"comparison": comparison}}


@pytest.mark.parametrize(
    ("op", "outcomes"),
    [
        ("EQ", [False, True, False]),
        ("GE", [False, True, True]),
        ("LE", [True, True, False]),
        ("NE", [True, False, True]),
    ],
)
def test_statuses_compare(op: str, outcomes: list[bool]) -> None:
    assert [matches(status(op, 404), response_code=code) for code in (403, 404, 405)] == outcomes


def test_the_runtime_overrides_a_value_at_any_time() -> None:
    ctx = context()
    compiled = compile_log_filter(json_format.ParseDict(status("GE", 500), AccessLogFilter()), "f", ctx)
    assert not compiled(stream(response_code=404))
    ctx.runtime.replace({"k": "400"})
    assert compiled(stream(response_code=404))


def test_durations_compare_in_milliseconds() -> None:
    three = {
        "duration_filter": {"comparison": {"op": "EQ", "value": {"default_value": 3, "runtime_key": "k"}}}
    }
    assert matches(three)


def test_health_checks_and_traces() -> None:
    assert matches({"not_health_check_filter": {}})
    assert not matches({"not_health_check_filter": {}}, health_check=True)
    assert not matches({"traceable_filter": {}})
    assert matches({"traceable_filter": {}}, traced=True)


def test_a_runtime_fraction_follows_the_request_id() -> None:
    half = {"runtime_filter": {"runtime_key": "k", "percent_sampled": {"numerator": 50}}}
    low, high = f"{10:08x}-0000-4000-8000-000000000000", f"{60:08x}-0000-4000-8000-000000000000"
    assert matches(half, request_id=low)
    assert not matches(half, request_id=high)
    never = {"runtime_filter": {"runtime_key": "k"}}
    assert not matches(never)
    ctx = context()
    ctx.runtime.replace({"k": "100"})
    assert matches(never, ctx, request_id="odd")


def test_and_or() -> None:
    yes, no = {"not_health_check_filter": {}}, {"traceable_filter": {}}
    assert matches({"and_filter": {"filters": [yes, yes]}})
    assert not matches({"and_filter": {"filters": [yes, no]}})
    assert matches({"or_filter": {"filters": [no, yes]}})
    assert not matches({"or_filter": {"filters": [no, no]}})


def test_headers_of_the_request_and_of_none() -> None:
    present = {"header_filter": {"header": {"name": "x", "present_match": True}}}
    assert matches(present, fields=[("x", "1")])
    assert not matches(present, fields=[])
    assert not matches(present, request=None)


def test_response_flags() -> None:
    some = {"response_flag_filter": {"flags": ["UH", "DPE"]}}
    assert matches(some, flags=int(ResponseFlag.DOWNSTREAM_PROTOCOL_ERROR))
    assert not matches(some, flags=int(ResponseFlag.NO_ROUTE_FOUND))
    assert matches({"response_flag_filter": {}}, flags=1)
    assert not matches({"response_flag_filter": {}}, flags=0)


def test_grpc_statuses() -> None:
    ok = {"grpc_status_filter": {"statuses": ["OK"]}}
    assert matches(ok, response_trailers=HeaderMap([("grpc-status", "0")]))
    assert not matches(ok, response_fields=[("grpc-status", "5")])
    assert not matches(ok)
    assert matches({"grpc_status_filter": {"statuses": ["OK"], "exclude": True}})
    assert matches({"grpc_status_filter": {"statuses": ["UNAVAILABLE"]}}, response_code=503)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [({"a": {"b": True}}, True), ({"a": {"b": False}}, False), ({"a": {}}, None), (None, None)],
)
def test_metadata_that_is_absent_matches_as_configured(metadata: Any, expected: bool | None) -> None:
    matcher = {"filter": "a", "path": [{"key": "b"}], "value": {"bool_match": True}}
    for otherwise in (True, False):
        message = {"metadata_filter": {"matcher": matcher, "match_if_key_not_found": otherwise}}
        assert matches(message, dynamic_metadata=metadata) is (otherwise if expected is None else expected)
    assert matches({"metadata_filter": {"matcher": matcher}}, dynamic_metadata=None)
    assert matches({"metadata_filter": {}})


def test_log_types() -> None:
    end = {"log_type_filter": {"types": ["DownstreamEnd"]}}
    assert matches(end, access_log_type="DownstreamEnd")
    assert not matches(end, access_log_type="DownstreamStart")
    assert matches(
        {"log_type_filter": {"types": ["DownstreamEnd"], "exclude": True}}, access_log_type="DownstreamStart"
    )


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ({"extension_filter": {"name": "x"}}, "f.extension_filter"),
        ({}, "f"),
        ({"response_flag_filter": {"flags": ["UH", "ZZ"]}}, "f.response_flag_filter.flags[1]"),
        ({"and_filter": {"filters": [{"traceable_filter": {}}, {}]}}, "f.and_filter.filters[1]"),
        ({"status_code_filter": {"comparison": {"op": 9}}}, "f.status_code_filter.comparison.op"),
    ],
)
def test_what_is_refused_is_named_and_matches_nothing(message: dict[str, Any], path: str) -> None:
    ctx = context()
    compiled = compile_log_filter(json_format.ParseDict(message, AccessLogFilter()), "f", ctx)
    assert [problem.path for problem in ctx.problems] == [path]
    assert not compiled(stream(flags=0))
