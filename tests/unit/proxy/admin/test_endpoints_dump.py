from __future__ import annotations

from envoy.config.endpoint.v3 import endpoint_pb2

from proxy.admin.endpoints_dump import endpoint_configs
from proxy.admin.state import ClusterStatus, HostStatus
from proxy.base.address import Address


def test_hosts_are_grouped_by_priority_and_locality() -> None:
    hosts = [
        HostStatus(Address("10.0.0.1", 80), region="r", weight=2),
        HostStatus(Address("10.0.0.2", 80), region="s", health_flags=("/failed_active_hc",), canary=True),
        HostStatus(Address("10.0.0.3", 80), region="r"),
        HostStatus(Address("10.0.0.4", 80), region="r", priority=1),
    ]
    (resource,) = endpoint_configs([ClusterStatus("c", hosts, eds_service_name="e", added_via_api=True)])
    assert (resource.name, resource.dynamic) == ("e", True)
    assignment = endpoint_pb2.ClusterLoadAssignment.FromString(resource.serialized)
    groups = [
        (group.locality.region, group.priority, len(group.lb_endpoints)) for group in assignment.endpoints
    ]
    assert groups == [("r", 0, 2), ("s", 0, 1), ("r", 1, 1)]
    assert assignment.endpoints[0].lb_endpoints[0].load_balancing_weight.value == 2
    assert [group.lb_endpoints[0].health_status for group in assignment.endpoints] == [1, 2, 1]
