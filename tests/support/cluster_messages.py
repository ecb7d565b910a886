"""Cluster messages for tests."""

from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf import json_format

from proxy.config.context import CompileContext
from proxy.upstream.cluster_compile import compile_cluster


def endpoint(address: str = "127.0.0.1", port: int = 80, **fields: Any) -> dict[str, Any]:
    return {
        "endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}},
        **fields,
    }


def cluster(*endpoints: dict[str, Any], **fields: Any) -> Any:
    body: dict[str, Any] = {"name": "c", **fields}
    if endpoints:
        body["load_assignment"] = {"cluster_name": "c", "endpoints": [{"lb_endpoints": list(endpoints)}]}
    return json_format.ParseDict(body, cluster_pb2.Cluster())


def compiled(*endpoints: dict[str, Any], **fields: Any) -> Any:
    """The config of a cluster without problems."""
    ctx = CompileContext()
    config = compile_cluster(cluster(*endpoints, **fields), "c", ctx)
    assert ctx.problems == []
    return config


def problems(*endpoints: dict[str, Any], **fields: Any) -> list[tuple[str, str]]:
    """What is wrong with a cluster, as (path, reason) pairs."""
    ctx = CompileContext()
    compile_cluster(cluster(*endpoints, **fields), "c", ctx)
    return [(problem.path, problem.reason) for problem in ctx.problems]
