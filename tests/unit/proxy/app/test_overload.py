from __future__ import annotations

from typing import Any

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.extensions.resource_monitors.downstream_connections.v3 import downstream_connections_pb2
from google.protobuf import json_format

from proxy.app.overload import overload_layers
from proxy.app.runtime_layers import Layer, merge
from proxy.config.context import CompileContext
from proxy.downstream.connection import GLOBAL_LIMIT_KEY

TYPE = downstream_connections_pb2.DownstreamConnectionsConfig.DESCRIPTOR.full_name


def layers(*limits: int) -> tuple[tuple[Layer, ...], list[str]]:
    monitors: list[dict[str, Any]] = [
        {
            "name": "envoy.resource_monitors.global_downstream_max_connections",
            "typed_config": {
                "@type": f"type.googleapis.com/{TYPE}",
                "max_active_downstream_connections": str(limit),
            },
        }
        for limit in limits
    ]
    bootstrap = bootstrap_pb2.Bootstrap()
    json_format.ParseDict({"overload_manager": {"resource_monitors": monitors}}, bootstrap)
    context = CompileContext()
    return overload_layers(bootstrap, context), [str(problem) for problem in context.problems]


def test_the_limit_on_connections_outranks_that_of_the_runtime() -> None:
    found, problems = layers(5)
    assert problems == []
    assert merge((Layer("static", {GLOBAL_LIMIT_KEY: "9"}), *found), {}) == {GLOBAL_LIMIT_KEY: "5"}


def test_without_a_monitor_there_is_no_limit_and_with_two_there_is_a_problem() -> None:
    assert layers() == ((), [])
    assert "Duplicate resource monitor" in layers(1, 2)[1][0]
