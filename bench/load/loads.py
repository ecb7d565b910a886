"""The load of a scenario on one port, by whichever generator can make it."""

from __future__ import annotations

import shutil

import msgspec

from bench.load.generator import generator_name, run_load
from bench.load.http2_generator import Http2Clients, http2_generator_name, run_grpc, run_http2
from bench.load.scenario import Clients
from bench.load.tls_client import run_resumed


class Seen(msgspec.Struct, frozen=True):
    """`errors` are replies that were not 2xx and broken connections; `times` are latencies, by name."""

    requests: int
    errors: int
    seconds: float
    times: dict[str, float]


def name_of(clients: Clients) -> str:
    """The generator that will make this load here."""
    if clients.kind == "http1":
        return generator_name(clients.mode)
    if clients.kind == "http2":
        return http2_generator_name(_http2(clients))
    return {"grpc": "bench.load.grpc_client", "resumed": "bench.load.tls_client", "none": "-"}[clients.kind]


def missing(clients: Clients) -> str:
    """What must be installed first, or ""."""
    needs_wrk = clients.kind == "http1" and (clients.tls or clients.path != "/" or clients.header_bytes)
    if needs_wrk and not shutil.which("wrk"):
        return "wrk"
    if clients.kind == "http2" and (clients.tls or clients.upload) and not shutil.which("h2load"):
        return "h2load (Debian: nghttp2-client)"
    return ""


def run(clients: Clients, port: int, duration: float, connections: int) -> Seen:
    """So many seconds of it; `connections` are used where the scenario does not say how many."""
    connections = clients.connections or connections
    if clients.kind == "http2":
        http2 = run_http2(port, _http2(clients), duration)
        return Seen(http2.requests, http2.errors, http2.seconds, {"mean_ms": http2.mean_ms})
    if clients.kind == "grpc":
        http2 = run_grpc(port, clients.connections or 8, clients.streams, duration)
        return Seen(http2.requests, http2.errors, http2.seconds, {"mean_ms": http2.mean_ms})
    if clients.kind == "resumed":
        load = run_resumed(port, duration)
    else:
        load = run_load(
            port,
            clients.mode,
            connections,
            duration,
            tls=clients.tls,
            path=clients.path,
            name=clients.name,
            header_bytes=clients.header_bytes,
        )
    return Seen(load.requests, load.errors, load.seconds, {"p50_ms": load.p50_ms, "p99_ms": load.p99_ms})


def _http2(clients: Clients) -> Http2Clients:
    return Http2Clients(
        mode="constant" if clients.mode == "keepalive" else clients.mode,
        connections=clients.connections or 8,
        streams=clients.streams,
        tls=clients.tls,
        upload=clients.upload,
    )
