"""Hosts that a control plane leaves out while their health checks pass: they stay until these fail, as in Envoy."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from envoy.config.endpoint.v3 import endpoint_pb2

from tests.support.client import get
from tests.support.configs import address
from tests.support.envoy import Envoy
from tests.support.mesh import cluster, listener, mesh, parsed, route_config
from tests.support.origin import HELLO, Origin
from tests.support.outrider import subject
from tests.support.proxy_process import ProxyProcess
from tests.support.xds_server import XdsServer

_ILL = b"HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n"
_CHECK = {
    "timeout": "1s",
    "interval": "0.05s",
    "no_traffic_interval": "0.05s",
    "unhealthy_threshold": 1,
    "healthy_threshold": 1,
    "http_health_check": {"path": "/check"},
}
_CALM: dict[str, Any] = {"common_lb_config": {"healthy_panic_threshold": {"value": 0}}}
#: Name of a host to what its endpoint says of its health.
Endpoints = dict[str, str]


@dataclass
class Side:
    server: XdsServer
    proxy: ProxyProcess
    origins: dict[str, Origin]

    def serve(self, **wanted: str) -> None:
        """Have endpoints for these hosts, of the health that each is said to have."""
        for name in ("keeps", "lets_go"):
            hosts = [
                {
                    "endpoint": {"address": address(self.origins[host].port)},
                    "health_status": health,
                }
                for host, health in wanted.items()
            ]
            tree = {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]}
            self.server.set(parsed(endpoint_pb2.ClusterLoadAssignment(), tree))

    def hosts(self, name: str) -> dict[str, str]:
        """Health flags by host, as the admin shows them."""
        text = self.proxy.admin(f"/clusters?filter={name}")[1]
        text = text if isinstance(text, str) else text.decode()
        found = dict(re.findall(rf"^{name}::[^:]+:(\d+)::health_flags::(.*)$", text, re.MULTILINE))
        return {host: found[str(one.port)] for host, one in self.origins.items() if str(one.port) in found}

    def numbers(self, name: str) -> dict[str, int]:
        stats = self.proxy.stats(f"cluster.{name}.")
        wanted = ("membership_total", "membership_healthy", "health_check.healthy")
        return {key: stats.get(f"cluster.{name}.{key}", 0) for key in wanted}


@pytest.fixture(scope="module")
def sides() -> Iterator[list[Side]]:
    with ExitStack() as stack:
        made = []
        for kind in (Envoy, subject()):
            origins = {host: stack.enter_context(Origin()) for host in ("a", "b")}
            server, proxy = stack.enter_context(mesh(kind))
            side = Side(server, proxy, origins)
            side.serve(a="HEALTHY", b="HEALTHY")
            server.set(
                cluster("keeps", health_checks=[_CHECK], **_CALM),
                cluster("lets_go", health_checks=[_CHECK], ignore_health_on_host_removal=True, **_CALM),
                listener("l", proxy.ports["first"], "r"),
                route_config("r", {"/lets_go": "lets_go", "/": "keeps"}),
            )
            proxy.wait_ready(20)
            # A cluster that nobody has used has no numbers here.
            for path in ("/", "/lets_go"):
                get(proxy.port, path)
            made.append(side)
        yield made


@pytest.fixture(autouse=True)
def _both_well(sides: list[Side]) -> None:
    for side in sides:
        for origin in side.origins.values():
            origin.script(HELLO)
        side.serve(a="HEALTHY", b="HEALTHY")
    for name in ("keeps", "lets_go"):
        _come_to(sides, lambda side, name=name: side.hosts(name), {"a": "healthy", "b": "healthy"})


def _come_to(sides: list[Side], look: Callable[[Side], Any], expected: Any) -> None:
    deadline = time.monotonic() + 15
    for side in sides:
        while (found := look(side)) != expected:
            assert time.monotonic() < deadline, f"{side.proxy.name} shows {found}, not {expected}"
            time.sleep(0.02)


def _same_numbers(sides: list[Side], name: str, expected: tuple[int, int, int]) -> None:
    _come_to(sides, lambda side: tuple(side.numbers(name).values()), expected)


def test_a_host_stays_until_its_checks_fail(sides: list[Side]) -> None:
    for side in sides:
        side.serve(b="HEALTHY")
    _come_to(sides, lambda side: side.hosts("lets_go"), {"b": "healthy"})
    _come_to(sides, lambda side: side.hosts("keeps"), {"a": "/pending_dynamic_removal", "b": "healthy"})
    _same_numbers(sides, "keeps", (2, 2, 2))
    _same_numbers(sides, "lets_go", (1, 1, 1))
    for side in sides:
        seen = {origin: len(side.origins[origin].requests) for origin in "ab"}
        assert {get(side.proxy.port, "/x").status for _ in range(6)} == {200}
        for origin, before in seen.items():
            asked = [one for one in side.origins[origin].requests[before:] if one.raw.startswith(b"GET /x")]
            assert asked, f"{side.proxy.name} sent nothing to {origin}"
        side.origins["a"].script(_ILL)
    _come_to(sides, lambda side: side.hosts("keeps"), {"b": "healthy"})
    _same_numbers(sides, "keeps", (1, 1, 1))


def test_a_host_that_is_back_is_like_any_other(sides: list[Side]) -> None:
    for side in sides:
        side.serve(b="HEALTHY")
    _come_to(sides, lambda side: side.hosts("keeps"), {"a": "/pending_dynamic_removal", "b": "healthy"})
    for side in sides:
        side.serve(a="HEALTHY", b="HEALTHY")
    _come_to(sides, lambda side: side.hosts("keeps"), {"a": "healthy", "b": "healthy"})
    for side in sides:
        side.origins["a"].script(_ILL)
    _come_to(sides, lambda side: side.hosts("keeps"), {"a": "/failed_active_hc", "b": "healthy"})


@pytest.mark.parametrize(
    ("health", "before", "after"),
    [
        ("UNHEALTHY", "/failed_eds_health", {}),
        ("DRAINING", "/eds_status_draining", {"a": "/pending_dynamic_removal/eds_status_draining"}),
    ],
)
def test_what_the_control_plane_said_of_a_host_before(
    sides: list[Side], health: str, before: str, after: dict[str, str]
) -> None:
    for side in sides:
        side.serve(a=health, b="HEALTHY")
    _come_to(sides, lambda side: side.hosts("keeps"), {"a": before, "b": "healthy"})
    for side in sides:
        side.serve(b="HEALTHY")
    _come_to(sides, lambda side: side.hosts("keeps"), {**after, "b": "healthy"})


def test_numbers_go_on_when_the_cluster_changes(sides: list[Side]) -> None:
    def requests(side: Side) -> int:
        return side.proxy.stats("cluster.keeps.")["cluster.keeps.upstream_rq_total"]

    def attempts(side: Side) -> int:
        return side.proxy.stats("cluster.keeps.")["cluster.keeps.health_check.attempt"]

    for side in sides:
        for _ in range(10):
            get(side.proxy.port, "/")
        before, checked = requests(side), attempts(side)
        assert before >= 10
        side.server.set(cluster("keeps", health_checks=[_CHECK], connect_timeout="7s", **_CALM))
        side.serve(a="HEALTHY", b="HEALTHY")
        _come_to([side], _timeout, "7s")
        assert requests(side) == before
        get(side.proxy.port, "/")
        _come_to([side], requests, before + 1)
        _come_to([side], lambda side, checked=checked: attempts(side) > checked, True)


def _timeout(side: Side) -> str:
    dump = json.loads(side.proxy.admin("/config_dump?resource=dynamic_active_clusters")[1])
    found = {one["cluster"]["name"]: one["cluster"].get("connect_timeout", "") for one in dump["configs"]}
    return str(found["keeps"])


def test_a_host_that_fails_its_checks_leaves_at_once(sides: list[Side]) -> None:
    for side in sides:
        side.origins["a"].script(_ILL)
    _come_to(sides, lambda side: side.hosts("keeps"), {"a": "/failed_active_hc", "b": "healthy"})
    for side in sides:
        side.serve(b="HEALTHY")
    _come_to(sides, lambda side: side.hosts("keeps"), {"b": "healthy"})
