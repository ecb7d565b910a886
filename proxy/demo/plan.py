"""Which processes the demo consists of and where they listen. Pure: files in, plan out.

The configs are those of examples/front-proxy, with ports from 8000; another first port moves every port of
every config by the same distance.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml
from msgspec import Struct

CONFIG_DIRECTORY: Final = Path(__file__).parent / "front_proxy"
FIRST_PORT: Final = 8000
# The distance from the first port to the last of service 2.
PORT_SPAN: Final = 24


class ProxyPlan(Struct, frozen=True):
    """One proxy: its config with the ports moved, and the ports that it will bind."""

    name: str
    config: dict[str, Any]
    port: int
    admin_port: int


class ReplicaPlan(Struct, frozen=True):
    """One replica of a service; `number` counts from 1."""

    service: int
    number: int
    port: int

    @property
    def name(self) -> str:
        """As it is called in messages."""
        return f"service{self.service} replica {self.number}"


class DemoPlan(Struct, frozen=True):
    """Everything that runs; `proxies[0]` is the edge."""

    proxies: tuple[ProxyPlan, ...]
    replicas: tuple[ReplicaPlan, ...]

    @property
    def edge(self) -> ProxyPlan:
        """The proxy that the user talks to."""
        return self.proxies[0]

    def bound(self) -> dict[int, str]:
        """Every port that must be free → what will listen there."""
        ports = {proxy.port: f"{proxy.name} proxy" for proxy in self.proxies}
        ports |= {proxy.admin_port: f"admin of the {proxy.name} proxy" for proxy in self.proxies}
        return ports | {replica.port: replica.name for replica in self.replicas}


def make_plan(first_port: int = FIRST_PORT, directory: Path = CONFIG_DIRECTORY) -> DemoPlan:
    """Read the configs and move their ports so that the edge listens on `first_port`."""
    proxies = []
    replicas = []
    for name in ("edge", "service1", "service2"):
        config = yaml.safe_load((directory / f"{name}.yaml").read_text(encoding="utf-8"))
        _move_ports(config, first_port - FIRST_PORT)
        listener = config["static_resources"]["listeners"][0]
        proxies.append(ProxyPlan(name, config, _port(listener), _port(config["admin"])))
        if name != "edge":
            hosts = config["static_resources"]["clusters"][0]["load_assignment"]["endpoints"][0][
                "lb_endpoints"
            ]
            service = int(name.removeprefix("service"))
            replicas += [
                ReplicaPlan(service, number, _port(host["endpoint"]))
                for number, host in enumerate(hosts, start=1)
            ]
    return DemoPlan(tuple(proxies), tuple(replicas))


def _port(message: dict[str, Any]) -> int:
    port: int = message["address"]["socket_address"]["port_value"]
    return port


def _move_ports(node: Any, distance: int) -> None:
    if isinstance(node, dict):
        if "port_value" in node:
            node["port_value"] += distance
        for child in node.values():
            _move_ports(child, distance)
    elif isinstance(node, list):
        for child in node:
            _move_ports(child, distance)
