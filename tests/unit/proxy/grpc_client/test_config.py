from __future__ import annotations

from typing import Any

import pytest
from envoy.config.core.v3 import grpc_service_pb2
from google.protobuf.json_format import ParseDict

from proxy.config.context import CompileContext
from proxy.grpc_client.config import GrpcServiceConfig, compile_grpc_service


def compiled(**fields: Any) -> tuple[GrpcServiceConfig, list[str]]:
    context = CompileContext()
    message = ParseDict(fields, grpc_service_pb2.GrpcService())
    made = compile_grpc_service(message, "service", context, default_timeout=0.2)
    return made, [str(problem) for problem in context.problems]


def test_a_service_is_a_cluster_with_defaults() -> None:
    made, problems = compiled(envoy_grpc={"cluster_name": "c"})
    assert not problems
    assert (made.cluster, made.authority, made.timeout) == ("c", "c", 0.2)
    assert made.max_message_bytes is None
    assert not made.skip_envoy_headers


def test_all_fields_count() -> None:
    made, problems = compiled(
        envoy_grpc={
            "cluster_name": "c",
            "authority": "a.b",
            "max_receive_message_length": 0,
            "skip_envoy_headers": True,
        },
        timeout="0s",
        initial_metadata=[{"key": "X-A", "value": "1"}],
    )
    assert not problems
    assert (made.authority, made.timeout, made.max_message_bytes) == ("a.b", 0.0, 0)
    assert made.skip_envoy_headers
    assert [(name, value.constant) for name, value in made.metadata] == [("x-a", "1")]


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"google_grpc": {"target_uri": "a:1", "stat_prefix": "s"}}, "service.google_grpc"),
        ({}, "service.envoy_grpc"),
        (
            {"envoy_grpc": {"cluster_name": "c"}, "initial_metadata": [{"key": ":path", "value": "/"}]},
            "service.initial_metadata[0].key",
        ),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], path: str) -> None:
    _, problems = compiled(**fields)
    assert [problem.split(":")[0] for problem in problems] == [path]
