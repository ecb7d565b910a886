"""Frozen form of `config.core.v3.HealthCheck`. Times are seconds; defaults are Envoy's."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from proxy.base.matchers import StringMatch

#: Statuses from the first up to, not including, the second.
StatusRange = tuple[int, int]


class HttpCheck(Struct, frozen=True):
    """`HttpHealthCheck`. `receive` must be found in the body in this order; `buffer_size` 0 is no limit."""

    path: str
    host: str = ""
    method: str = "GET"
    http2: bool = False
    send: bytes = b""
    receive: tuple[bytes, ...] = ()
    buffer_size: int = 1024
    expected: tuple[StatusRange, ...] = ((200, 201),)
    retriable: tuple[StatusRange, ...] = ()
    service_name: StringMatch | None = None
    #: A `proxy.formatter.header_ops.HeaderOps`, or None.
    header_ops: Any = None

    kind = "HTTP"


class TcpCheck(Struct, frozen=True):
    """`TcpHealthCheck`; with nothing to receive it only connects."""

    send: bytes = b""
    receive: tuple[bytes, ...] = ()

    kind = "TCP"


class GrpcCheck(Struct, frozen=True):
    """`GrpcHealthCheck`."""

    service_name: str = ""
    authority: str = ""
    header_ops: Any = None

    kind = "GRPC"


class HealthCheckConfig(Struct, frozen=True):
    """One check of every host of a cluster.

    `criteria` is a `core.v3.Metadata` that chooses the transport socket in place of the host's, or None.
    """

    probe: HttpCheck | TcpCheck | GrpcCheck
    timeout: float
    interval: float
    unhealthy_threshold: int
    healthy_threshold: int
    unhealthy_interval: float
    unhealthy_edge_interval: float
    healthy_edge_interval: float
    no_traffic_interval: float = 60.0
    no_traffic_healthy_interval: float = 60.0
    initial_jitter: float = 0.0
    interval_jitter: float = 0.0
    interval_jitter_percent: int = 0
    reuse_connection: bool = True
    event_logs: tuple[str, ...] = ()
    always_log_failures: bool = False
    always_log_success: bool = False
    alpn: tuple[str, ...] = ()
    criteria: Any = None
