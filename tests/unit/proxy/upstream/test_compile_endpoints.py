"""Endpoints that are accepted and refused."""

import pytest

from proxy.base.address import Address
from proxy.upstream.host import Health
from proxy.upstream.host_set import AssignmentPolicy
from tests.support.cluster_messages import compiled, endpoint, problems

ADDRESS = "c.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address"


def test_all_facts_of_an_endpoint_are_kept():
    config = compiled(
        load_assignment={
            "endpoints": [
                {
                    "locality": {"region": "r", "zone": "z", "sub_zone": "s"},
                    "priority": 2,
                    "lb_endpoints": [
                        endpoint(
                            port=81,
                            health_status="DRAINING",
                            load_balancing_weight=7,
                            metadata={"filter_metadata": {"envoy.lb": {"canary": True}}},
                        )
                    ],
                }
            ]
        }
    )
    (one,) = config.endpoints
    assert one.address == Address("127.0.0.1", 81)
    assert (one.weight, one.priority, one.health, one.canary) == (7, 2, Health.DRAINING, True)
    assert (one.locality.region, one.locality.zone, one.locality.sub_zone) == ("r", "z", "s")
    host = one.host(one.address, "name")
    assert (host.weight, host.priority, host.hostname, host.canary) == (7, 2, "name", True)


def test_ipv6_is_written_the_short_way():
    assert compiled(endpoint("0:0:0:0:0:0:0:1")).endpoints[0].address.text == "[::1]:80"


def test_unix_sockets():
    pipe = {"endpoint": {"address": {"pipe": {"path": "/run/a.sock"}}}}
    assert compiled(pipe).endpoints[0].address.path == "/run/a.sock"
    ((path, _),) = problems(pipe, type="STRICT_DNS")
    assert path == f"{ADDRESS}.pipe"


@pytest.mark.parametrize("name", ["example.com", "127.1", "1.2.3.4.5", ""])
def test_a_name_in_a_static_cluster_is_refused_with_the_remedy(name):
    ((path, reason),) = problems(endpoint(name))
    assert path == f"{ADDRESS}.socket_address.address"
    assert reason.startswith(f"malformed IP address: {name}. Consider setting resolver_name")


def test_dns_clusters_keep_names():
    assert compiled(endpoint("example.com"), type="STRICT_DNS").endpoints[0].address.ip == "example.com"


def test_a_logical_cluster_has_exactly_one_endpoint():
    wanted = "LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint"
    both = [endpoint("a.test"), endpoint("b.test")]
    assert problems(*both, type="LOGICAL_DNS") == [("c.load_assignment", wanted)]
    assert problems(type="LOGICAL_DNS") == [("c.load_assignment", wanted)]


def test_the_sum_of_weights_is_limited():
    heavy = {"load_balancing_weight": 2**32 - 1}
    ((path, _),) = problems(endpoint(port=1, **heavy), endpoint(port=2, **heavy))
    assert path == "c.load_assignment.endpoints[0]"


@pytest.mark.parametrize(
    ("socket", "field"),
    [
        ({"address": "1.2.3.4", "port_value": 1, "resolver_name": "x"}, "resolver_name"),
        ({"address": "1.2.3.4", "named_port": "http"}, "named_port"),
    ],
)
def test_kinds_of_addresses_that_do_not_exist_here(socket, field):
    ((path, _),) = problems({"endpoint": {"address": {"socket_address": socket}}})
    assert path == f"{ADDRESS}.socket_address.{field}"


def test_an_endpoint_without_an_address_is_refused():
    ((path, reason),) = problems({"endpoint": {}})
    assert (path, reason) == (ADDRESS, "value is required")
    ((path, _),) = problems({"endpoint_name": "x"})
    assert path.endswith("lb_endpoints[0]")


def test_an_abstract_socket_has_no_mode():
    pipe = {"endpoint": {"address": {"pipe": {"path": "@a", "mode": 7}}}}
    assert problems(pipe) == [(f"{ADDRESS}.pipe.mode", "Cannot set mode for Abstract AF_UNIX sockets")]


def policy(**fields):
    return {"load_assignment": {"cluster_name": "c", "policy": fields}}


def drop(numerator, denominator="HUNDRED"):
    return {"category": "c", "drop_percentage": {"numerator": numerator, "denominator": denominator}}


def test_the_policy_of_an_assignment():
    assert compiled().assignment_policy == AssignmentPolicy(140, False, 0.0)
    fields = {"overprovisioning_factor": 100, "weighted_priority_health": True}
    config = compiled(**policy(**fields, drop_overloads=[drop(2500, "TEN_THOUSAND")]))
    assert config.assignment_policy == AssignmentPolicy(100, True, 0.25, "c")


@pytest.mark.parametrize(
    ("drops", "field"),
    [([drop(1), drop(1)], "drop_overloads"), ([drop(101)], "drop_overloads[0].drop_percentage")],
)
def test_what_cannot_be_dropped(drops, field):
    assert [path for path, _ in problems(**policy(drop_overloads=drops))] == [
        f"c.load_assignment.policy.{field}"
    ]


def test_localities_weigh_no_more_than_fits():
    groups = [{"load_balancing_weight": 2**31, "lb_endpoints": [endpoint(port=port)]} for port in (1, 2)]
    ((path, _),) = problems(load_assignment={"cluster_name": "c", "endpoints": groups})
    assert path == "c.load_assignment.endpoints[1].load_balancing_weight"
    groups[1]["priority"] = 1
    assert [one.locality_weight for one in compiled(load_assignment={"endpoints": groups}).endpoints] == [
        2**31
    ] * 2
