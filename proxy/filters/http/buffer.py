"""`envoy.filters.http.buffer`: hold a request until its body is complete, up to a limit (413 beyond it).

Source: envoy.extensions.filters.http.buffer.v3. A request that came chunked leaves with its length.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.services import WorkerServices
from proxy.config.context import CompileContext
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks


class BufferConfig(Struct, frozen=True):
    """`max_request_bytes`; 0 switches the filter off (per route)."""

    max_request_bytes: int


def _compile(message: Any, path: str, context: CompileContext) -> BufferConfig:  # noqa: ARG001
    return BufferConfig(message.max_request_bytes.value)


def _compile_route(message: Any, path: str, context: CompileContext) -> BufferConfig:
    if message.WhichOneof("override") == "disabled":
        return BufferConfig(0)
    return _compile(message.buffer, f"{path}.buffer", context)


class BufferFilter(HttpFilter):
    """Stops at the head, has the body kept, lets all of it go at once. Too long a body is refused on the way."""

    def __init__(self, callbacks: StreamCallbacks, config: BufferConfig) -> None:
        super().__init__(callbacks)
        self._config = config
        self._head: RequestHead | None = None
        self._size = 0

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:
        """See `HttpFilter`."""
        self._config = self.callbacks.route_config(self.name) or self._config
        if end_stream or not self._config.max_request_bytes:
            return FilterStatus.CONTINUE
        self._head = head
        self.set_decoding_limit(self._config.max_request_bytes)
        return FilterStatus.STOP

    def decode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:
        """See `HttpFilter`."""
        if self._head is None:
            return FilterStatus.CONTINUE, data
        self._size += len(data)
        if not end_stream:
            return FilterStatus.STOP_AND_BUFFER, data
        self._tell_length(self._head)
        return FilterStatus.CONTINUE, data

    def decode_trailers(self, trailers: HeaderMap) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        if self._head is not None:
            self._tell_length(self._head)
        return FilterStatus.CONTINUE

    def _tell_length(self, head: RequestHead) -> None:
        head.headers.set("content-length", str(self._size))
        head.headers.remove("transfer-encoding")


def _create(
    config: BufferConfig,
    services: WorkerServices,  # noqa: ARG001
    stat_prefix: str,  # noqa: ARG001
) -> Callable[[StreamCallbacks], HttpFilter]:
    return lambda callbacks: BufferFilter(callbacks, config)


FACTORY = HttpFilterFactory(
    name="envoy.filters.http.buffer",
    type_name="envoy.extensions.filters.http.buffer.v3.Buffer",
    terminal=False,
    compile=_compile,
    create=_create,
    compile_route=_compile_route,
)
