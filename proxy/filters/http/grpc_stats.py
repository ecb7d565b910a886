"""`envoy.filters.http.grpc_stats`: counts gRPC requests, their messages and outcomes, and those of Connect.

Source: envoy.extensions.filters.http.grpc_stats.v3. What it counts in is `grpc_charges`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.services import WorkerServices
from proxy.base.stats import StatRegistry
from proxy.codec import connect_rpc
from proxy.codec.grpc import MessageCounter, is_grpc, is_grpc_response, service_and_method
from proxy.config.context import CompileContext
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks
from proxy.filters.http.grpc_charges import MethodCounts, charges_of

NAME: Final = "envoy.filters.http.grpc_stats"
"""Also the key of the filter state, whatever the filter is called."""


class GrpcStatsConfig(Struct, frozen=True):
    """`allowed` has (service, method) of those with numbers of their own; None unless there is a list."""

    emit_filter_state: bool
    all_methods: bool
    allowed: frozenset[tuple[str, str]] | None
    upstream_times: bool
    replace_dots: bool

    def names(self, path: str) -> tuple[bool, tuple[str, str] | None]:
        """(whether to count a request for that path, the names to count under or None)."""
        names = service_and_method(path)
        if names is None:
            return False, None
        if self.all_methods:
            return True, (names[0].replace(".", "_"), names[1]) if self.replace_dots else names
        return True, names if self.allowed is not None and names in self.allowed else None


def _compile(message: Any, path: str, context: CompileContext) -> GrpcStatsConfig:  # noqa: ARG001
    listed = message.WhichOneof("per_method_stat_specifier") == "individual_method_stats_allowlist"
    allowed = frozenset(
        (service.name, method)
        for service in message.individual_method_stats_allowlist.services
        for method in service.method_names
    )
    return GrpcStatsConfig(
        message.emit_filter_state,
        message.stats_for_all_methods.value,
        allowed if listed else None,
        message.enable_upstream_stats,
        message.replace_dots_in_grpc_service_name,
    )


class MessageCounts(dict[str, str]):
    """The filter state: `envoy.extensions.filters.http.grpc_stats.v3.FilterObject` as JSON, where zeros lack."""

    def __str__(self) -> str:
        return f"{self.get('requestMessageCount', 0)},{self.get('responseMessageCount', 0)}"


class GrpcStatsFilter(HttpFilter):
    """One request; changes nothing."""

    def __init__(self, callbacks: StreamCallbacks, config: GrpcStatsConfig, registry: StatRegistry) -> None:
        super().__init__(callbacks)
        self._config = config
        self._registry = registry
        self._grpc = False
        self._unary = False
        self._streaming = False
        self._grpc_response = False
        #: Where outcomes count: nowhere if the path names no method. Messages of Connect count anyway.
        self._outcomes: MethodCounts | None = None
        self._messages: MethodCounts | None = None
        self._requests = MessageCounter()
        self._responses: MessageCounter | connect_rpc.ResponseCounter = MessageCounter()

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        self._grpc = is_grpc(head.headers.get("content-type", ""))
        self._unary = connect_rpc.is_unary_request(head)
        self._streaming = connect_rpc.is_streaming_request(head)
        if not (self._grpc or self._unary or self._streaming):
            return FilterStatus.CONTINUE
        if self._streaming:
            self._responses = connect_rpc.ResponseCounter()
        cluster = self.callbacks.route_cluster()
        if cluster is not None:
            counts, names = self._config.names(head.path)
            method = charges_of(self._registry, cluster).method("grpc", names)
            if counts:
                self._outcomes = method
            if counts or not self._grpc:
                self._messages = method
        return FilterStatus.CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:
        """See `HttpFilter`."""
        if self._grpc or self._streaming:
            self._count("request_message_count", self._requests.feed(data))
        elif self._unary and end_stream:
            self._requests.count = 1
            self._count("request_message_count", 1)
        return FilterStatus.CONTINUE, data

    def _count(self, name: str, number: int) -> None:
        if not number:
            return
        if self._messages is not None:
            self._messages.add(name, number)
        if self._config.emit_filter_state:
            info = self.callbacks.info
            if info.filter_state is None:
                info.filter_state = {}
            told = (
                ("requestMessageCount", self._requests.count),
                ("responseMessageCount", self._responses.count),
            )
            info.filter_state[NAME] = MessageCounts((key, str(value)) for key, value in told if value)

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> FilterStatus:
        """See `HttpFilter`."""
        self._grpc_response = is_grpc_response(head, end_stream=end_stream)
        if self._outcomes is None:
            return FilterStatus.CONTINUE
        if self._unary:
            self._outcomes.charge_success(head.status == 200)
        elif not connect_rpc.is_streaming_response(head):
            self._outcomes.charge(head.headers.get("grpc-status"))
        if end_stream:
            self._charge_time()
        return FilterStatus.CONTINUE

    def encode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:
        """See `HttpFilter`."""
        if self._grpc_response or self._streaming:
            self._count("response_message_count", self._responses.feed(data))
            if end_stream and not self._grpc_response and self._messages is not None:
                outcome = self._responses
                self._messages.charge_success(
                    isinstance(outcome, connect_rpc.ResponseCounter) and outcome.success
                )
                self._charge_time()
        elif self._unary and end_stream:
            self._responses.count = 1
            self._count("response_message_count", 1)
            self._charge_time()
        return FilterStatus.CONTINUE, data

    def encode_trailers(self, trailers: HeaderMap) -> FilterStatus:
        """See `HttpFilter`."""
        if self._grpc and self._outcomes is not None:
            self._outcomes.charge(trailers.get("grpc-status"))
            self._charge_time()
        return FilterStatus.CONTINUE

    def _charge_time(self) -> None:
        info = self.callbacks.info
        if (
            self._config.upstream_times
            and self._messages is not None
            and info.upstream_last_byte_sent
            and info.upstream_last_byte_received
        ):
            elapsed = info.upstream_last_byte_received - info.upstream_last_byte_sent
            # The server may answer before it has read all.
            self._messages.record_time(max(0, int(elapsed * 1000)))


def _create(
    config: GrpcStatsConfig,
    services: WorkerServices,
    stat_prefix: str,  # noqa: ARG001
) -> Callable[[StreamCallbacks], HttpFilter]:
    registry = services.stats
    return lambda callbacks: GrpcStatsFilter(callbacks, config, registry)


FACTORY = HttpFilterFactory(
    name=NAME,
    type_name="envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
    terminal=False,
    compile=_compile,
    create=_create,
)
