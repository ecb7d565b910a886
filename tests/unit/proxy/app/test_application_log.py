from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2
from google.protobuf import json_format

from proxy.app import logs
from proxy.app.application_log import compile_log_format
from proxy.config.context import CompileContext


def compiled(log_format: dict[str, Any], given: bool = False) -> tuple[str, list[str]]:
    bootstrap = bootstrap_pb2.Bootstrap()
    json_format.ParseDict({"application_log_config": {"log_format": log_format}}, bootstrap)
    context = CompileContext()
    return compile_log_format(bootstrap, given, context), [str(one) for one in context.problems]


def test_a_text_format_is_taken_as_it_is() -> None:
    assert compiled({"text_format": "%l\t%v"}) == ("%l\t%v", [])
    assert compile_log_format(bootstrap_pb2.Bootstrap(), True, CompileContext()) == ""


def test_a_json_format_is_one_line_of_json() -> None:
    pattern, problems = compiled({"json_format": {"msg": "%j", "level": "%l"}})
    assert problems == []
    record = logging.LogRecord("proxy.app", logging.INFO, "x.py", 1, 'say "%s"\n', ("hi",), None)
    assert json.loads(logs.compile_format(pattern)(record)) == {"msg": 'say "hi"\n', "level": "info"}


def test_a_json_format_with_an_unescaped_message_is_refused() -> None:
    for message in ("%v", "%_"):
        (problem,) = compiled({"json_format": {"msg": message}})[1]
        assert problem.startswith("application_log_config.log_format.json_format: Usage of %v and %_")


def test_only_one_format_may_be_given() -> None:
    (problem,) = compiled({"text_format": "%v"}, given=True)[1]
    assert "Only one of" in problem


def test_lines_change_their_format(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = list(root.handlers)
    try:
        logs.configure("", "a %v", False)
        logs.reformat("b %v", False)
        logging.getLogger("proxy.app").warning("text")
        assert capsys.readouterr().err == "b text\n"
    finally:
        root.handlers[:] = before
