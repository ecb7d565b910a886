"""Envoy and Outrider, each with a control plane and an origin of its own, to be led through the same story."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from tests.support.client import get
from tests.support.envoy import Envoy
from tests.support.mesh import cluster, endpoints, mesh
from tests.support.origin import Origin
from tests.support.outrider import subject
from tests.support.proxy_process import ProxyProcess
from tests.support.xds_server import XdsServer


@dataclass
class Side:
    server: XdsServer
    proxy: ProxyProcess
    origin: Origin
    pool: ThreadPoolExecutor

    def serve(self, *resources: Any) -> None:
        """Have these, and a cluster of the origin."""
        self.server.set(*self.origins(), *resources)
        self.proxy.wait_ready(20)

    def origins(self) -> tuple[Any, Any]:
        """Cluster `c` of the origin, and its endpoints."""
        return cluster("c"), endpoints("c", self.origin.port)

    def get(self, target: str = "/", **options: Any) -> int:
        """The status, 0 while nobody listens."""
        try:
            return get(self.proxy.port, target, **options).status
        except OSError:
            return 0

    def ask(self, target: str = "/", **options: Any) -> Any:
        """A request in the background."""
        return self.pool.submit(self.get, target, **options)


def sides(delta: bool) -> Iterator[list[Side]]:
    with ExitStack() as stack:
        made = []
        for kind in (Envoy, subject()):
            origin = stack.enter_context(Origin())
            server, proxy = stack.enter_context(mesh(kind, delta=delta))
            made.append(Side(server, proxy, origin, stack.enter_context(ThreadPoolExecutor(4))))
        yield made


def same(sides: list[Side], look: Callable[[Side], Any]) -> Any:
    """What both sides show, at the latest in some seconds."""
    deadline = time.monotonic() + 10
    while True:
        envoy, ours = (look(side) for side in sides)
        if envoy == ours or time.monotonic() > deadline:
            assert ours == envoy, f"{ours} != {envoy}"
            return envoy
        time.sleep(0.05)


def same_stats(sides: list[Side], prefix: str, *names: str) -> None:
    """The stats below `prefix` have the same names, and those `names` the same values."""

    def look(side: Side) -> tuple[set[str], dict[str, int | None]]:
        stats = side.proxy.stats(prefix)
        return set(stats) - {f"{prefix}update_failure"}, {name: stats.get(prefix + name) for name in names}

    same(sides, look)


def push(sides: list[Side], change: Callable[[Side], None]) -> None:
    for side in sides:
        change(side)


def agree(sides: list[Side], look: Callable[[Side], Any], expected: Any) -> None:
    """Wait until both sides show what is expected."""
    deadline = time.monotonic() + 10
    for side in sides:
        while (found := look(side)) != expected:
            assert time.monotonic() < deadline, f"{side.proxy.name} shows {found}, not {expected}"
            time.sleep(0.05)


def logged(sides: list[Side], lines: int) -> list[str]:
    """So many lines of the access log, which both sides wrote alike."""
    envoy, ours = (side.proxy.access_log(lines)[:lines] for side in sides)
    assert ours == envoy
    return envoy
