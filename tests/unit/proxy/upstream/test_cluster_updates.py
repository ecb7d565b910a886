"""Long lists of endpoints are taken in slices; what serves meanwhile are the former hosts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from envoy.config.endpoint.v3 import endpoint_pb2

from proxy.base.runtime import Runtime
from proxy.base.steps import Slices
from proxy.config.context import CompileContext
from proxy.config.resources import ResourceStore
from proxy.upstream.cluster import Cluster, compile_cluster
from proxy.upstream.health_flags import HealthFlag, HostKey
from proxy.upstream.host_set import HostSet, PrioritySet
from tests.support.cluster_messages import cluster as cluster_message

MANY = 300


class Loop:
    """Turns by hand."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []

    def call_soon(self, function: Callable[[], None]) -> None:
        self.due.append(function)

    def turn(self) -> None:
        due, self.due = self.due, []
        for function in due:
            function()

    def run(self) -> int:
        turns = 0
        while self.due:
            self.turn()
            turns += 1
        return turns


class Updated:
    """A cluster with discovered endpoints, which hands them out in slices unless `at_once`."""

    def __init__(self, *, at_once: bool = False, **fields: Any) -> None:
        self.loop = Loop()
        self.store = ResourceStore()
        eds = {"type": "EDS", "eds_cluster_config": {"eds_config": {"ads": {}}}}
        self.config = compile_cluster(
            cluster_message(**eds, **fields), "", CompileContext(resources=self.store)
        )
        self.drained: list[str] = []
        self.flags: dict[HostKey, int] = {}
        self.cluster = Cluster(
            self.config,
            Runtime({}),
            lambda: 0,
            host_flags=self.flags,
            on_host_removed=lambda host: self.drained.append(str(host.address)),
        )
        self.push(*range(1, 5))
        slices = None if at_once else Slices(self.loop.call_soon)
        self.cluster.services = SimpleNamespace(loop=self.loop, slices=slices)
        self.cluster.start()

    def push(self, *ports: int, weight: Callable[[int], int] = lambda _port: 1, **policy: Any) -> None:
        message = endpoint_pb2.ClusterLoadAssignment(cluster_name="c")
        for port in ports:
            group = message.endpoints[0] if message.endpoints else message.endpoints.add()
            endpoint = group.lb_endpoints.add()
            endpoint.load_balancing_weight.value = weight(port)
            address = endpoint.endpoint.address.socket_address
            address.address, address.port_value = "10.0.0.1", port
        for name, value in policy.items():
            getattr(message.policy, name).value = value
        assert self.config.assignment is not None
        self.store.update(self.config.assignment.key, message.SerializeToString())

    def ports(self) -> list[int]:
        return [host.address.port for host in self.cluster.hosts]


def test_a_short_list_is_in_use_at_once() -> None:
    made = Updated()
    made.push(7, 8)
    assert made.ports() == [7, 8]


def test_a_long_list_takes_turns_in_which_the_former_hosts_serve() -> None:
    made = Updated()
    made.push(*range(1, MANY))
    assert made.cluster.updating
    chosen: set[int] = set()
    while made.cluster.updating:
        host = made.cluster.choose_host(None)
        assert host is not None
        chosen.add(host.address.port)
        made.loop.turn()
    assert chosen <= {1, 2, 3, 4}
    assert made.ports() == list(range(1, MANY))


def test_hosts_that_stay_keep_what_they_have() -> None:
    made = Updated()
    kept = {host.address.port: host for host in made.cluster.hosts}
    made.push(*range(3, MANY), weight=lambda _port: 5)
    made.loop.run()
    now = {host.address.port: host for host in made.cluster.hosts}
    assert now[3] is kept[3]
    assert now[3].weight == 5
    assert kept[1].removed
    assert not kept[3].removed
    assert sorted(made.drained) == ["10.0.0.1:1", "10.0.0.1:2"]
    assert all(host.cluster is made.cluster for host in made.cluster.hosts)


def test_the_latest_of_two_lists_wins() -> None:
    made = Updated()
    made.push(*range(1000, 1000 + MANY))
    made.loop.turn()
    made.push(*range(2000, 2000 + MANY))
    made.loop.run()
    assert made.ports() == list(range(2000, 2000 + MANY))


def test_a_short_list_ends_a_long_one_that_is_under_way() -> None:
    made = Updated()
    made.push(*range(1000, 1000 + MANY))
    made.loop.turn()
    made.push(9)
    made.loop.run()
    assert made.ports() == [9]


def test_health_that_the_controller_tells_of_meanwhile_counts() -> None:
    for turns in (0, 8, 14, 20):
        made = Updated()
        made.push(*range(1, MANY))
        for _ in range(turns):
            made.loop.turn()
        told = {
            ("10.0.0.1:2", 0): HealthFlag.FAILED_ACTIVE_HC,
            ("10.0.0.1:200", 0): HealthFlag.FAILED_ACTIVE_HC,
        }
        made.flags.update(told)
        made.cluster.flags_changed(told)
        made.loop.run()
        (level,) = made.cluster.priority_set.sets
        assert {2, 200}.isdisjoint(host.address.port for host in level.healthy)
        assert len(level.healthy) == MANY - 3


def test_a_cluster_that_goes_meanwhile_takes_nothing() -> None:
    made = Updated()
    made.push(*range(1000, 1000 + MANY))
    made.cluster.close()
    made.loop.run()
    assert made.ports() == [1, 2, 3, 4]
    assert len(made.drained) == 4


def test_all_of_many_hosts_that_go_are_drained() -> None:
    made = Updated()
    made.push(*range(1000, 1000 + MANY))
    made.loop.run()
    gone = list(made.cluster.hosts)
    made.push(*range(2000, 2000 + MANY))
    made.loop.run()
    assert all(host.removed for host in gone)
    assert len(made.drained) == 4 + MANY


def test_the_first_of_two_endpoints_with_one_address_counts() -> None:
    made = Updated()
    first, *rest = range(1, MANY)
    weights = iter([3, 9])
    made.push(first, first, *rest, weight=lambda port: next(weights) if port == first else 1)
    made.loop.run()
    assert made.ports() == [first, *rest]
    assert made.cluster.hosts[0].weight == 3


def test_the_policy_comes_with_the_hosts() -> None:
    made = Updated()
    made.push(*range(1, MANY), overprovisioning_factor=200)
    assert made.cluster.assignment_policy.overprovisioning_factor == 140
    made.loop.run()
    assert made.cluster.assignment_policy.overprovisioning_factor == 200


@pytest.mark.parametrize("policy", ["ROUND_ROBIN", "LEAST_REQUEST", "RANDOM", "RING_HASH"])
def test_slices_make_no_difference_to_who_is_picked(policy: str) -> None:
    sides = [Updated(lb_policy=policy), Updated(lb_policy=policy, at_once=True)]
    picked = []
    for made in sides:
        made.push(*range(1, MANY), weight=lambda port: 1 + port % 4)
        made.loop.run()
        made.push(*range(5, MANY + 5), weight=lambda port: 1 + port % 3)
        made.loop.run()
        picked.append([str(made.cluster.choose_host(number)) for number in range(2 * MANY)])
    assert picked[0] == picked[1]
    if policy == "ROUND_ROBIN":
        assert max(Counter(picked[0]).values()) <= 4


def test_a_set_that_is_made_in_steps_is_the_same() -> None:
    made = Updated()
    made.push(*range(1, MANY))
    made.loop.run()
    whole = made.cluster.priority_set
    for index, host in enumerate(whole.hosts):
        host.health = type(host.health)(index % 6)
        host.priority = index % 2
        host.locality = type(host.locality)("r", f"z{index % 3}")
    plain = PrioritySet(whole.hosts)
    assert [one.localities.local for one in plain.sets] == [False, False]
    steps = PrioritySet.in_steps(whole.hosts, whole.sets[0].policy, None, plain)
    try:
        while True:
            next(steps)
    except StopIteration as stop:
        stepped = stop.value

    def told(one: HostSet) -> Any:
        places = one.localities
        groups = (places.hosts, places.healthy, places.degraded, places.excluded)
        return (one.hosts, one.healthy, one.degraded, one.excluded, places.names, places.weights, *groups)

    assert list(map(told, stepped.sets)) == list(map(told, plain.sets))
