"""Gates that are asked after the TLS handshake: they stand before the terminal filter's protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo
from proxy.filters.api import ConnectionGate

#: Seconds that a refused connection may stay silent. A close with bytes of the client unread would be a reset.
LONGEST_SILENCE: Final = 1.0

CreateProtocol = Callable[[ConnectionInfo], asyncio.Protocol]


def guarded(
    gates: tuple[ConnectionGate, ...], create_protocol: CreateProtocol, services: WorkerServices
) -> CreateProtocol:
    """Like `create_protocol`, but a connection that a gate refuses gets a protocol that closes it."""

    def create(connection: ConnectionInfo) -> asyncio.Protocol:
        for gate in gates:
            if not gate.on_new_connection(connection):
                return Refusal(connection, services, gate.reject_delay)
        return create_protocol(connection)

    return create


class Refusal(asyncio.Protocol):
    """Closes a connection when its first byte has come, or after a while; `delay` seconds later if not 0."""

    def __init__(self, connection: ConnectionInfo, services: WorkerServices, delay: float) -> None:
        self._connection = connection
        self._services = services
        self._delay = delay
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._services.timers.wake(self._services.loop.time() + LONGEST_SILENCE, self)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        del data
        self._close()

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`."""
        self._close()
        return True

    def on_wake(self, now: float) -> None:
        """The client is silent, or the delay is over."""
        del now
        self._close()

    def _close(self) -> None:
        transport = self._transport
        if transport is None:
            return
        if self._delay > 0:
            transport.pause_reading()
            self._services.timers.wake(self._services.loop.time() + self._delay, self)
            self._delay = 0.0
        else:
            self._transport = None
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        del exc
        self._transport = None
        self._connection.on_closed()
