"""Aggregates: which member serves."""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import Any

import pytest
from envoy.extensions.clusters.aggregate.v3 import cluster_pb2

from proxy.base.address import Address
from proxy.base.runtime import Runtime
from proxy.base.stream_info import ConnectionInfo, DrainState, StreamInfo
from proxy.upstream.choosers import make_chooser
from proxy.upstream.choosers.aggregate import bounds, load
from proxy.upstream.cluster import Cluster
from proxy.upstream.host import Health, Host
from proxy.upstream.host_set import HostSet
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


@pytest.mark.parametrize(
    ("loads", "expected"),
    [
        ([(100, 0, 1)], [100]),
        ([(50, 0, 1), (30, 0, 1)], [63, 100]),
        ([(0, 50, 1), (100, 0, 1)], [0, 100]),
        ([(40, 60, 1), (20, 0, 1)], [80, 100]),
        ([(0, 0, 1), (0, 0, 2)], [34, 100]),
        ([], []),
    ],
)
def test_shares_of_the_load(loads: list[tuple[int, int, int]], expected: list[int]) -> None:
    assert bounds(loads) == expected


def test_draining_hosts_do_not_count_as_unwell() -> None:
    kinds = (Health.HEALTHY, Health.DRAINING, Health.DEGRADED)
    hosts = [Host(Address("1.2.3.4", number), health=health) for number, health in enumerate(kinds)]
    assert load(HostSet(hosts)) == (70, 70, 3)
    assert load(HostSet(hosts[1:2])) == (0, 0, 1)
