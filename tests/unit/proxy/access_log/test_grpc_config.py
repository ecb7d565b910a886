"""What is made of the configs of gRPC access loggers, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry, TCPAccessLogEntry
from envoy.extensions.access_loggers.grpc.v3.als_pb2 import HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig
from google.protobuf.json_format import ParseDict

from proxy.access_log.grpc_config import compile_http_grpc, compile_tcp_grpc
from proxy.config.context import CompileContext
from tests.support.listeners import services
from tests.support.streams import context, stream

GOOD: dict[str, Any] = {
    "log_name": "log",
    "transport_api_version": "V3",
    "grpc_service": {"envoy_grpc": {"cluster_name": "als"}, "timeout": "2s"},
}


def http(common: dict[str, Any], ctx: CompileContext, **fields: Any) -> tuple[Any, ...]:
    message = ParseDict({"common_config": {**GOOD, **common}, **fields}, HttpGrpcAccessLogConfig())
    return compile_http_grpc(message.SerializeToString(), "log", ctx)


def http_entry(common: dict[str, Any], info: Any, **fields: Any) -> HTTPAccessLogEntry:
    render, _, _ = http(common, context(), **fields)
    return HTTPAccessLogEntry.FromString(render(info))


def problems(common: dict[str, Any], path: str = "log") -> list[str]:
    message = ParseDict({"common_config": common}, TcpGrpcAccessLogConfig())
    ctx = context()
    compile_tcp_grpc(message.SerializeToString(), path, ctx)
    return [problem.path for problem in ctx.problems]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({}, []),
        ({"log_name": ""}, ["log.common_config.log_name"]),
        ({"transport_api_version": "V2"}, ["log.common_config.transport_api_version"]),
        ({"buffer_flush_interval": "0s"}, ["log.common_config.buffer_flush_interval"]),
        ({"buffer_size_bytes": 0}, []),
        ({"custom_tags": [{"tag": "t"}]}, ["log.common_config.custom_tags[0]"]),
        (
            {"custom_tags": [{"literal": {"value": "v"}}]},
            ["log.common_config.custom_tags[0].tag"],
        ),
    ],
)
def test_problems_name_their_fields(change: dict[str, Any], where: list[str]) -> None:
    assert problems({**GOOD, **change}) == where


def test_a_service_is_required_and_all_problems_are_told_at_once() -> None:
    assert problems({}) == [
        "log.common_config.log_name",
        "log.common_config.transport_api_version",
        "log.common_config.grpc_service",
        "log.common_config.grpc_service.envoy_grpc",
    ]


def test_the_admin_server_has_no_workers_that_could_send() -> None:
    assert problems(GOOD, "admin.access_log[0]") == ["admin.access_log[0].common_config"]


def test_further_fields_are_asked_for_by_names_of_any_case() -> None:
    entry = http_entry(
        {},
        stream([("x-a", "1")], [("x-b", "2")]),
        additional_request_headers_to_log=["X-A", ":path", "x-none"],
        additional_response_headers_to_log=["X-B"],
    )
    assert dict(entry.request.request_headers) == {"x-a": "1", ":path": "/"}
    assert dict(entry.response.response_headers) == {"x-b": "2"}


def test_tags_come_from_words_the_environment_and_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTRIDER_TEST_TAG", "theirs")
    tags = [
        {"tag": "literal", "literal": {"value": "v"}},
        {"tag": "set", "environment": {"name": "OUTRIDER_TEST_TAG", "default_value": "d"}},
        {"tag": "unset", "environment": {"name": "OUTRIDER_TEST_NONE", "default_value": "d"}},
        {"tag": "nothing", "environment": {"name": "OUTRIDER_TEST_NONE"}},
        {"tag": "field", "request_header": {"name": "X-A", "default_value": "d"}},
        {"tag": "absent", "request_header": {"name": "x-none", "default_value": "d"}},
    ]
    entry = http_entry({"custom_tags": tags}, stream([("x-a", "1")]))
    assert dict(entry.common_properties.custom_tags) == {
        "literal": "v",
        "set": "theirs",
        "unset": "d",
        "field": "1",
        "absent": "d",
    }


def test_equal_loggers_of_one_kind_share_a_stream() -> None:
    of = services()
    of.node = None
    one, again = (http({}, context())[1](of) for _ in range(2))
    other = http({"log_name": "other"}, context())[1](of)
    tcp_message = ParseDict({"common_config": GOOD}, TcpGrpcAccessLogConfig())
    tcp = compile_tcp_grpc(tcp_message.SerializeToString(), "log", context())[1](of)
    assert one == again
    assert len({one.__self__, other.__self__, tcp.__self__}) == 3  # type: ignore[attr-defined]


def test_connections_are_told_as_such() -> None:
    message = ParseDict({"common_config": GOOD}, TcpGrpcAccessLogConfig())
    render, _, _ = compile_tcp_grpc(message.SerializeToString(), "log", context())
    entry = TCPAccessLogEntry.FromString(render(stream(request=None, bytes_received=3, bytes_sent=4)))
    sizes = entry.connection_properties
    assert (sizes.received_bytes, sizes.sent_bytes) == (3, 4)
