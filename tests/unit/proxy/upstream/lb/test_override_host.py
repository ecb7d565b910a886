"""Hosts that are named in metadata, by requests and by connections."""

from __future__ import annotations

from typing import Any

import envoy.extensions.load_balancing_policies.override_host.v3.override_host_pb2
import envoy.extensions.load_balancing_policies.round_robin.v3.round_robin_pb2  # noqa: F401
import pytest

from proxy.base.address import Address
from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.runtime import Runtime
from proxy.base.stream_info import ConnectionInfo, DrainState, StreamInfo
from proxy.upstream.cluster import Cluster
from tests.support.cluster_messages import compiled, endpoint

PREFIX = "type.googleapis.com/envoy.extensions.load_balancing_policies."


def policies(**config: Any) -> dict[str, Any]:
    return {"policies": [{"typed_extension_config": {"name": "p", "typed_config": config}}]}


def cluster(*path: str) -> Cluster:
    config = {
        "@type": f"{PREFIX}override_host.v3.OverrideHost",
        "override_host_sources": [{"metadata": {"key": "k", "path": [{"key": key} for key in path]}}],
        "fallback_policy": policies(**{"@type": f"{PREFIX}round_robin.v3.RoundRobin"}),
    }
    endpoints = [endpoint(port=port) for port in (1, 2, 3)]
    made = compiled(*endpoints, load_balancing_policy=policies(**config))
    return Cluster(made, Runtime(), lambda: 0)


def connection(metadata: Any = None) -> ConnectionInfo:
    info = ConnectionInfo(1, Address("192.0.2.7", 1), Address("10.0.0.1", 80), 0.0, DrainState())
    if metadata is not None:
        info.dynamic_metadata = metadata
    return info


def request(metadata: Any) -> StreamInfo:
    info = StreamInfo(connection({"k": {"p": "127.0.0.1:1"}}), 0.0)
    info.request = RequestHead("GET", "/", "a", HeaderMap(), "http", "HTTP/1.1")
    info.dynamic_metadata = metadata
    return info


def ports(of: Cluster, info: StreamInfo, times: int) -> list[int]:
    hosts = [of.host_for(info) for _ in range(times)]
    return [host.address.port for host in hosts if host is not None]


def test_each_choice_takes_the_next_and_then_the_balancer_decides() -> None:
    info = request({"k": {"p": "127.0.0.1:3,127.0.0.1:9,127.0.0.1:2"}})
    assert ports(cluster("p"), info, 4)[:2] == [3, 2]
    assert sorted(ports(cluster("p"), info, 3)) == [1, 2, 3]


def test_a_request_does_not_see_what_its_connection_knows() -> None:
    assert sorted(ports(cluster("p"), request(None), 3)) == [1, 2, 3]


def test_a_connection_without_requests_names_hosts_in_its_own_metadata() -> None:
    info = StreamInfo(connection({"k": {"p": {"q": "127.0.0.1:2"}}}), 0.0)
    assert ports(cluster("p", "q"), info, 1) == [2]


@pytest.mark.parametrize(
    "metadata", [{}, {"k": {}}, {"k": {"p": 7}}, {"k": {"p": ["127.0.0.1:2"]}}, {"k": "x"}]
)
def test_what_is_no_string_names_nobody(metadata: Any) -> None:
    assert sorted(ports(cluster("p"), request(metadata), 3)) == [1, 2, 3]
