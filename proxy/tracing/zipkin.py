"""Spans for Zipkin: contexts in B3 fields, reports in the JSON of its API v2.

Source: `envoy.config.trace.v3.ZipkinConfig`; Envoy's Zipkin tracer.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Any, ClassVar, Final

from envoy.config.trace.v3.zipkin_pb2 import ZipkinConfig
from msgspec import Struct

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.services import WorkerServices
from proxy.base.stats import StatGroup
from proxy.base.stream_info import own_connection
from proxy.config.context import CompileContext
from proxy.http_client.client import HttpClient
from proxy.tracing import b3, w3c
from proxy.tracing.context import BadContextError, TraceContext, new_id
from proxy.tracing.http_target import HttpTarget, compile_http_target
from proxy.tracing.reporter import Reporter
from proxy.tracing.span import Span

_ACCEPTED: Final = 202
_BATCH: Final = 5
_TIMEOUT_MILLISECONDS: Final = 5000


class ZipkinSettings(Struct, frozen=True):
    """A compiled `ZipkinConfig`. `always_server`: the span of a request is that of a server whatever its way."""

    target: HttpTarget
    long_ids: bool
    shares_spans: bool
    always_server: bool
    with_w3c: bool


class ZipkinStats(StatGroup):
    """`tracing.zipkin.*`."""

    COUNTERS: ClassVar[tuple[str, ...]] = (
        "reports_dropped",
        "reports_failed",
        "reports_sent",
        "reports_skipped_no_cluster",
        "spans_sent",
        "timer_flushed",
    )

    reports_dropped: int
    reports_failed: int
    reports_sent: int
    reports_skipped_no_cluster: int
    spans_sent: int
    timer_flushed: int


def compile_zipkin(message: Any, path: str, context: CompileContext) -> ZipkinSettings:
    """Compile a `ZipkinConfig` at `path`."""
    version = message.collector_endpoint_version
    if version != ZipkinConfig.HTTP_JSON:
        name = ZipkinConfig.CollectorEndpointVersion.Name(version)
        context.problem(f"{path}.collector_endpoint_version", f"{name} is not spoken; set HTTP_JSON")
    if message.HasField("collector_service"):
        target = compile_http_target(message.collector_service, f"{path}.collector_service", context)
    else:
        for field in ("collector_cluster", "collector_endpoint"):
            if not getattr(message, field):
                context.problem(f"{path}.{field}", "is required where there is no collector_service")
        cluster = message.collector_cluster
        target = HttpTarget(cluster, message.collector_hostname or cluster, message.collector_endpoint)
    return ZipkinSettings(
        target,
        message.trace_id_128bit,
        message.shared_span_context.value if message.HasField("shared_span_context") else True,
        message.split_spans_for_request,
        message.trace_context_option == ZipkinConfig.USE_B3_WITH_W3C_PROPAGATION,
    )


class ZipkinProvider:
    """See `Provider`."""

    def __init__(self, settings: ZipkinSettings, services: WorkerServices) -> None:
        self._settings = settings
        self._draw = services.random
        self._service = getattr(services.node, "cluster", "")
        self._address = services.local_address
        self._stats = services.stats.shared(ZipkinStats, "tracing.zipkin.")
        self._reporter: Reporter[Span] = Reporter(
            services,
            self._send,
            self._stats,
            "tracing.zipkin.flush_interval_ms",
            "tracing.zipkin.min_flush_spans",
            _BATCH,
        )
        timeout = services.runtime.integer("tracing.zipkin.request_timeout", _TIMEOUT_MILLISECONDS) / 1000
        self._client = HttpClient(settings.target.cluster, timeout, services)
        self._connection = own_connection(services.local_address)

    def start(self, name: str, head: RequestHead, at: float, *, client: bool, traced: bool) -> Span | None:
        """See `Provider`."""
        del name
        settings = self._settings
        headers = head.headers
        said = b3.sampled(headers)
        client = client and not settings.always_server
        try:
            parent = b3.extract(headers, traced if said is None else said)
            if parent is None and said is None and settings.with_w3c:
                parent = w3c.extract(headers)
        except BadContextError:
            return None
        if parent is None:
            span_id = new_id(self._draw)
            high = new_id(self._draw) if settings.long_ids else ""
            context = TraceContext(high + span_id, span_id, sampled=traced if said is None else said)
            context.single_field = "b3" in headers
        elif client or not settings.shares_spans:
            context = self._below(parent)
        else:
            context = parent
            context.state = ""
        return Span(head.authority, context, client, at)

    def child(self, name: str, parent: Span, at: float) -> Span:
        """See `Provider`."""
        return Span(name, self._below(parent.context), True, at)

    def _below(self, parent: TraceContext) -> TraceContext:
        return TraceContext(
            parent.trace_id,
            new_id(self._draw),
            parent.span_id,
            parent.sampled,
            single_field=parent.single_field,
        )

    def inject(self, span: Span, head: RequestHead) -> None:
        """See `Provider`."""
        b3.inject(span.context, head.headers)
        if self._settings.with_w3c:
            head.headers.set(w3c.TRACEPARENT, w3c.traceparent(span.context))

    def report(self, span: Span) -> None:
        """See `Provider`."""
        self._reporter.report(span)

    def _send(self, spans: list[Span]) -> None:
        target = self._settings.target
        body = json.dumps([self._described(one) for one in spans]).encode()
        headers = HeaderMap()
        headers.add("content-type", "application/json")
        for field, value in target.fields:
            headers.set(field, value)
        head = RequestHead("POST", target.path, target.authority, headers)
        try:
            self._client.send(head, body, self._connection, self)
        except LookupError:
            self._stats.reports_skipped_no_cluster += 1

    def on_http_response(self, status: int, headers: HeaderMap, body: bytes) -> None:
        """See `ExchangeUser`."""
        del headers, body
        if status == _ACCEPTED:
            self._stats.reports_sent += 1
        else:
            self._stats.reports_dropped += 1

    def on_http_failure(self, reason: str) -> None:
        """See `ExchangeUser`."""
        del reason
        self._stats.reports_failed += 1

    def _described(self, span: Span) -> dict[str, Any]:
        """A span in the JSON of the API: times and durations in microseconds."""
        context = span.context
        found: dict[str, Any] = {
            "traceId": context.trace_id,
            "id": context.span_id,
            "kind": "CLIENT" if span.client else "SERVER",
            "timestamp": _microseconds(span.start),
            "duration": _microseconds(span.end - span.start),
            "localEndpoint": self._endpoint(),
            "annotations": [{"timestamp": at, "value": name} for name, at in _annotations(span)],
            "tags": {name: value for name, value in span.tags.items() if value},
        }
        if context.parent_id:
            found["parentId"] = context.parent_id
        if span.name:
            found["name"] = span.name
        if not span.client and self._settings.shares_spans:
            found["shared"] = True
        return found

    def _endpoint(self) -> dict[str, Any]:
        version = ipaddress.ip_address(self._address).version
        found: dict[str, Any] = {f"ipv{version}": self._address, "port": 0}
        if self._service:
            found["serviceName"] = self._service
        return found


def _microseconds(seconds: float) -> int:
    return max(0, round(seconds * 1_000_000))


def _annotations(span: Span) -> list[tuple[str, int]]:
    """Names and microseconds: those of a verbose span, and the end, which Zipkin calls "ss" or "cr"."""
    last = ("cr" if span.client else "ss", span.end)
    return [(name, _microseconds(at)) for name, at in (*span.moments, last)]
