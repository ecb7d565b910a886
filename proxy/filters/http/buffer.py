"""`envoy.filters.http.buffer`: hold a request until its body is complete, up to a limit (413 beyond it).

Source: envoy.extensions.filters.http.buffer.v3. A request that came chunked leaves with its length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proxy.base.messages import RequestHead
from proxy.base.services import WorkerServices
from proxy.config.context import CompileContext
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks


@dataclass(frozen=True, slots=True)
class BufferConfig:
    """`max_request_bytes`; 0 switches the filter off (per route)."""

    max_request_bytes: int


def _compile(message: Any, path: str, context: CompileContext) -> BufferConfig:  # noqa: ARG001
    return BufferConfig(message.max_request_bytes.value)


def _compile_route(message: Any, path: str, context: CompileContext) -> BufferConfig:
    if message.WhichOneof("override") == "disabled":
        return BufferConfig(0)
    return _compile(message.buffer, f"{path}.buffer", context)


class BufferFilter(HttpFilter):
    """Stops at the head, collects the body, lets all of it go at once."""

    def __init__(self, callbacks: StreamCallbacks, config: BufferConfig) -> None:
        super().__init__(callbacks)
        self._config = config
        self._head: RequestHead | None = None
        self._pieces: list[bytes] = []
        self._size = 0

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:
        """See `HttpFilter`."""
        self._config = self.callbacks.route_config(self.name) or self._config
        if end_stream or not self._config.max_request_bytes:
            return FilterStatus.CONTINUE
        self._head = head
        return FilterStatus.STOP

    def decode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:
        """See `HttpFilter`."""
        if self._head is None:
            return FilterStatus.CONTINUE, data
        self._size += len(data)
        if self._size > self._config.max_request_bytes:
            self._head = None
            self.callbacks.local_reply(413, "Payload Too Large", "request_payload_too_large")
            return FilterStatus.STOP, b""
        self._pieces.append(data)
        if not end_stream:
            return FilterStatus.STOP, b""
        return FilterStatus.CONTINUE, self.take_held()

    def take_held(self) -> bytes:
        """See `HttpFilter`."""
        if self._head is None:
            return b""
        self._head.headers.set("content-length", str(self._size))
        self._head.headers.remove("transfer-encoding")
        self._head = None
        body = b"".join(self._pieces)
        self._pieces.clear()
        return body

    def on_destroy(self) -> None:
        """See `HttpFilter`."""
        self._pieces.clear()


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
    route_type_name="envoy.extensions.filters.http.buffer.v3.BufferPerRoute",
)
