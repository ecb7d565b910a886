"""What of a tracing config is refused, by the name of the field."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.route.v3.route_components_pb2 import Route
from envoy.config.trace.v3.opentelemetry_pb2 import OpenTelemetryConfig
from envoy.config.trace.v3.zipkin_pb2 import ZipkinConfig
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from google.protobuf.json_format import ParseDict

from proxy.config.context import CompileContext
from proxy.tracing.config import compile_route_tracing, compile_tracing

ZIPKIN = f"type.googleapis.com/{ZipkinConfig.DESCRIPTOR.full_name}"
OTEL = f"type.googleapis.com/{OpenTelemetryConfig.DESCRIPTOR.full_name}"
GOOD = {"collector_cluster": "c", "collector_endpoint": "/", "collector_endpoint_version": "HTTP_JSON"}
TARGET = {"http_uri": {"uri": "http://h/p", "cluster": "c", "timeout": "1s"}}


def provider(type_url: str, **fields: Any) -> dict[str, Any]:
    return {"provider": {"name": "p", "typed_config": {"@type": type_url, **fields}}}


def problems(tracing: dict[str, Any]) -> list[str]:
    context = CompileContext(known_clusters={"c"})
    compile_tracing(ParseDict({"tracing": tracing}, HttpConnectionManager()), "hcm", context)
    return [f"{problem.path}: {problem.reason}" for problem in context.problems]


@pytest.mark.parametrize(
    ("tracing", "words"),
    [
        (
            provider(ZIPKIN, **{**GOOD, "collector_endpoint_version": "HTTP_PROTO"}),
            "collector_endpoint_version",
        ),
        (provider(ZIPKIN, **{**GOOD, "collector_cluster": "other"}), "unknown cluster 'other'"),
        (provider(ZIPKIN, **{**GOOD, "collector_endpoint": ""}), "collector_endpoint: is required"),
        (
            provider(OTEL, http_service={"http_uri": {"uri": "http://h/", "timeout": "1s"}}),
            "http_uri.cluster",
        ),
        (
            provider(OTEL, http_service=TARGET, grpc_service={"envoy_grpc": {"cluster_name": "c"}}),
            "cannot have both",
        ),
        ({"custom_tags": [{"tag": "t"}]}, "custom_tags[0]"),
        ({"custom_tags": [{"tag": "t", "metadata": {}}]}, "custom_tags[0].metadata.kind"),
        ({"operation": "%NONSENSE%"}, "hcm.tracing.operation"),
    ],
)
def test_what_cannot_work_is_named(tracing: dict[str, Any], words: str) -> None:
    found = problems(tracing)
    assert len(found) == 1
    assert words in found[0]


@pytest.mark.parametrize(
    "tracing", [{}, provider(ZIPKIN, **GOOD), provider(OTEL, http_service=TARGET), provider(OTEL)]
)
def test_what_works_is_taken(tracing: dict[str, Any]) -> None:
    assert problems(tracing) == []


def test_a_decorator_needs_an_operation() -> None:
    context = CompileContext()
    compile_route_tracing(ParseDict({"decorator": {}}, Route()), "route", context)
    assert [problem.path for problem in context.problems] == ["route.decorator.operation"]
