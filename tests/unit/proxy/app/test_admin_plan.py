from __future__ import annotations

from typing import Any

from envoy.config.bootstrap.v3 import bootstrap_pb2
from google.protobuf import json_format

from proxy.app.admin_plan import AdminPlan, compile_plan
from proxy.config.context import CompileContext


def compiled(admin: dict[str, Any]) -> tuple[AdminPlan, list[str]]:
    context = CompileContext()
    message = json_format.ParseDict({"admin": admin}, bootstrap_pb2.Bootstrap())
    return compile_plan(message, context), [str(problem) for problem in context.problems]


def test_without_an_address_there_is_no_admin_server() -> None:
    plan, problems = compiled({})
    assert (plan.where, problems) == (None, [])


def test_the_address_and_its_options() -> None:
    plan, problems = compiled({"address": {"pipe": {"path": "@admin", "mode": 0o600}}})
    assert problems == []
    assert plan.where is not None
    assert (str(plan.where.address), plan.where.mode) == ("@admin", 0o600)


def test_the_deprecated_spelling_of_the_access_log_is_one_file() -> None:
    plan, problems = compiled({"access_log_path": "/dev/null"})
    assert problems == []
    assert [log.path for log in plan.access_logs] == ["/dev/null"]


def test_an_address_that_cannot_be_is_a_problem() -> None:
    _plan, problems = compiled({"address": {"socket_address": {"address": "nowhere", "port_value": 1}}})
    assert problems == ["admin.address.socket_address.address: malformed IP address: nowhere"]
