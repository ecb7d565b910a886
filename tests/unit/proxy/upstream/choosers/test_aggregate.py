"""Aggregates: which member serves."""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import Any

from envoy.extensions.clusters.aggregate.v3 import cluster_pb2

from proxy.base.address import Address
from proxy.base.runtime import Runtime
from proxy.base.stream_info import ConnectionInfo, DrainState, StreamInfo
from proxy.upstream.choosers import make_chooser
from proxy.upstream.cluster import Cluster
from tests.support.cluster_messages import compiled, endpoint
from tests.support.listeners import services


def member(name: str, *health: str) -> Cluster:
    endpoints = [endpoint(port=number, health_status=one) for number, one in enumerate(health, 1)]
    return Cluster(compiled(*endpoints, name=name), Runtime(), lambda: 0)


def aggregate(members: dict[str, Cluster], *names: str) -> Cluster:
    kind = {
        "name": "envoy.clusters.aggregate",
        "typed_config": {
            "@type": f"type.googleapis.com/{cluster_pb2.ClusterConfig.DESCRIPTOR.full_name}",
            "clusters": list(names),
        },
    }
    draws = count()
    made = Cluster(compiled(cluster_type=kind, lb_policy="CLUSTER_PROVIDED"), Runtime(), lambda: next(draws))
    lookup: Any = members
    made.choose_by_stream = make_chooser(made, lookup, services())
    return made


def served(of: Cluster, times: int = 100) -> dict[str, int]:
    """How many requests each member got."""
    info = StreamInfo(ConnectionInfo(1, Address("9.9.9.9", 1), Address("8.8.8.8", 2), 0.0, DrainState()), 0.0)
    hosts = [of.host_for(info) for _ in range(times)]
    return dict(Counter("-" if host is None else host.cluster.name for host in hosts))


def test_the_first_with_healthy_hosts_serves() -> None:
    members = {
        "a": member("a"),
        "b": member("b", "UNHEALTHY"),
        "c": member("c", "HEALTHY"),
        "d": member("d", "HEALTHY"),
    }
    assert served(aggregate(members, "gone", "a", "b", "c", "d")) == {"c": 100}


def test_a_member_that_is_half_well_shares_with_the_next() -> None:
    members = {"a": member("a", "HEALTHY", "UNHEALTHY"), "b": member("b", "HEALTHY")}
    assert served(aggregate(members, "a", "b")) == {"a": 70, "b": 30}


def test_all_serve_by_number_of_hosts_when_none_is_well() -> None:
    members = {"a": member("a", "UNHEALTHY"), "b": member("b", *["UNHEALTHY"] * 3)}
    assert served(aggregate(members, "a", "b")) == {"a": 25, "b": 75}


def test_without_hosts_there_is_nobody_and_it_counts() -> None:
    of = aggregate({"a": member("a")}, "a")
    assert served(of, 3) == {"-": 3}
    assert of.stats.upstream_cx_none_healthy == 3


def test_a_change_of_a_member_counts_at_once() -> None:
    members = {"a": member("a", "HEALTHY"), "b": member("b", "HEALTHY")}
    of = aggregate(members, "a", "b")
    assert served(of) == {"a": 100}
    members["a"].replace_hosts([])
    assert served(of) == {"b": 100}
    del members["b"]
    assert served(of) == {"-": 100}


def test_the_priorities_of_a_member_come_before_those_of_the_next() -> None:
    groups = [
        {"priority": 0, "lb_endpoints": [endpoint(port=1, health_status="UNHEALTHY")]},
        {"priority": 1, "lb_endpoints": [endpoint(port=2)]},
    ]
    first = Cluster(compiled(name="a", load_assignment={"endpoints": groups}), Runtime(), lambda: 0)
    members = {"a": first, "b": member("b", "HEALTHY")}
    assert served(aggregate(members, "a", "b")) == {"a": 100}
    info = StreamInfo(ConnectionInfo(1, Address("9.9.9.9", 1), Address("8.8.8.8", 2), 0.0, DrainState()), 0.0)
    host = aggregate(members, "a", "b").host_for(info)
    assert host is not None
    assert host.priority == 1


def test_degraded_hosts_of_the_first_come_after_healthy_ones_of_the_next() -> None:
    members = {"a": member("a", "DEGRADED"), "b": member("b", "HEALTHY")}
    assert served(aggregate(members, "a", "b")) == {"b": 100}
