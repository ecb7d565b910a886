from __future__ import annotations

import asyncio
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from google.protobuf import json_format

from proxy.base.errors import ConfigError
from xds_client.api import Surroundings
from xds_client.errors import ConnectError
from xds_client.hosts import Host, ServerCluster


def server_cluster(endpoints: list[dict[str, Any]], draw: float = 0.0, **fields: Any) -> ServerCluster:
    message = {
        "name": "xds",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "xds", "endpoints": endpoints},
        **fields,
    }
    cluster = json_format.ParseDict(message, cluster_pb2.Cluster())
    surroundings = Surroundings(
        base_pb2.Node(),
        None,
        {"xds": cluster}.get,
        lambda data, _: data,
        lambda: draw,
        lambda: 0.0,
    )
    return ServerCluster("xds", surroundings)


def entry(address: str, port: int = 80, **fields: Any) -> dict[str, Any]:
    place = {"socket_address": {"address": address, "port_value": port}}
    return {"endpoint": {"address": place}, **fields}


def hosts_of(cluster: ServerCluster) -> list[str]:
    async def resolve() -> list[str]:
        return [host.target for host in await cluster.hosts(asyncio.get_running_loop())]

    return asyncio.run(resolve())


def test_hosts_are_tried_by_priority_from_a_random_one_on() -> None:
    endpoints = [
        {"priority": 1, "lb_endpoints": [entry("10.0.0.9")]},
        {"lb_endpoints": [entry("10.0.0.1"), entry("::1"), entry("10.0.0.3", health_status="DRAINING")]},
        {"priority": 2, "lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": "/run/xds"}}}}]},
    ]
    assert hosts_of(server_cluster(endpoints)) == [
        "ipv4:10.0.0.1:80",
        "ipv6:[::1]:80",
        "ipv4:10.0.0.9:80",
        "unix:/run/xds",
    ]
    assert hosts_of(server_cluster(endpoints, draw=0.9))[:2] == ["ipv6:[::1]:80", "ipv4:10.0.0.1:80"]


def test_abstract_sockets() -> None:
    assert Host("@name", 0).target == "unix-abstract:name"


def test_no_healthy_host_is_an_error_of_the_attempt() -> None:
    cluster = server_cluster([{"lb_endpoints": [entry("10.0.0.1", health_status="UNHEALTHY")]}])
    with pytest.raises(ConnectError, match="no healthy host"):
        hosts_of(cluster)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"type": "EDS"}, "has the type EDS"), ({"type": "ORIGINAL_DST"}, "has the type ORIGINAL_DST")],
)
def test_a_cluster_that_cannot_lead_to_a_control_plane_is_refused(
    fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        server_cluster([{"lb_endpoints": [entry("10.0.0.1")]}], **fields)


def test_a_cluster_without_hosts_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no endpoint"):
        server_cluster([])


def test_tls_that_nobody_can_make_is_refused() -> None:
    socket = {
        "name": "tls",
        "typed_config": {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "1s"},
    }
    cluster = server_cluster([{"lb_endpoints": [entry("10.0.0.1")]}], transport_socket=socket)
    with pytest.raises(ConfigError, match="needs TLS"):
        cluster.tls()
