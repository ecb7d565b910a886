"""`HttpGrpcAccessLogConfig` and `TcpGrpcAccessLogConfig` compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from envoy.extensions.access_loggers.grpc.v3.als_pb2 import HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig
from msgspec import Struct
from msgspec.structs import replace

from proxy.access_log.grpc_entry import CommonFields, LoggedHeaders, http_entry, tcp_entry
from proxy.base.services import WorkerServices
from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.config.durations import seconds
from proxy.formatter.custom_tags import compile_custom_tags
from proxy.formatter.spec import Facts
from proxy.grpc_client.config import GrpcServiceConfig, compile_grpc_service

_V3: Final = 2
_FLUSH_INTERVAL: Final = 1.0
_BUFFER_BYTES: Final = 16384

Render = Callable[[StreamInfo], bytes]
OpenSink = Callable[[WorkerServices], Callable[[bytes], None]]


class GrpcLogConfig(Struct, frozen=True):
    """Where entries go, and when: `flush_interval` is in seconds, `buffer_bytes` 0 sends each at once.

    `http` tells of which kind the entries are. Loggers of one kind with equal configs share a stream.
    """

    log_name: str
    service: GrpcServiceConfig
    http: bool
    flush_interval: float
    buffer_bytes: int
    #: The config as bytes.
    key: bytes


def compile_http_grpc(value: bytes, path: str, ctx: CompileContext) -> tuple[Render, OpenSink, Facts]:
    """Compile a serialised `HttpGrpcAccessLogConfig`; problems go to `ctx`."""
    message = HttpGrpcAccessLogConfig.FromString(value)
    headers = LoggedHeaders(
        _lower(message.additional_request_headers_to_log),
        _lower(message.additional_response_headers_to_log),
        _lower(message.additional_response_trailers_to_log),
    )
    fields, open_sink = _common(message.common_config, f"{path}.common_config", ctx, http=True)
    return http_entry(fields, headers, ctx.wall_clock), open_sink, Facts.ALL


def compile_tcp_grpc(value: bytes, path: str, ctx: CompileContext) -> tuple[Render, OpenSink, Facts]:
    """Compile a serialised `TcpGrpcAccessLogConfig`; problems go to `ctx`."""
    message = TcpGrpcAccessLogConfig.FromString(value)
    fields, open_sink = _common(message.common_config, f"{path}.common_config", ctx, http=False)
    return tcp_entry(fields, ctx.wall_clock), open_sink, Facts.ALL


def _lower(names: Any) -> tuple[str, ...]:
    return tuple(name.lower() for name in names)


def _common(message: Any, path: str, ctx: CompileContext, *, http: bool) -> tuple[CommonFields, OpenSink]:
    if path.startswith("admin."):
        ctx.problem(path, "the admin listener logs to files: workers send the entries of gRPC loggers")
    if not message.log_name:
        ctx.problem(f"{path}.log_name", "value length must be at least 1 characters")
    if message.transport_api_version != _V3:
        ctx.problem(f"{path}.transport_api_version", "only V3 is spoken; set V3")
    if not message.HasField("grpc_service"):
        ctx.problem(f"{path}.grpc_service", "a gRPC service is required")
    service = compile_grpc_service(message.grpc_service, f"{path}.grpc_service", ctx, default_timeout=0.0)
    interval = seconds(message, "buffer_flush_interval", _FLUSH_INTERVAL)
    if interval <= 0:
        ctx.problem(f"{path}.buffer_flush_interval", "value must be greater than 0s")
    buffered = message.HasField("buffer_size_bytes")
    config = GrpcLogConfig(
        message.log_name,
        # The timeout is one of calls; a stream of entries has no end.
        replace(service, timeout=0.0),
        http,
        interval,
        message.buffer_size_bytes.value if buffered else _BUFFER_BYTES,
        message.SerializeToString(deterministic=True),
    )

    def open_sink(services: WorkerServices) -> Callable[[bytes], None]:
        from proxy.access_log.grpc_sink import grpc_sink

        return grpc_sink(config, services).append

    tags = compile_custom_tags(message.custom_tags, f"{path}.custom_tags", ctx)
    return CommonFields(tuple(message.filter_state_objects_to_log), tags), open_sink
