"""What health discovery makes of flags, and of what a control plane lists."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.core.v3.health_check_pb2 import HEALTHY, TIMEOUT, UNHEALTHY, HealthCheck
from envoy.service.health.v3.hds_pb2 import ClusterHealthCheck
from google.protobuf.json_format import ParseDict

from proxy.discovery.health_discovery import cluster_of, first_of_each_name, health_of, response
from proxy.upstream.health_flags import HealthFlag

FAILED, TIMED_OUT, DEGRADED = (
    HealthFlag.FAILED_ACTIVE_HC,
    HealthFlag.ACTIVE_HC_TIMEOUT,
    HealthFlag.DEGRADED_ACTIVE_HC,
)


@pytest.mark.parametrize(
    ("flags", "health"),
    [(0, HEALTHY), (FAILED, UNHEALTHY), (FAILED | TIMED_OUT, TIMEOUT), (DEGRADED, UNHEALTHY)],
)
def test_a_host_is_well_or_not_or_slow(flags: int, health: int) -> None:
    assert health_of(flags) == health


def endpoint(port: int, *, disabled: bool = False) -> dict[str, Any]:
    return {
        "address": {"socket_address": {"address": "192.0.2.1", "port_value": port}},
        "health_check_config": {"disable_active_health_check": disabled},
    }


def wanted(name: str, *places: list[dict[str, Any]]) -> Any:
    listed = [{"locality": {"zone": f"z{number}"}, "endpoints": one} for number, one in enumerate(places)]
    return ParseDict({"cluster_name": name, "locality_endpoints": listed}, ClusterHealthCheck())


def test_a_response_lists_each_host_twice_and_leaves_out_those_that_nobody_checks() -> None:
    one = wanted("a", [endpoint(1), endpoint(2, disabled=True)], [endpoint(3)])
    told = response([(one, [0, FAILED, FAILED]), (wanted("b"), [])])
    flat = [(at.endpoint.address.socket_address.port_value, at.health_status) for at in told.endpoints_health]
    assert flat == [(1, HEALTHY), (3, UNHEALTHY)]
    by_cluster = [
        (cluster.cluster_name, [(place.locality.zone, len(place.endpoints_health)) for place in found])
        for cluster in told.cluster_endpoints_health
        for found in [cluster.locality_endpoints_health]
    ]
    assert by_cluster == [("a", [("z0", 1), ("z1", 1)]), ("b", [])]


def test_a_name_counts_once_and_no_name_is_no_name() -> None:
    repeated: list[str] = []
    found = first_of_each_name([wanted(name) for name in ("a", "", "a", "b", "")], repeated.append)
    assert [one.cluster_name for one in found] == ["a", "", "b", ""]
    assert repeated == ["a"]


def test_the_cluster_has_what_its_checks_need() -> None:
    one = wanted("a", [endpoint(1)], [endpoint(2)])
    one.transport_socket_matches.add(name="tls")
    one.upstream_bind_config.source_address.address = "192.0.2.9"
    check = HealthCheck()
    check.timeout.seconds = 3
    cluster = cluster_of(one, check)
    assert cluster.health_checks[0] == check
    assert [match.name for match in cluster.transport_socket_matches] == ["tls"]
    assert cluster.upstream_bind_config == one.upstream_bind_config
    assert [place.locality.zone for place in cluster.load_assignment.endpoints] == ["z0", "z1"]
    assert not cluster_of(one, None).health_checks
