"""The measures by the names that scenarios have for them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Final

from bench.load.measures import idle, mesh, micro, open_loop, redirect, soak, start, throughput, workers
from bench.load.scenario import Scenario
from bench.load.settings import Round, Settings

#: Yields a sample of each subject per round.
Measure = Callable[[Scenario, Settings], Generator[Round]]

MEASURES: Final[Mapping[str, Measure]] = {
    "throughput": throughput.throughput,
    "added": throughput.added,
    "open_loop": open_loop.open_loop,
    "scaling": workers.scaling,
    "start": start.start,
    "worker_memory": start.worker_memory,
    "idle_connections": idle.connections,
    "idle_streams": idle.streams,
    "mesh_first_push": mesh.first_push,
    "mesh_endpoint": mesh.one_endpoint,
    "mesh_push_under_load": mesh.push_under_load,
    "mesh_hosts": mesh.many_hosts,
    "mesh_frequent_routes": mesh.frequent_routes,
    "micro": micro.micro,
    "redirected": redirect.redirected,
    "redirect_soak": redirect.soak,
    "soak": soak.soak,
}
