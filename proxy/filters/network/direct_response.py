"""`envoy.filters.network.direct_response`: sends a fixed text and closes, whatever the peer sends."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo
from proxy.config.context import CompileContext
from proxy.config.data_source import read_data_source
from proxy.filters.api import ListenerFacts, NetworkFilterFactory


class DirectResponseProtocol(asyncio.Protocol):
    """One connection that is answered and closed."""

    __slots__ = ("_body", "_connection")

    def __init__(self, connection: ConnectionInfo, body: bytes) -> None:
        self._connection = connection
        self._body = body

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer at once; closing flushes."""
        self._connection.response_code_details = "direct_response"
        writer = cast("asyncio.Transport", transport)
        if self._body:
            writer.write(self._body)
        writer.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end."""
        del exc
        self._connection.on_closed()


class DirectResponseFilter:
    """Terminal filter with the bytes to send."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def create_protocol(self, connection: ConnectionInfo) -> asyncio.Protocol:
        """The protocol for one connection."""
        return DirectResponseProtocol(connection, self._body)


def _compile(message: Any, path: str, ctx: CompileContext) -> bytes:
    if not message.HasField("response"):
        return b""
    return read_data_source(message.response, f"{path}.response", ctx)


def _create(config: bytes, services: WorkerServices, listener: ListenerFacts) -> DirectResponseFilter:
    del services, listener
    return DirectResponseFilter(config)


FACTORY = NetworkFilterFactory(
    name="envoy.filters.network.direct_response",
    type_name="envoy.extensions.filters.network.direct_response.v3.Config",
    terminal=True,
    compile=_compile,
    create=_create,
)
