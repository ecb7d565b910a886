"""`envoy.filters.http.grpc_http1_reverse_bridge`: lets gRPC clients call servers that know only HTTP/1.1.

Source: envoy.extensions.filters.http.grpc_http1_reverse_bridge.v3. The request gets the content type that the
server understands and, if asked for, loses the prefix of its message; the response gets a prefix and a status.
A response whose length nothing tells is kept until its end, up to the buffer limit; Envoy keeps any.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from proxy.base.digits import UINT64, whole_number
from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.services import WorkerServices
from proxy.codec.grpc import PREFIX_BYTES, GrpcStatus, is_grpc, prefix, status_of_http
from proxy.config.context import CompileContext
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks

_MAX_SIZE: Final = 2**32


class ReverseBridgeConfig(Struct, frozen=True):
    """`size_header`, if not "", is the response field that tells the length of the body beforehand."""

    content_type: str
    withhold_frames: bool
    size_header: str


class ReverseBridgeRoute(Struct, frozen=True):
    """What a route may change: switch the filter off."""

    disabled: bool


def _compile(message: Any, path: str, context: CompileContext) -> ReverseBridgeConfig:  # noqa: ARG001
    return ReverseBridgeConfig(
        message.content_type, message.withhold_grpc_frames, message.response_size_header.lower()
    )


def _compile_route(message: Any, path: str, context: CompileContext) -> ReverseBridgeRoute:  # noqa: ARG001
    return ReverseBridgeRoute(message.disabled)


class GrpcHttp1ReverseBridgeFilter(HttpFilter):
    """One request; does nothing to what is no gRPC or has no body."""

    def __init__(self, callbacks: StreamCallbacks, config: ReverseBridgeConfig) -> None:
        super().__init__(callbacks)
        self._config = config
        self._active = False
        self._content_type = ""
        self._prefix_stripped = False
        self._prefix_added = False
        self._status = GrpcStatus.OK
        #: Of the response body, None until it is known.
        self._size: int | None = None
        self._received = 0

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:
        """See `HttpFilter`."""
        headers = head.headers
        content_type = headers.get("content-type", "")
        if end_stream or not is_grpc(content_type):
            return FilterStatus.CONTINUE
        override = self.callbacks.route_config(self.name)
        if override is not None and override.disabled:
            return FilterStatus.CONTINUE
        self._active = True
        self._content_type = content_type
        headers.set("content-type", self._config.content_type)
        headers.set("accept", self._config.content_type)
        if self._config.withhold_frames:
            length = _number(headers.get("content-length"))
            if length is not None and length >= PREFIX_BYTES:
                headers.set("content-length", str(length - PREFIX_BYTES))
        self.callbacks.clear_route_cache()
        return FilterStatus.CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:  # noqa: ARG002
        """See `HttpFilter`."""
        if not self._active or not self._config.withhold_frames or self._prefix_stripped:
            return FilterStatus.CONTINUE, data
        if len(data) < PREFIX_BYTES:
            self._reply("invalid request body", GrpcStatus.UNKNOWN, "grpc_bridge_data_too_small")
            return FilterStatus.STOP, b""
        self._prefix_stripped = True
        return FilterStatus.CONTINUE, data[PREFIX_BYTES:]

    def _reply(self, body: str, status: GrpcStatus, details: str) -> None:
        self.callbacks.local_reply(200, body, details, grpc_status=status)

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> FilterStatus:
        """See `HttpFilter`."""
        if not self._active:
            return FilterStatus.CONTINUE
        headers = head.headers
        content_type = headers.get("content-type", "")
        if content_type != self._config.content_type:
            self._reply(
                _unsupported(content_type, head.status), GrpcStatus.UNKNOWN, "grpc_bridge_content_type_wrong"
            )
            return FilterStatus.STOP
        headers.set("content-type", self._content_type)
        if self._config.withhold_frames and not self._learn_size(headers):
            self._reply(
                "envoy reverse bridge: upstream did not set content length",
                GrpcStatus.INTERNAL,
                "grpc_bridge_content_length_missing",
            )
            return FilterStatus.STOP
        # A 200 is a success here, though gRPC takes no HTTP status for one.
        self._status = GrpcStatus.OK if head.status == 200 else status_of_http(head.status)
        head.status = 200
        if end_stream and self._config.withhold_frames:
            headers.set("content-length", str(PREFIX_BYTES))
            self.add_encoded_data(prefix(0))
            self._add_status()
        return FilterStatus.CONTINUE

    def _learn_size(self, headers: HeaderMap) -> bool:
        """Tells whether all is known that must be known of the length of the body."""
        if self._config.size_header:
            value = headers.get(self._config.size_header)
            size = _number(value.partition(",")[0].strip() if value is not None else None)
            if size is None or size >= _MAX_SIZE:
                return False
            headers.set("content-length", str(size + PREFIX_BYTES))
        else:
            size = _number(headers.get("content-length"))
            if size:
                headers.set("content-length", str(size + PREFIX_BYTES))
        self._size = size
        return True

    def _add_status(self) -> None:
        self.add_encoded_trailers().set("grpc-status", str(int(self._status)))

    def encode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:
        """See `HttpFilter`."""
        if not self._active:
            return FilterStatus.CONTINUE, data
        self._received += len(data)
        if self._config.withhold_frames and not self._prefix_added:
            if self._size is None and not end_stream:
                return FilterStatus.STOP_AND_BUFFER, data
            data = self._frame(data)
        if end_stream:
            self._add_status()
            if self._config.size_header and self._config.withhold_frames and self._received != self._size:
                self._reply(
                    "envoy reverse bridge: upstream set incorrect content length",
                    GrpcStatus.INTERNAL,
                    "grpc_bridge_content_length_wrong",
                )
                return FilterStatus.STOP, b""
        return FilterStatus.CONTINUE, data

    def _frame(self, data: bytes) -> bytes:
        """The prefix, what was kept, and `data`."""
        self._prefix_added = True
        kept = self.encoding_buffer()
        if kept is not None:
            data = kept + data
            self.replace_encoding_buffer(b"")
        return prefix(len(data) if self._size is None else self._size) + data

    def encode_trailers(self, trailers: HeaderMap) -> FilterStatus:
        """See `HttpFilter`."""
        if self._active:
            trailers.set("grpc-status", str(int(self._status)))
            if self._config.withhold_frames and not self._prefix_added:
                self.add_encoded_data(self._frame(b""))
        return FilterStatus.CONTINUE


def _number(text: str | None) -> int | None:
    return None if text is None else whole_number(text, UINT64)


def _unsupported(content_type: str, status: int) -> str:
    said = f"unsupported content-type {content_type}" if content_type else "no content-type header"
    return f"envoy reverse bridge: upstream responded with {said}, status code {status}"


def _create(
    config: ReverseBridgeConfig,
    services: WorkerServices,  # noqa: ARG001
    stat_prefix: str,  # noqa: ARG001
) -> Callable[[StreamCallbacks], HttpFilter]:
    return lambda callbacks: GrpcHttp1ReverseBridgeFilter(callbacks, config)


FACTORY = HttpFilterFactory(
    name="envoy.filters.http.grpc_http1_reverse_bridge",
    type_name="envoy.extensions.filters.http.grpc_http1_reverse_bridge.v3.FilterConfig",
    terminal=False,
    compile=_compile,
    create=_create,
    compile_route=_compile_route,
)
