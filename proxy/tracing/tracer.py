"""Traces the requests of one connection manager. Source: `ConnectionManagerImpl::ActiveStream::traceRequest`."""

from __future__ import annotations

import time
from typing import Any, Final

from envoy.config.trace.v3.http_tracer_pb2 import Tracing

from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.services import WorkerServices
from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.tracing.config import ProviderConfig, RouteTracing, TracingConfig, compile_provider
from proxy.tracing.decision import Reason, decide, reason_in, with_reason
from proxy.tracing.span import Provider, Span
from proxy.tracing.tags import ERROR, add_outcome, moments, request_tags, upstream_tags

#: `envoy.config.core.v3.TrafficDirection`.
OUTBOUND: Final = 2
_OPERATION: Final = "x-envoy-decorator-operation"
_PLAIN: Final = RouteTracing()


class Tracer:
    """See module. `egress`: requests leave this workload. `stats` counts decisions, by the names of reasons."""

    def __init__(self, config: TracingConfig, services: WorkerServices, stats: Any, *, egress: bool) -> None:
        self.config = config
        self.egress = egress
        self.node_id: str = getattr(services.node, "id", "")
        locality = getattr(services.node, "locality", None)
        self.zone: str = getattr(locality, "zone", "")
        self.wall = services.wall_clock
        self.provider = self._shared_provider(services)
        self._runtime = services.runtime
        self._draw = services.random
        self._stats = stats

    def _shared_provider(self, services: WorkerServices) -> Provider | None:
        provider = self.config.provider or _of_bootstrap(services)
        if provider is None:
            return None
        key = ("tracing", provider.key)
        found: Provider | None = services.shared.get(key)
        if found is None:
            found = services.shared[key] = provider.create(services)
        return found

    def now(self) -> float:
        """Seconds since the epoch, to the microsecond: the loop's clock counts milliseconds."""
        return self.wall.at(time.monotonic())

    def decide(self, info: StreamInfo, request_id: str | None, route: RouteTracing | None) -> str | None:
        """Note in `info` whether the request is traced; gives the id that tells it."""
        config = self.config
        request = info.request
        assert request is not None
        reason = Reason.random_sampling
        if config.by_id:
            sampling = config.sampling if route is None or route.sampling is None else route.sampling
            reason = decide(request_id, request.headers, sampling, self._runtime, self._draw)
        self._stats.traced[reason.name] += 1
        info.traced = reason.traced
        changed = request_id is not None and config.by_id and reason is not reason_in(request_id)
        return (
            with_reason(request_id, reason) if request_id and changed and config.packs_reason else request_id
        )

    def start(self, info: StreamInfo, route: RouteTracing | None) -> ActiveSpan | None:
        """The span of the request of `info`; None if nothing is to be done for it on its way."""
        head = info.request
        assert head is not None
        if self.provider is None and route is None and _OPERATION not in head.headers:
            return None
        return ActiveSpan(self, info, head, route or _PLAIN)


def _of_bootstrap(services: WorkerServices) -> ProviderConfig | None:
    """The provider of connection managers that name none; it was found good when the bootstrap was read."""
    tracing = Tracing.FromString(services.tracing)
    if not tracing.HasField("http"):
        return None
    return compile_provider(
        tracing.http, "tracing.http", CompileContext(services.runtime, node=services.node)
    )


class ActiveSpan:
    """The span of one request, with that of its call to a host; it may record nothing."""

    __slots__ = ("_call", "_name", "_operation", "_route", "_tracer", "span")

    def __init__(self, tracer: Tracer, info: StreamInfo, head: RequestHead, route: RouteTracing) -> None:
        self._tracer = tracer
        self._route = route
        self._call: Span | None = None
        self.span: Span | None = None
        #: A format of the config leaves the names that others give without effect.
        self._name = route.operations.request or tracer.config.operations.request
        #: What the other side is told that the request is called, "" for nothing.
        self._operation = route.operation if route.propagates and self._name is None else ""
        provider = tracer.provider
        if provider is not None:
            name = f"egress {head.authority}" if tracer.egress else "ingress"
            client = tracer.egress and not tracer.config.spawns
            self.span = provider.start(name, head, tracer.now(), client=client, traced=info.traced)
        if self.span is not None:
            info.trace_id = self.span.context.trace_id
            info.span_id = self.span.context.span_id
        if self._name is not None:
            return
        self._rename(route.operation)
        if tracer.egress:
            if self._operation:
                head.headers.set(_OPERATION, self._operation)
        else:
            told = head.headers.get(_OPERATION)
            if told is not None:
                head.headers.remove(_OPERATION)
            if told:
                self._rename(told)
                self._operation = ""

    def _rename(self, name: str) -> None:
        if self.span is not None and name:
            self.span.name = name

    def inject(self, head: RequestHead, info: StreamInfo) -> None:
        """Name the span in the request to a host."""
        span, tracer = self.span, self._tracer
        provider = tracer.provider
        if span is None or provider is None:
            return
        if tracer.config.spawns:
            name = self._route.operations.upstream or tracer.config.operations.upstream
            called = "" if info.upstream_cluster is None else info.upstream_cluster.config.stat_name
            text = f"router {called} egress" if name is None else name.render(info)
            span = self._call = provider.child(text, span, tracer.now())
        provider.inject(span, head)

    def on_response(self, head: ResponseHead) -> None:
        """The response head is about to leave."""
        if self._name is not None:
            return
        if self._tracer.egress:
            told = head.headers.get(_OPERATION)
            if told is not None:
                head.headers.remove(_OPERATION)
                self._rename(told)
        elif self._operation:
            head.headers.set(_OPERATION, self._operation)

    def finish(self, info: StreamInfo) -> None:
        """The stream is over, and `info` complete."""
        span, tracer = self.span, self._tracer
        provider = tracer.provider
        if span is None or provider is None or not span.context.sampled:
            return
        config = tracer.config
        custom = self._custom_tags()
        end = tracer.now()
        call = self._call
        if call is not None:
            call.end = end
            call.tags = upstream_tags(info)
            add_outcome(call.tags, info, custom)
            if not info.upstream_first_byte_received:
                call.tags["http.status_code"] = "0"
                call.tags[ERROR] = "true"
                call.tags["error.reason"] = _reset_reason(info)
            provider.report(call)
        span.end = end
        if self._name is not None:
            span.name = self._name.render(info)
        span.tags = request_tags(info, tracer.node_id, tracer.zone, config.max_path_length)
        add_outcome(span.tags, info, custom)
        if config.verbose:
            span.moments = moments(info, tracer.wall.at)
        provider.report(span)

    def _custom_tags(self) -> tuple[Any, ...]:
        """Those of the connection manager, of which the route's replace some."""
        own = self._route.tags
        if not own:
            return self._tracer.config.tags
        names = {tag.name for tag in own}
        return (*(tag for tag in self._tracer.config.tags if tag.name not in names), *own)


def _reset_reason(info: StreamInfo) -> str:
    """Why no host has answered: what `response_code_details` have in braces."""
    _, _, text = (info.response_code_details or "").partition("{")
    return text.rstrip("}").partition("|")[0].replace("_", " ")
