"""The same pushes of a control plane through Envoy and Outrider: what is accepted, refused and served agrees."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.client import get
from tests.support.envoy import Envoy
from tests.support.mesh import cluster, endpoints, listener, mesh, route_config
from tests.support.origin import Origin
from tests.support.outrider import subject
from tests.support.proxy_process import ProxyProcess
from tests.support.xds_server import XdsServer
from xds_client.resource_types import ResourceType

CDS, EDS = ResourceType.CLUSTER, ResourceType.ENDPOINT
LDS, RDS = ResourceType.LISTENER, ResourceType.ROUTE
SETTLE_SECONDS = 10.0


@dataclass
class Side:
    server: XdsServer
    proxy: ProxyProcess
    origins: dict[str, Origin]

    def dumped(self) -> dict[str, dict[str, str]]:
        """Type → name of a dynamic resource in use → its version."""
        found: dict[str, dict[str, str]] = {"clusters": {}, "listeners": {}, "routes": {}}
        for section in json.loads(self.proxy.admin("/config_dump")[1])["configs"]:
            for one in section.get("dynamic_active_clusters", ()):
                found["clusters"][one["cluster"]["name"]] = one["version_info"]
            for one in section.get("dynamic_listeners", ()):
                if "active_state" in one:
                    found["listeners"][one["name"]] = one["active_state"]["version_info"]
            for one in section.get("dynamic_route_configs", ()):
                found["routes"][one["route_config"]["name"]] = one["version_info"]
        return found

    def refused(self) -> dict[ResourceType, int]:
        """How many responses were refused, by type."""
        return {kind: len(self.server.nacks(kind)) for kind in (CDS, EDS, LDS, RDS)}

    def answer(self, port: str, target: str) -> int:
        """The status on a listener, 0 when nobody listens."""
        try:
            return get(self.proxy.ports[port], target).status
        except (OSError, AssertionError):
            return 0

    def state(self) -> dict[str, Any]:
        probes = ("/", "/a", "/b")
        return {
            "in use": self.dumped(),
            "refused": self.refused(),
            "served": {
                (port, target): self.answer(port, target) for port in ("first", "second") for target in probes
            },
            "asked for": {kind: self.server.subscribed(kind) for kind in (EDS, RDS)},
        }


@pytest.fixture(params=[False, True], ids=["sotw", "delta"])
def sides(request: pytest.FixtureRequest) -> Iterator[list[Side]]:
    with ExitStack() as stack:
        made = []
        for kind in (Envoy, subject()):
            origins = {name: stack.enter_context(Origin()) for name in ("one", "two")}
            server, proxy = stack.enter_context(mesh(kind, delta=request.param))
            made.append(Side(server, proxy, origins))
        yield made


def push(sides: list[Side], change: Callable[[Side], None]) -> None:
    """Do the same to both control planes."""
    for side in sides:
        change(side)


def agree(sides: list[Side], expected: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait until Envoy is as the test expects and Outrider is as Envoy; that state."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        envoy, ours = (side.state() for side in sides)
        if expected(envoy) and ours == envoy:
            return envoy
        if time.monotonic() > deadline:
            assert expected(envoy), f"Envoy itself is not as expected: {envoy}"
            assert ours == envoy
        time.sleep(0.05)


def serve(side: Side) -> None:
    side.server.set(
        cluster("c"),
        endpoints("c", side.origins["one"].port),
        route_config("r", "c"),
        listener("l", side.proxy.ports["first"], "r"),
        version="1",
    )
    side.proxy.wait_ready(20)


def test_a_first_push_is_served(sides: list[Side]) -> None:
    push(sides, serve)
    state = agree(sides, lambda state: state["served"]["first", "/"] == 200)
    assert state["in use"] == {"clusters": {"c": "1"}, "listeners": {"l": "1"}, "routes": {"r": "1"}}


def test_a_partly_bad_push_of_clusters(sides: list[Side]) -> None:
    push(sides, serve)

    def change(side: Side) -> None:
        bad = cluster("bad", type="STATIC", lb_policy="CLUSTER_PROVIDED")
        side.server.set(bad, cluster("good"), endpoints("good", side.origins["two"].port), version="2")

    push(sides, change)
    state = agree(sides, lambda state: state["refused"][CDS] > 0 and "good" in state["in use"]["clusters"])
    assert "bad" not in state["in use"]["clusters"]
    push(sides, lambda side: side.server.set(cluster("bad", type="STATIC"), version="3"))
    agree(sides, lambda state: "bad" in state["in use"]["clusters"])


def test_a_cluster_that_breaks_a_rule_of_its_proto_makes_the_whole_response_bad(sides: list[Side]) -> None:
    push(sides, serve)

    def change(side: Side) -> None:
        bad = cluster("bad")
        bad.connect_timeout.FromSeconds(0)
        side.server.set(bad, cluster("good", type="STATIC"), version="2")

    push(sides, change)
    state = agree(sides, lambda state: state["refused"][CDS] > 0)
    assert state["in use"]["clusters"] == {"c": "1"}


def test_a_partly_bad_push_of_listeners(sides: list[Side]) -> None:
    push(sides, serve)

    def change(side: Side) -> None:
        bad = listener("bad", 1, "r")
        bad.ClearField("filter_chains")
        side.server.set(bad, listener("m", side.proxy.ports["second"], "r"), version="2")

    push(sides, change)
    agree(sides, lambda state: state["refused"][LDS] > 0 and state["served"]["second", "/"] == 200)


def test_a_bad_route_table_leaves_the_former_one(sides: list[Side]) -> None:
    push(sides, serve)

    def change(side: Side) -> None:
        table = route_config("r", "nowhere")
        table.virtual_hosts.add().CopyFrom(table.virtual_hosts[0])
        side.server.set(table, version="2")

    push(sides, change)
    state = agree(sides, lambda state: state["refused"][RDS] > 0)
    assert state["served"]["first", "/"] == 200
    assert state["in use"]["routes"] == {"r": "1"}
    push(sides, lambda side: side.server.set(route_config("r", {"/a": "nowhere", "/": "c"}), version="3"))
    agree(sides, lambda state: state["served"]["first", "/a"] == 503)


def test_what_is_removed_is_gone(sides: list[Side]) -> None:
    push(sides, serve)

    def change(side: Side) -> None:
        side.server.set(
            cluster("d"),
            endpoints("d", side.origins["two"].port),
            route_config("s", {"/a": "c", "/": "d"}),
            listener("m", side.proxy.ports["second"], "s"),
            version="2",
        )

    push(sides, change)
    agree(
        sides, lambda state: state["served"]["second", "/"] == 200 and state["served"]["second", "/a"] == 200
    )
    push(sides, lambda side: side.server.remove(CDS, "c"))
    agree(sides, lambda state: state["served"]["first", "/"] == 503 and state["asked for"][EDS] == {"d"})
    push(sides, lambda side: side.server.remove(LDS, "l"))
    # Connections of the listener may go on by its routes while they drain.
    agree(sides, lambda state: state["served"]["first", "/"] == 0 and state["asked for"][RDS] == {"r", "s"})


def test_a_cluster_and_a_listener_that_warm_late(sides: list[Side]) -> None:
    push(sides, serve)
    push(sides, lambda side: side.server.hold(EDS, RDS))

    def change(side: Side) -> None:
        side.server.set(
            cluster("late"),
            endpoints("late", side.origins["two"].port),
            route_config("s", "late"),
            listener("m", side.proxy.ports["second"], "s"),
            version="2",
        )

    push(sides, change)
    state = agree(sides, lambda state: state["asked for"][EDS] == {"c", "late"})
    assert state["served"]["second", "/"] == 0
    assert "late" not in state["in use"]["clusters"]
    push(sides, lambda side: side.server.release(EDS, RDS))
    agree(sides, lambda state: state["served"]["second", "/"] == 200)


def test_endpoints_that_are_emptied_and_come_back(sides: list[Side]) -> None:
    push(sides, serve)
    push(sides, lambda side: side.server.set(endpoints("c"), version="2"))
    agree(sides, lambda state: state["served"]["first", "/"] == 503)
    push(sides, lambda side: side.server.set(endpoints("c", side.origins["two"].port), version="3"))
    agree(sides, lambda state: state["served"]["first", "/"] == 200)


def test_a_cluster_of_the_bootstrap_is_not_changed(sides: list[Side]) -> None:
    push(sides, serve)
    push(sides, lambda side: side.server.set(cluster("xds", type="STATIC"), version="2"))
    state = agree(sides, lambda state: state["in use"]["clusters"].get("c") is not None)
    assert "xds" not in state["in use"]["clusters"]
    assert state["refused"][CDS] == 0


def test_a_changed_cluster_goes_on_with_the_endpoints_it_has(sides: list[Side]) -> None:
    """Envoy asks for them again, and stays with the former cluster until they come."""
    push(sides, serve)
    agree(sides, lambda state: state["served"]["first", "/"] == 200)
    push(sides, lambda side: side.server.hold(EDS))
    push(sides, lambda side: side.server.set(cluster("c", connect_timeout="2s"), version="2"))
    envoy, ours = sides
    deadline = time.monotonic() + SETTLE_SECONDS
    while ours.dumped()["clusters"] != {"c": "2"} or not warms(envoy, "c"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert envoy.dumped()["clusters"] == {"c": "1"}
    assert not warms(ours, "c")
    assert [side.answer("first", "/") for side in sides] == [200, 200]
    push(sides, lambda side: side.server.release(EDS))
    push(sides, lambda side: side.server.set(endpoints("c", side.origins["two"].port), version="2"))
    agree(sides, lambda state: state["in use"]["clusters"] == {"c": "2"})
    assert [side.answer("first", "/") for side in sides] == [200, 200]
    for side in sides:
        side.origins["two"].wait_for_requests(1)


def test_a_changed_cluster_of_other_endpoints_waits_for_them(sides: list[Side]) -> None:
    push(sides, serve)
    agree(sides, lambda state: state["served"]["first", "/"] == 200)
    push(sides, lambda side: side.server.hold(EDS))

    def change(side: Side) -> None:
        other = cluster("c")
        other.eds_cluster_config.service_name = "others"
        side.server.set(other, endpoints("others", side.origins["two"].port), version="2")

    push(sides, change)
    deadline = time.monotonic() + SETTLE_SECONDS
    while not all(warms(side, "c") for side in sides):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    state = agree(sides, lambda state: state["in use"]["clusters"] == {"c": "1"})
    assert state["served"]["first", "/"] == 200
    push(sides, lambda side: side.server.release(EDS))
    agree(sides, lambda state: state["in use"]["clusters"] == {"c": "2"})
    for side in sides:
        side.origins["two"].wait_for_requests(1)


def warms(side: Side, name: str) -> bool:
    """Whether another version of the cluster waits."""
    sections = json.loads(side.proxy.admin("/config_dump")[1])["configs"]
    return any(
        one["cluster"]["name"] == name
        for section in sections
        for one in section.get("dynamic_warming_clusters", ())
    )
