from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog
from envoy.extensions.access_loggers.file.v3 import file_pb2  # noqa: F401  # registers the type for ParseDict
from envoy.extensions.access_loggers.stream.v3 import stream_pb2  # noqa: F401
from google.protobuf import json_format

from proxy.access_log.compile import CompiledAccessLog, compile_access_logs
from proxy.config.context import CompileContext
from tests.support.streams import context, host, stream

PREFIX = "type.googleapis.com/envoy.extensions.access_loggers."
FILE, STDOUT, STDERR = (
    PREFIX + name
    for name in ("file.v3.FileAccessLog", "stream.v3.StdoutAccessLog", "stream.v3.StderrAccessLog")
)


def compiled(ctx: CompileContext, kind: str, **config: Any) -> tuple[CompiledAccessLog, ...]:
    message = {"name": "x", "typed_config": {"@type": kind, **config}}
    return compile_access_logs([json_format.ParseDict(message, AccessLog())], "hcm.access_log", ctx)


def test_the_default_format_is_envoys() -> None:
    (log,) = compiled(context(), FILE, path="/dev/null")
    info = stream(
        [("user-agent", "curl"), ("x-request-id", "id")], path="/p?a=1", upstream_host=host("10.0.0.1", 80)
    )
    assert log.matches is None
    assert log.render(info) == (
        '[2026-11-22T16:23:54.663Z] "GET /p?a=1 HTTP/1.1" 200 - 0 0 3 - "-" "curl" "id" "ex.com" "10.0.0.1:80"\n'
    )


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"format": "%PROTOCOL%"}, "HTTP/1.1"),
        ({"json_format": {"a": "%RESPONSE_CODE%"}}, '{"a":200}\n'),
        ({"typed_json_format": {"a": "%RESPONSE_CODE%"}}, '{"a":200}\n'),
        ({"log_format": {"json_format": {"a": "%REQ(x)%"}, "omit_empty_values": True}}, "{}\n"),
        ({"log_format": {"text_format_source": {"inline_string": "%REQ(x)%"}}}, "-"),
    ],
)
def test_each_way_to_give_a_format(config: dict[str, Any], expected: str) -> None:
    (log,) = compiled(context(), FILE, path="/dev/null", **config)
    assert log.render(stream()) == expected


def test_an_empty_format_means_the_default() -> None:
    (log,) = compiled(context(), FILE, path="/dev/null", format="")
    assert log.render(stream()).startswith("[2026-11-22T16:23:54.663Z]")


def test_standard_streams() -> None:
    paths = [compiled(context(), kind)[0].path for kind in (STDOUT, STDERR)]
    assert paths == ["/dev/stdout", "/dev/stderr"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/nonexistent/x.log", "No such file or directory"), ("/tmp", "Is a directory")],
)
def test_a_file_that_cannot_be_opened_is_refused_at_load(path: str, reason: str) -> None:
    ctx = context()
    compiled(ctx, FILE, path=path)
    assert [str(problem) for problem in ctx.problems] == [
        f"hcm.access_log[0].typed_config.path: unable to open file '{path}': {reason}"
    ]


def test_a_missing_file_is_made(tmp_path: Path) -> None:
    compiled(context(), FILE, path=str(tmp_path / "new.log"))
    assert (tmp_path / "new.log").read_bytes() == b""


def test_unknown_loggers_and_filters_are_refused() -> None:
    ctx = context()
    logs = [
        AccessLog(name="odd"),
        json_format.ParseDict(
            {
                "name": "x",
                "typed_config": {"@type": STDOUT},
                "filter": {"extension_filter": {"name": "cel"}},
            },
            AccessLog(),
        ),
    ]
    compile_access_logs(logs, "l", ctx)
    assert [problem.path for problem in ctx.problems] == ["l[0].typed_config", "l[1].filter.extension_filter"]
