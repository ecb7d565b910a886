"""Spans for OpenTelemetry: W3C contexts, reports by OTLP over gRPC or HTTP.

Source: `envoy.config.trace.v3.OpenTelemetryConfig`; Envoy's OpenTelemetry tracer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar, Final

from msgspec import Struct

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.services import WorkerServices
from proxy.base.stats import StatGroup
from proxy.base.stream_info import own_connection
from proxy.config.any_unpack import unpack_extension
from proxy.config.context import CompileContext
from proxy.formatter.wire import encode_wire
from proxy.grpc_client.client import GrpcClient
from proxy.grpc_client.config import GrpcServiceConfig, compile_grpc_service
from proxy.http_client.client import HttpClient
from proxy.tracing import w3c
from proxy.tracing.context import BadContextError, TraceContext, new_id
from proxy.tracing.http_target import HttpTarget, compile_http_target
from proxy.tracing.reporter import Reporter
from proxy.tracing.span import Span
from proxy.version import VERSION

_METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_BATCH: Final = 5
_MAX_CACHE_SIZE: Final = 1024
_NANOSECONDS: Final = 1_000_000_000
#: Status codes of HTTP from which on a call, or a request served, has failed.
_CLIENT_ERROR, _SERVER_ERROR = 400, 500


class OpenTelemetrySettings(Struct, frozen=True):
    """A compiled `OpenTelemetryConfig`: one of `service` and `target` is where spans go.

    `attributes` are those of the resource, in order. `always_on`: what the parent says of it does not count.
    """

    service: GrpcServiceConfig | None
    target: HttpTarget | None
    attributes: tuple[tuple[str, str], ...]
    always_on: bool
    max_cache_size: int


class OpenTelemetryStats(StatGroup):
    """`tracing.opentelemetry.*`."""

    COUNTERS: ClassVar[tuple[str, ...]] = ("spans_dropped", "spans_sent", "timer_flushed")

    spans_dropped: int
    spans_sent: int
    timer_flushed: int


def compile_opentelemetry(message: Any, path: str, context: CompileContext) -> OpenTelemetrySettings:
    """Compile an `OpenTelemetryConfig` at `path`."""
    service = target = None
    if message.HasField("grpc_service"):
        service = compile_grpc_service(
            message.grpc_service, f"{path}.grpc_service", context, default_timeout=0.0
        )
    if message.HasField("http_service"):
        target = compile_http_target(message.http_service, f"{path}.http_service", context)
    if service is not None and target is not None:
        context.problem(path, "OpenTelemetry Tracer cannot have both gRPC and HTTP exporters configured")
    always_on = message.HasField("sampler")
    if always_on:
        unpack_extension(message.sampler, f"{path}.sampler", context)
    return OpenTelemetrySettings(
        service,
        target,
        _resource(message, path, context),
        always_on,
        message.max_cache_size.value or _MAX_CACHE_SIZE,
    )


def _resource(message: Any, path: str, context: CompileContext) -> tuple[tuple[str, str], ...]:
    found = {
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "outrider",
        "telemetry.sdk.version": VERSION,
        "service.name": message.service_name or "unknown_service:envoy",
    }
    for index, detector in enumerate(message.resource_detectors):
        config = unpack_extension(detector, f"{path}.resource_detectors[{index}]", context)
        if config is None:
            continue
        if config.DESCRIPTOR.name == "StaticConfigResourceDetectorConfig":
            found |= dict(config.attributes)
        else:
            found |= _of_environment()
    return tuple(found.items())


def _of_environment() -> dict[str, str]:
    """`OTEL_RESOURCE_ATTRIBUTES`: "key=value,key=value"; values stay percent-encoded, as in Envoy."""
    pairs = (one.partition("=") for one in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","))
    return {key.strip(): value.strip() for key, sign, value in pairs if sign and key.strip()}


class OpenTelemetryProvider:
    """See `Provider`."""

    def __init__(self, settings: OpenTelemetrySettings, services: WorkerServices) -> None:
        self._settings = settings
        self._draw = services.random
        self._stats = services.stats.shared(OpenTelemetryStats, "tracing.opentelemetry.")
        self._reporter: Reporter[Span] = Reporter(
            services,
            self._send,
            self._stats,
            "tracing.opentelemetry.flush_interval_ms",
            "tracing.opentelemetry.min_flush_spans",
            _BATCH,
        )
        self._connection = own_connection(services.local_address)
        self._export = self._exporter(services)

    def _exporter(self, services: WorkerServices) -> Callable[[bytes], None]:
        settings = self._settings
        if settings.service is not None:
            grpc = GrpcClient(settings.service, services)

            def by_grpc(message: bytes) -> None:
                grpc.call(_METHOD, message, self._connection, self)

            return by_grpc
        if settings.target is None:
            return lambda _message: None
        target = settings.target
        client = HttpClient(target.cluster, target.timeout, services)

        def by_http(message: bytes) -> None:
            headers = HeaderMap()
            headers.add("content-type", "application/x-protobuf")
            headers.add("user-agent", f"OTel-OTLP-Exporter-Outrider/{VERSION}")
            for field, value in target.fields:
                headers.set(field, value)
            head = RequestHead("POST", target.path, target.authority, headers)
            try:
                client.send(head, message, self._connection, self)
            except LookupError:
                # As in Envoy, where the service is away for now.
                return

        return by_http

    def start(self, name: str, head: RequestHead, at: float, *, client: bool, traced: bool) -> Span | None:
        """See `Provider`."""
        try:
            parent = w3c.extract(head.headers)
        except BadContextError:
            return None
        if parent is None:
            trace_id = new_id(self._draw) + new_id(self._draw)
            context = TraceContext(trace_id, new_id(self._draw), sampled=traced)
        else:
            context = self._below(parent)
            context.sampled = traced and (parent.sampled or self._settings.always_on)
        return Span(name, context, client, at)

    def child(self, name: str, parent: Span, at: float) -> Span:
        """See `Provider`."""
        return Span(name, self._below(parent.context), True, at)

    def _below(self, parent: TraceContext) -> TraceContext:
        return TraceContext(parent.trace_id, new_id(self._draw), parent.span_id, parent.sampled, parent.state)

    def inject(self, span: Span, head: RequestHead) -> None:
        """See `Provider`."""
        w3c.inject(span.context, head.headers)

    def report(self, span: Span) -> None:
        """See `Provider`."""
        if self._reporter.pending >= self._settings.max_cache_size:
            self._stats.spans_dropped += 1
        else:
            self._reporter.report(span)

    def on_grpc_success(self, message: bytes) -> None:
        """See `CallUser`."""

    def on_grpc_failure(self, status: int, message: str) -> None:
        """See `CallUser`: what has been sent is not sent again."""

    def on_http_response(self, status: int, headers: HeaderMap, body: bytes) -> None:
        """See `ExchangeUser`."""

    def on_http_failure(self, reason: str) -> None:
        """See `ExchangeUser`: what has been sent is not sent again."""

    def _send(self, spans: list[Span]) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        request = ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        for key, value in self._settings.attributes:
            _set_attribute(resource.resource.attributes, key, value)
        # The field that is now called scope_spans.
        scope = resource.instrumentation_library_spans.add()
        scope.instrumentation_library.name = "outrider"
        scope.instrumentation_library.version = VERSION
        for span in spans:
            _fill(scope.spans.add(), span)
        self._export(request.SerializeToString())


def _fill(message: Any, span: Span) -> None:
    context = span.context
    message.trace_id = bytes.fromhex(context.trace_id)
    message.span_id = bytes.fromhex(context.span_id)
    message.parent_span_id = bytes.fromhex(context.parent_id)
    message.trace_state = context.state
    message.name = _text(span.name)
    message.kind = message.SPAN_KIND_CLIENT if span.client else message.SPAN_KIND_SERVER
    message.start_time_unix_nano = round(span.start * _NANOSECONDS)
    message.end_time_unix_nano = round(span.end * _NANOSECONDS)
    for key, value in span.tags.items():
        _set_attribute(message.attributes, key, value)
    for name, at in span.moments:
        event = message.events.add()
        event.name, event.time_unix_nano = name, round(at * _NANOSECONDS)
    if int(span.tags.get("http.status_code", "0")) >= (_CLIENT_ERROR if span.client else _SERVER_ERROR):
        message.status.code = message.status.STATUS_CODE_ERROR


def _set_attribute(attributes: Any, key: str, value: str) -> None:
    attribute = attributes.add()
    attribute.key = key
    attribute.value.string_value = _text(value)


def _text(wire: str) -> str:
    """Wire text for a proto."""
    return wire if wire.isascii() else encode_wire(wire).decode("utf-8", "replace")
