"""`envoy.filters.http.grpc_http1_bridge`: lets HTTP/1.1 clients, which read no trailers, call gRPC servers.

Source: envoy.extensions.filters.http.grpc_http1_bridge.v3. The response is held back until its trailers are there;
a status other than 0 becomes HTTP 503, and status and message go into the head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.services import WorkerServices
from proxy.codec.grpc import CONTENT_TYPE, PREFIX_BYTES, grpc_status, is_grpc, prefix
from proxy.config.context import CompileContext
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks

_PROTOBUF: Final = "application/x-protobuf"


class BridgeConfig(Struct, frozen=True):
    """`upgrade_protobuf` makes gRPC of requests that carry a bare message; `ignore_query` cuts the query off."""

    upgrade_protobuf: bool
    ignore_query: bool


def _compile(message: Any, path: str, context: CompileContext) -> BridgeConfig:  # noqa: ARG001
    return BridgeConfig(message.upgrade_protobuf_to_grpc, message.ignore_query_parameters)


class GrpcHttp1BridgeFilter(HttpFilter):
    """One request; does nothing for HTTP/2 clients and what is no gRPC."""

    def __init__(self, callbacks: StreamCallbacks, config: BridgeConfig) -> None:
        super().__init__(callbacks)
        self._config = config
        self._bridging = False
        self._framing = False
        self._unstripped = 0
        self._size = 0
        self._head: ResponseHead | None = None

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        headers = head.headers
        framing = self._config.upgrade_protobuf and headers.get("content-type") == _PROTOBUF
        if framing:
            headers.set("content-type", CONTENT_TYPE)
            headers.remove("content-length")
            self.callbacks.clear_route_cache()
        if self.callbacks.info.protocol == "HTTP/2" or not is_grpc(headers.get("content-type", "")):
            return FilterStatus.CONTINUE
        self._bridging = True
        self._framing = framing
        if framing:
            self._unstripped = PREFIX_BYTES
        if self._config.ignore_query:
            head.path = head.path.partition("?")[0]
        return FilterStatus.CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:
        """See `HttpFilter`."""
        if not self._framing:
            return FilterStatus.CONTINUE, data
        if not end_stream:
            return FilterStatus.STOP_AND_BUFFER, data
        kept = self._take_request()
        return FilterStatus.CONTINUE, prefix(len(kept) + len(data)) + kept + data

    def decode_trailers(self, trailers: HeaderMap) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        if self._framing:
            kept = self._take_request()
            self.add_decoded_data(prefix(len(kept)) + kept)
        return FilterStatus.CONTINUE

    def _take_request(self) -> bytes:
        kept = self.decoding_buffer()
        if kept:
            self.replace_decoding_buffer(b"")
        return kept or b""

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> FilterStatus:
        """See `HttpFilter`."""
        if not self._bridging or end_stream:
            return FilterStatus.CONTINUE
        self._head = head
        return FilterStatus.STOP

    def encode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:
        """See `HttpFilter`."""
        if self._head is None or end_stream:
            return FilterStatus.CONTINUE, data
        if self._unstripped:
            stripped = data[self._unstripped :]
            self._unstripped -= len(data) - len(stripped)
            data = stripped
        self._size += len(data)
        return FilterStatus.STOP_AND_BUFFER, data

    def encode_trailers(self, trailers: HeaderMap) -> FilterStatus:
        """See `HttpFilter`."""
        if self._head is None:
            return FilterStatus.CONTINUE
        headers = self._head.headers
        status = trailers.get("grpc-status")
        if status is not None:
            if grpc_status(trailers) != 0:
                self._head.status = 503
            headers.set("grpc-status", status)
        message = trailers.get("grpc-message")
        if message is not None:
            headers.set("grpc-message", message)
        headers.set("content-length", str(self._size))
        return FilterStatus.CONTINUE


def _create(
    config: BridgeConfig,
    services: WorkerServices,  # noqa: ARG001
    stat_prefix: str,  # noqa: ARG001
) -> Callable[[StreamCallbacks], HttpFilter]:
    return lambda callbacks: GrpcHttp1BridgeFilter(callbacks, config)


FACTORY = HttpFilterFactory(
    name="envoy.filters.http.grpc_http1_bridge",
    type_name="envoy.extensions.filters.http.grpc_http1_bridge.v3.Config",
    terminal=False,
    compile=_compile,
    create=_create,
)
