"""Cluster messages for tests."""

from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf import json_format

from proxy.config.context import CompileContext
from proxy.upstream.cluster_compile import compile_cluster


def endpoint(address="127.0.0.1", port=80, **fields):
    return {
        "endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}},
        **fields,
    }


def cluster(*endpoints, **fields):
    body = {"name": "c", **fields}
    if endpoints:
        body["load_assignment"] = {"cluster_name": "c", "endpoints": [{"lb_endpoints": list(endpoints)}]}
    return json_format.ParseDict(body, cluster_pb2.Cluster())


def compiled(*endpoints, **fields):
    """The config of a cluster without problems."""
    ctx = CompileContext()
    config = compile_cluster(cluster(*endpoints, **fields), "c", ctx)
    assert ctx.problems == []
    return config


def problems(*endpoints, **fields):
    """What is wrong with a cluster, as (path, reason) pairs."""
    ctx = CompileContext()
    compile_cluster(cluster(*endpoints, **fields), "c", ctx)
    return [(problem.path, problem.reason) for problem in ctx.problems]
