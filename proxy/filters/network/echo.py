"""`envoy.filters.network.echo`: sends every byte back."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo
from proxy.config.context import CompileContext
from proxy.filters.api import ListenerFacts, NetworkFilterFactory


class EchoProtocol(asyncio.Protocol):
    """One echoing connection; it stops reading while its answers are not taken."""

    __slots__ = ("_connection", "_transport")

    def __init__(self, connection: ConnectionInfo) -> None:
        self._connection = connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Send it back."""
        self._transport.write(data)

    def pause_writing(self) -> None:
        """The peer does not read."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The peer reads again."""
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end."""
        del exc
        self._connection.on_closed()


class EchoFilter:
    """Terminal filter that makes `EchoProtocol`s."""

    def create_protocol(self, connection: ConnectionInfo) -> asyncio.Protocol:
        """The protocol for one connection."""
        return EchoProtocol(connection)


def _compile(message: Any, path: str, ctx: CompileContext) -> None:
    del message, path, ctx  # the message has no field


def _create(config: None, services: WorkerServices, listener: ListenerFacts) -> EchoFilter:
    del config, services, listener
    return EchoFilter()


FACTORY = NetworkFilterFactory(
    name="envoy.filters.network.echo",
    type_name="envoy.extensions.filters.network.echo.v3.Echo",
    terminal=True,
    compile=_compile,
    create=_create,
)
