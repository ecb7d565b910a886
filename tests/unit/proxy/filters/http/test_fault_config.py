from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.http.fault.v3 import fault_pb2
from google.protobuf import json_format

from proxy.base.headers import HeaderMap
from proxy.config.context import CompileContext
from proxy.filters.http.fault_config import FaultConfig, Percentage, compile_fault


def compiled(**fields: Any) -> FaultConfig:
    context = CompileContext()
    made = compile_fault(json_format.ParseDict(fields, fault_pb2.HTTPFault()), "", context)
    assert not context.problems
    return made


@pytest.mark.parametrize(
    ("asked", "numerator"),
    [(None, 50), ("20", 20), ("60", 50), ("0", 0), ("-1", 50), ("4294967296", 50), ("x", 50), (" 7 ", 7)],
)
def test_a_request_may_only_lower_the_percentage(asked: str | None, numerator: int) -> None:
    headers = HeaderMap([("p", asked)] if asked is not None else [])
    assert Percentage(50, 100, "p").asked(headers) == numerator
    assert Percentage(50, 100, "").asked(headers) == 50


def test_a_fault_without_a_kind_is_idle() -> None:
    assert compiled(upstream_cluster="c", max_active_faults=3).idle
    assert not compiled(delay={"header_delay": {}}).idle


@pytest.mark.parametrize(
    ("fields", "statuses"),
    [
        ({}, (None, None)),
        ({"x-envoy-fault-abort-request": "200"}, (200, None)),
        ({"x-envoy-fault-abort-request": "600", "x-envoy-fault-abort-grpc-request": "2"}, (None, 2)),
        ({"x-envoy-fault-abort-request": "503", "x-envoy-fault-abort-grpc-request": "2"}, (503, None)),
    ],
)
def test_fields_name_the_status_of_an_abort(
    fields: dict[str, str], statuses: tuple[int | None, int | None]
) -> None:
    abort = compiled(abort={"header_abort": {}}).abort
    assert abort is not None
    assert abort.asked(HeaderMap(fields.items())) == statuses


def test_runtime_keys_have_defaults() -> None:
    keys = compiled(delay_percent_runtime="mine").keys
    assert keys["delay_percent_runtime"] == "mine"
    assert keys["abort_percent_runtime"] == "fault.http.abort.abort_percent"
