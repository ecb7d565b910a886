"""`config.core.v3.HealthCheck` → `HealthCheckConfig`: every check that Envoy makes when it builds the checker."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from envoy.config.core.v3 import base_pb2
from envoy.type.v3 import http_pb2

from proxy.base.matchers import compile_string_matcher
from proxy.config.any_unpack import unpack
from proxy.config.context import CompileContext
from proxy.config.durations import seconds
from proxy.formatter.header_ops import compile_header_ops
from proxy.upstream.fields import wrapped
from proxy.upstream.health_check.config import (
    GrpcCheck,
    HealthCheckConfig,
    HttpCheck,
    StatusRange,
    TcpCheck,
)

_MATCH_NAMESPACE: Final = "envoy.transport_socket_match"
#: Requests with these have no body, so nothing can be sent.
_BODILESS: Final = frozenset({"GET", "HEAD", "DELETE", "TRACE"})
_LEAST_STATUS, _MOST_STATUS = 100, 600


def compile_health_checks(
    messages: Iterable[Any], path: str, ctx: CompileContext, *, http2: bool
) -> tuple[HealthCheckConfig, ...]:
    """The `health_checks` of a cluster; `http2` tells whether its hosts are spoken to in HTTP/2."""
    found = []
    for index, message in enumerate(messages):
        at = f"{path}[{index}]"
        if index:
            ctx.problem(at, "more than one health check needs names, which the published protos do not have")
            break
        one = _compile(message, at, ctx, http2=http2)
        if one is not None:
            found.append(one)
    return tuple(found)


def _compile(message: Any, path: str, ctx: CompileContext, *, http2: bool) -> HealthCheckConfig | None:
    probe = _probe(message, path, ctx, http2=http2)
    if probe is None:
        return None
    interval = seconds(message, "interval", 0.0)
    unhealthy = seconds(message, "unhealthy_interval", interval)
    no_traffic = seconds(message, "no_traffic_interval", 60.0)
    criteria = None
    if message.HasField("transport_socket_match_criteria"):
        criteria = base_pb2.Metadata()
        criteria.filter_metadata[_MATCH_NAMESPACE].CopyFrom(message.transport_socket_match_criteria)
    return HealthCheckConfig(
        probe=probe,
        timeout=seconds(message, "timeout", 0.0),
        interval=interval,
        unhealthy_threshold=wrapped(message, "unhealthy_threshold", 1),
        healthy_threshold=wrapped(message, "healthy_threshold", 1),
        unhealthy_interval=unhealthy,
        unhealthy_edge_interval=seconds(message, "unhealthy_edge_interval", unhealthy),
        healthy_edge_interval=seconds(message, "healthy_edge_interval", interval),
        no_traffic_interval=no_traffic,
        no_traffic_healthy_interval=seconds(message, "no_traffic_healthy_interval", no_traffic),
        initial_jitter=seconds(message, "initial_jitter", 0.0),
        interval_jitter=seconds(message, "interval_jitter", 0.0),
        interval_jitter_percent=message.interval_jitter_percent,
        reuse_connection=wrapped(message, "reuse_connection", True),
        event_logs=_event_logs(message, path, ctx),
        always_log_failures=message.always_log_health_check_failures,
        always_log_success=message.always_log_health_check_success,
        alpn=tuple(message.tls_options.alpn_protocols),
        criteria=criteria,
    )


def _probe(
    message: Any, path: str, ctx: CompileContext, *, http2: bool
) -> HttpCheck | TcpCheck | GrpcCheck | None:
    match message.WhichOneof("health_checker"):
        case "http_health_check":
            return _http(message.http_health_check, f"{path}.http_health_check", ctx)
        case "tcp_health_check":
            tcp, at = message.tcp_health_check, f"{path}.tcp_health_check"
            send = _payloads([tcp.send] if tcp.HasField("send") else [], f"{at}.send", ctx)
            return TcpCheck(b"".join(send), _payloads(tcp.receive, f"{at}.receive", ctx))
        case "grpc_health_check":
            if not http2:
                ctx.problem(path, "the cluster must support HTTP/2 for gRPC healthchecking")
            grpc, at = message.grpc_health_check, f"{path}.grpc_health_check"
            ops = None
            if grpc.initial_metadata:
                ops = compile_header_ops(grpc.initial_metadata, (), at, ctx, request=True)
            return GrpcCheck(grpc.service_name, grpc.authority, ops)
        case "custom_health_check":
            at = f"{path}.custom_health_check"
            name = message.custom_health_check.name
            ctx.problem(at, f"{name} is not supported; http_health_check, tcp_health_check and"
                            " grpc_health_check are")  # fmt: skip
        case _:
            ctx.problem(path, "health_checker is required")
    return None


def _http(message: Any, path: str, ctx: CompileContext) -> HttpCheck:
    if message.codec_client_type == http_pb2.HTTP3:
        ctx.problem(f"{path}.codec_client_type", "HTTP/3 is not supported")
    method = base_pb2.RequestMethod.Name(message.method) if message.method else "GET"
    send = _payloads([message.send] if message.HasField("send") else [], f"{path}.send", ctx)
    if any(send) and method in _BODILESS:
        ctx.problem(
            f"{path}.send", f"HTTP health check cannot specify a request payload with method '{method}'"
        )
    receive = _payloads(message.receive, f"{path}.receive", ctx)
    size = wrapped(message, "response_buffer_size", 1024)
    total = sum(map(len, receive))
    if size and total > size:
        ctx.problem(
            f"{path}.response_buffer_size",
            f"The expected response length '{total}' is over than http health response buffer size '{size}'",
        )
    matcher = None
    if message.HasField("service_name_matcher"):
        matcher = compile_string_matcher(message.service_name_matcher, f"{path}.service_name_matcher", ctx)
    ops = None
    if message.request_headers_to_add or message.request_headers_to_remove:
        ops = compile_header_ops(
            message.request_headers_to_add, message.request_headers_to_remove, path, ctx, request=True
        )
    expected = _ranges(message.expected_statuses, "expected", f"{path}.expected_statuses", ctx)
    return HttpCheck(
        path=message.path,
        host=message.host,
        method=method,
        http2=message.codec_client_type == http_pb2.HTTP2,
        send=b"".join(send),
        receive=receive,
        buffer_size=size,
        expected=expected or ((200, 201),),
        retriable=_ranges(message.retriable_statuses, "retriable", f"{path}.retriable_statuses", ctx),
        service_name=matcher,
        header_ops=ops,
    )


def _ranges(messages: Iterable[Any], what: str, path: str, ctx: CompileContext) -> tuple[StatusRange, ...]:
    result = []
    for index, one in enumerate(messages):
        start, end = one.start, one.end
        found = f"start={start}"
        rule = ""
        if start >= end:
            rule, found = "start < end", f"start={start} and end={end}"
        elif start < _LEAST_STATUS:
            rule = f"start >= {_LEAST_STATUS}"
        elif end > _MOST_STATUS:
            rule, found = f"end <= {_MOST_STATUS}", f"end={end}"
        if rule:
            reason = f"Invalid http {what} status range: expecting {rule}, but found {found}"
            ctx.problem(f"{path}[{index}]", reason)
        result.append((start, end))
    return tuple(result)


def _payloads(messages: Iterable[Any], path: str, ctx: CompileContext) -> tuple[bytes, ...]:
    result = []
    for index, one in enumerate(messages):
        if one.WhichOneof("payload") == "binary":
            result.append(one.binary)
            continue
        try:
            # `fromhex` takes blanks, Envoy does not.
            data = b"" if any(map(str.isspace, one.text)) else bytes.fromhex(one.text)
        except ValueError:
            data = b""
        if not data:
            ctx.problem(f"{path}[{index}]", f"invalid hex string '{one.text}'")
        result.append(data)
    return tuple(result)


def _event_logs(message: Any, path: str, ctx: CompileContext) -> tuple[str, ...]:
    paths = [message.event_log_path] if message.event_log_path else []
    for index, one in enumerate(message.event_logger):
        at = f"{path}.event_logger[{index}].typed_config"
        sink = unpack(one.typed_config, at, ctx)
        if sink is not None:
            paths.append(sink.event_log_path)
    return tuple(paths)
