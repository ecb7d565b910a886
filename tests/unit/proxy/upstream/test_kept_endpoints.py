"""Endpoints that are left out, and stay while their hosts are well."""

from envoy.config.endpoint.v3 import endpoint_pb2
from google.protobuf import json_format

from proxy.upstream.kept_endpoints import keys_of, with_kept


def assignment(*groups):
    """Each group: priority, zone, ports."""
    tree = {
        "cluster_name": "c",
        "endpoints": [
            {
                "priority": priority,
                "locality": {"zone": zone},
                "load_balancing_weight": 7,
                "lb_endpoints": [
                    {
                        "endpoint": {
                            "address": {"socket_address": {"address": "10.0.0.1", "port_value": abs(port)}}
                        },
                        "health_status": "UNHEALTHY" if port < 0 else "HEALTHY",
                    }
                    for port in ports
                ],
            }
            for priority, zone, ports in groups
        ],
    }
    return json_format.ParseDict(tree, endpoint_pb2.ClusterLoadAssignment()).SerializeToString()


def kept(value, former, stays=lambda _key: True):
    hosts = keys_of(endpoint_pb2.ClusterLoadAssignment.FromString(former))
    message = endpoint_pb2.ClusterLoadAssignment.FromString(with_kept(value, former, hosts, stays))
    return [
        (
            group.priority,
            group.locality.zone,
            group.load_balancing_weight.value,
            [one.endpoint.address.socket_address.port_value for one in group.lb_endpoints],
        )
        for group in message.endpoints
    ]


def test_what_is_left_out_stays_in_its_locality():
    former = assignment((0, "a", [1, 2]), (1, "a", [3]), (0, "b", [4]))
    value = assignment((0, "a", [2]), (1, "a", []))
    assert kept(value, former) == [(0, "a", 7, [2, 1]), (1, "a", 7, [3]), (0, "b", 0, [4])]


def test_only_hosts_that_are_well_stay():
    former = assignment((0, "a", [1, -2, 3]))
    assert kept(assignment(), former, lambda key: key != ("10.0.0.1:3", 0)) == [(0, "a", 0, [1])]


def test_an_address_that_has_another_priority_now_leaves_the_former():
    value = assignment((1, "a", [1]))
    assert kept(value, assignment((0, "a", [1]))) == [(1, "a", 7, [1])]


def test_with_nothing_to_keep_the_bytes_are_the_same():
    value = assignment((0, "a", [1]))
    hosts = [("10.0.0.1:1", 0), ("10.0.0.1:2", 0)]
    assert with_kept(value, assignment((0, "a", [1, -2])), hosts, lambda _key: True) is value
    assert keys_of(endpoint_pb2.ClusterLoadAssignment.FromString(value)) == {("10.0.0.1:1", 0)}
