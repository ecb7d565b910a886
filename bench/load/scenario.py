"""A scenario as its file in `scenarios/` has it. Unknown keys and values of another type are refused.

title: HTTP/1.1 keep-alive, small GET        what the reader sees
group: HTTP/1.1                              heading in docs/benchmarks.md
short: true                                  part of `make bench`
measure: throughput                          a function of `measures/registry.py`
config: {kind: http}                         what every proxy runs
origin: {kind: http1, size: 300}             what it forwards to
load: {kind: http1, connections: 32}         who asks
peers: [nginx]                               who else can play it, besides Envoy
asked: {cpu_us_per_request: {ratio_at_most: 0.6}}
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec
import yaml

from bench.load.limits import Limit

PEERS: Final = ("nginx", "haproxy", "nghttpx", "mitmproxy", "aiohttp")
_DIRECTORY: Final = Path(__file__).with_name("scenarios")


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a proxy runs. One worker, one listener, one cluster, one route unless said otherwise.

    `kind`: `http` terminates HTTP (both versions), `tcp` passes bytes on, `tls_passthrough` chooses by SNI and
    passes bytes on, `mesh` is `http` with as many clusters and virtual hosts as the command line says.
    `routes`: so many in the table, the last of which is asked for. `resilience`: with retries, circuit breakers
    and outlier detection. `rbac`: policies deny some requests and allow those of the benchmark. `traced_percent`:
    of requests, the share that is reported by OTLP over HTTP; 0 for no tracing.
    `max_connections` is that of the circuit breaker of a `tcp` cluster, 0 for the default; `original_dst` has
    its listener restore the destination of redirected connections.
    """

    kind: Literal["http", "tcp", "tls_passthrough", "mesh"] = "http"
    upstream_http2: bool = False
    certificate: Literal["", "p256", "rsa"] = ""
    access_log: bool = False
    routes: int = 0
    listeners: int = 1
    resilience: bool = False
    rbac: bool = False
    traced_percent: int = 0
    max_connections: int = 0
    original_dst: bool = False


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What answers. `size` is in bytes: a whole HTTP/1 response, or a body over HTTP/2."""

    kind: Literal["http1", "http2", "grpc", "tls"] = "http1"
    size: int = 300


class Clients(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who asks. `connections` of 0 are those of the command line; `upload` bytes go with each request.

    `mode` is one of `bench.load.client` or of `bench.load.http2_client`. `header_bytes` are in each request on top
    of the usual, in fields of 100 bytes.
    """

    kind: Literal["http1", "http2", "grpc", "resumed", "none"] = "http1"
    mode: str = "keepalive"
    connections: int = 0
    streams: int = 16
    tls: bool = False
    upload: int = 0
    path: str = "/"
    name: str = "127.0.0.1"
    header_bytes: int = 0


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """See module. `rounds` and `seconds` bound what the command line asks for, where a round takes long.

    `body` is set where bytes are counted and not requests: their number per request. `count` is the number of
    connections, streams, workers or listeners that a measure is about. `series`: rounds are a course over time.
    """

    name: str
    title: str
    group: str
    measure: str
    config: Config = Config()
    origin: Origin = Origin()
    load: Clients = Clients()
    short: bool = False
    rounds: int | None = None
    seconds: float | None = None
    body: int = 0
    count: int = 0
    series: bool = False
    micro: str = ""
    peers: tuple[Literal["nginx", "haproxy", "nghttpx", "mitmproxy", "aiohttp"], ...] = ()
    asked: Mapping[str, Limit] = {}


def read_scenario(path: Path) -> Scenario:
    """Raises `msgspec.ValidationError` with the field, or `yaml.YAMLError`."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return msgspec.convert({"name": path.stem, **document}, Scenario)


def all_scenarios() -> dict[str, Scenario]:
    """By name, in the order in which they are shown."""
    found = [read_scenario(path) for path in sorted(_DIRECTORY.glob("*.yaml"))]
    return {scenario.name: scenario for scenario in sorted(found, key=_rank)}


def _rank(scenario: Scenario) -> tuple[int, bool, str]:
    return GROUPS.index(scenario.group), not scenario.short, scenario.name


#: In the order of the document.
GROUPS: Final = (
    "HTTP/1.1",
    "HTTP/2 and gRPC",
    "TCP",
    "TLS",
    "Latency at a constant rate",
    "Workers",
    "Start and memory",
    "Control plane",
    "Decisions",
    "Soak",
)
