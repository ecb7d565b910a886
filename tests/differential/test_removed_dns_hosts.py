"""Hosts of a STRICT_DNS cluster that are resolved no longer: they stay while their checks pass, as in Envoy."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.client import get
from tests.support.configs import Json, address, bootstrap, connection_manager
from tests.support.configs import listener as listener_tree
from tests.support.dns_server import DnsServer
from tests.support.envoy import Envoy
from tests.support.origin import HELLO, Origin
from tests.support.outrider import subject
from tests.support.proxy_process import ProxyProcess

CARES = "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
A, B = "127.0.0.2", "127.0.0.3"
ROUTES = {
    "virtual_hosts": [
        {
            "name": "all",
            "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "keeps"}}],
        }
    ]
}
ILL = b"HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n"
CHECK = {
    "timeout": "1s",
    "interval": "0.05s",
    "no_traffic_interval": "0.05s",
    "unhealthy_threshold": 1,
    "healthy_threshold": 1,
    "http_health_check": {"path": "/check"},
}


def cluster(name: str, dns_port: int, port: int, kind: str = "STRICT_DNS", **fields: Any) -> Json:
    resolver = {"@type": CARES, "resolvers": [address(dns_port)]}
    endpoint = {"endpoint": {"address": address(port, "hosts.test")}}
    return {
        "name": name,
        "type": kind,
        "dns_refresh_rate": "0.1s",
        "dns_lookup_family": "V4_ONLY",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_dns_resolver_config": {"name": "envoy.network.dns_resolver.cares", "typed_config": resolver},
        "health_checks": [CHECK],
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        **fields,
    }


@dataclass
class Side:
    proxy: ProxyProcess
    server: DnsServer
    origins: dict[str, Origin]

    def resolve(self, *addresses: str) -> None:
        self.server.zone["hosts.test"] = {"A": list(addresses)}

    def hosts(self, name: str) -> dict[str, str]:
        """Health flags by address, as the admin shows them."""
        text = self.proxy.admin(f"/clusters?filter={name}")[1]
        text = text if isinstance(text, str) else text.decode()
        return dict(re.findall(rf"^{name}::([^:]+):\d+::health_flags::(.*)$", text, re.MULTILINE))

    def numbers(self, name: str) -> tuple[int, ...]:
        stats = self.proxy.stats(f"cluster.{name}.")
        wanted = ("membership_total", "membership_healthy", "health_check.healthy", "membership_change")
        return tuple(stats.get(f"cluster.{name}.{key}", 0) for key in wanted)


@pytest.fixture
def sides() -> Iterator[list[Side]]:
    with ExitStack() as stack:
        made = []
        for kind in (Envoy, subject()):
            first = stack.enter_context(Origin(host=A))
            origins = {A: first, B: stack.enter_context(Origin(host=B, port=first.port))}
            server = stack.enter_context(DnsServer({"hosts.test": {"A": [A, B]}}))
            clusters = [
                cluster("keeps", server.port, first.port),
                cluster("lets_go", server.port, first.port, ignore_health_on_host_removal=True),
                cluster("unchecked", server.port, first.port, health_checks=[]),
                cluster("logical", server.port, first.port, "LOGICAL_DNS"),
            ]
            tree = bootstrap([listener_tree([connection_manager(ROUTES)])], clusters)
            proxy = stack.enter_context(kind(tree))
            made.append(Side(proxy, server, origins))
        yield made


def come_to(sides: list[Side], look: Callable[[Side], Any], expected: Any) -> None:
    deadline = time.monotonic() + 15
    for side in sides:
        while (found := look(side)) != expected:
            assert time.monotonic() < deadline, f"{side.proxy.name} shows {found}, not {expected}"
            time.sleep(0.02)


def both_well(sides: list[Side]) -> None:
    for name in ("keeps", "lets_go"):
        come_to(sides, lambda side, name=name: side.hosts(name), {A: "healthy", B: "healthy"})


def test_a_host_stays_until_its_checks_fail(sides: list[Side]) -> None:
    both_well(sides)
    changes = [side.numbers("keeps")[3] for side in sides]
    assert changes[0] == changes[1]
    for side in sides:
        side.resolve(B)
    come_to(sides, lambda side: side.hosts("lets_go"), {B: "healthy"})
    come_to(sides, lambda side: side.hosts("unchecked"), {B: "healthy"})
    come_to(sides, lambda side: side.hosts("logical"), {B: "healthy"})
    come_to(sides, lambda side: side.hosts("keeps"), {A: "/pending_dynamic_removal", B: "healthy"})
    envoy, ours = (side.numbers("keeps") for side in sides)
    assert ours == envoy
    for side in sides:
        before = {ip: len(one.requests) for ip, one in side.origins.items()}
        assert {get(side.proxy.port, "/x").status for _ in range(6)} == {200}
        for ip, seen in before.items():
            assert any(one.raw.startswith(b"GET /x") for one in side.origins[ip].requests[seen:]), ip
        side.origins[A].script(ILL)
    come_to(sides, lambda side: side.hosts("keeps"), {B: "healthy"})
    envoy, ours = (side.numbers("keeps") for side in sides)
    assert ours == envoy


def test_a_host_that_is_back_is_like_any_other(sides: list[Side]) -> None:
    both_well(sides)
    for side in sides:
        side.resolve(B)
    come_to(sides, lambda side: side.hosts("keeps"), {A: "/pending_dynamic_removal", B: "healthy"})
    for side in sides:
        side.resolve(A, B)
    come_to(sides, lambda side: side.hosts("keeps"), {A: "healthy", B: "healthy"})
    for side in sides:
        side.origins[A].script(ILL)
    come_to(sides, lambda side: side.hosts("keeps"), {A: "/failed_active_hc", B: "healthy"})
    for side in sides:
        side.resolve(B)
    come_to(sides, lambda side: side.hosts("keeps"), {B: "healthy"})


def test_a_name_that_is_emptied_keeps_its_well_hosts(sides: list[Side]) -> None:
    both_well(sides)
    for side in sides:
        side.origins[A].script(ILL)
    come_to(sides, lambda side: side.hosts("keeps"), {A: "/failed_active_hc", B: "healthy"})
    for side in sides:
        side.resolve()
    come_to(sides, lambda side: side.hosts("lets_go"), {})
    come_to(sides, lambda side: side.hosts("keeps"), {B: "/pending_dynamic_removal"})
    for side in sides:
        assert get(side.proxy.port, "/x").status == 200
        side.origins[B].script(HELLO)
