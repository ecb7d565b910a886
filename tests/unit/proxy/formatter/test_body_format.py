from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from envoy.config.core.v3.substitution_format_string_pb2 import SubstitutionFormatString
from google.protobuf import json_format

from proxy.config.context import CompileContext
from proxy.formatter.body_format import BodyFormat, compile_substitution_format
from tests.support.streams import context, stream

_EXTENSION = "type.googleapis.com/envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery"


def compiled(ctx: CompileContext | None = None, **message: Any) -> BodyFormat:
    # Registers the extension with the pool that resolves an Any.
    from envoy.extensions.formatter.req_without_query.v3 import req_without_query_pb2  # noqa: F401

    parsed = json_format.ParseDict(message, SubstitutionFormatString())
    return compile_substitution_format(parsed, "body_format", ctx or context())


def test_json_ends_with_a_newline_and_is_json() -> None:
    body = compiled(json_format={"b": "%RESPONSE_CODE%", "a": "%LOCAL_REPLY_BODY%"})
    assert body.render(stream()) == '{"a":"","b":200}\n'
    assert body.content_type == "application/json"


def test_text_from_each_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "format"
    file.write_text("%PROTOCOL%")
    monkeypatch.setenv("OUTRIDER_TEST", "%PROTOCOL%")
    for source in (
        {"text_format": "%PROTOCOL%"},
        {"text_format_source": {"inline_string": "%PROTOCOL%"}},
        {"text_format_source": {"inline_bytes": "JVBST1RPQ09MJQ=="}},
        {"text_format_source": {"filename": str(file)}},
        {"text_format_source": {"environment_variable": "OUTRIDER_TEST"}},
    ):
        body = compiled(**source)
        assert (body.render(stream()), body.content_type) == ("HTTP/1.1", "text/plain")


def test_options_apply() -> None:
    body = compiled(text_format="<%REQ(x)%>", omit_empty_values=True, content_type="text/html")
    assert (body.render(stream()), body.content_type) == ("<>", "text/html")


def test_a_listed_extension_brings_its_command() -> None:
    body = compiled(
        text_format="%REQ_WITHOUT_QUERY(:path)%",
        formatters=[{"name": "x", "typed_config": {"@type": _EXTENSION}}],
    )
    assert body.render(stream(path="/p?a")) == "/p"


@pytest.mark.parametrize(
    ("message", "path"),
    [
        ({"text_format_source": {"filename": "/nonexistent"}}, "body_format.text_format_source.filename"),
        (
            {"text_format_source": {"environment_variable": "OUTRIDER_NOT_SET"}},
            "body_format.text_format_source.environment_variable",
        ),
        ({}, "body_format"),
        ({"json_format": {"a": "%NOPE%"}}, "body_format.json_format.a"),
        ({"text_format": "x", "formatters": [{"name": "odd"}]}, "body_format.formatters[0].typed_config"),
    ],
)
def test_problems_name_the_field(message: dict[str, Any], path: str) -> None:
    ctx = context()
    compiled(ctx, **message)
    assert [problem.path for problem in ctx.problems] == [path]
