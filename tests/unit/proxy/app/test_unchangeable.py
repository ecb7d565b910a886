from __future__ import annotations

from typing import Any

import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.metrics.v3 import metrics_service_pb2
from google.protobuf import json_format

from proxy.app.unchangeable import Current, control_clusters, unchangeable

BASE: dict[str, Any] = {
    "node": {"id": "a", "locality": {"zone": "z"}},
    "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}}},
    "dynamic_resources": {
        "ads_config": {
            "api_type": "GRPC",
            "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
        },
        "cds_config": {"api_config_source": {"api_type": "REST", "cluster_names": ["rest"]}},
    },
}


def message(tree: dict[str, Any]) -> Any:
    return json_format.ParseDict(tree, bootstrap_pb2.Bootstrap())


def paths(after: dict[str, Any], clusters: dict[str, bytes], before: dict[str, Any] = BASE) -> list[str]:
    current = Current(message(before).SerializeToString(), {"xds": b"1", "rest": b"1", "web": b"1"})
    return [one.path for one in unchangeable(current, message(after), list(clusters.items()))]


SAME = {"xds": b"1", "rest": b"1"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"node": {"id": "b", "locality": {"zone": "z"}}}, ["node.id"]),
        ({"node": {"id": "b", "locality": {"zone": "y"}}}, ["node.id", "node.locality.zone"]),
        ({"admin": {}}, ["admin.address"]),
        ({"flags_path": "/x"}, ["flags_path"]),
        ({"layered_runtime": {"layers": [{"name": "a", "admin_layer": {}}]}}, []),
        ({"layered_runtime": {"layers": [{"name": "a", "rtds_layer": {"name": "b"}}]}}, ["layered_runtime"]),
    ],
)
def test_every_field_that_needs_a_restart_is_named(change: dict[str, Any], expected: list[str]) -> None:
    assert paths({**BASE, **change}, {**SAME, "new": b"2"}) == expected


def test_clusters_may_change_unless_they_lead_to_the_control_plane() -> None:
    assert paths(BASE, {**SAME, "web": b"2"}) == []
    assert paths(BASE, {"web": b"1", "rest": b"1", "xds": b"2"}) == ["static_resources.clusters[2]"]
    assert paths(BASE, {"xds": b"1"}) == ["static_resources.clusters"]


def test_all_clusters_of_control_planes_are_found() -> None:
    assert control_clusters(message(BASE)) == {"xds", "rest"}


def test_the_cluster_of_a_metrics_service_cannot_change() -> None:
    sink = metrics_service_pb2.MetricsServiceConfig()
    sink.grpc_service.envoy_grpc.cluster_name = "web"
    bootstrap = message(BASE)
    bootstrap.stats_sinks.add().typed_config.Pack(sink)
    current = Current(bootstrap.SerializeToString(), {"xds": b"1", "rest": b"1", "web": b"1"})
    (problem,) = unchangeable(current, bootstrap, [("web", b"2"), ("xds", b"1"), ("rest", b"1")])
    assert problem.path == "static_resources.clusters[0]"
