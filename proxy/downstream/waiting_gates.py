"""Network filters that hold a new connection back until they have decided.

The terminal filter does not hear of the connection before, since the decision may be about where it goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from proxy.base.stream_info import ConnectionInfo
from proxy.connection.half_close import can_finish
from proxy.downstream.gated_connection import GatedConnection
from proxy.filters.api import ConnectionGate, Pending, WaitingGate

CreateProtocol = Callable[[ConnectionInfo], asyncio.Protocol]


def waiting(
    gates: tuple[WaitingGate | ConnectionGate, ...], create_protocol: CreateProtocol
) -> CreateProtocol:
    """Like `create_protocol`, which is called only when the `gates`, one after the other, let it pass."""

    def create(connection: ConnectionInfo) -> asyncio.Protocol:
        return HeldConnection(gates, create_protocol, connection)

    return create


class HeldConnection(GatedConnection[WaitingGate]):
    """A connection that waits for its gates, and is not listened to meanwhile."""

    def __init__(
        self,
        gates: tuple[WaitingGate | ConnectionGate, ...],
        create_protocol: CreateProtocol,
        connection: ConnectionInfo,
    ) -> None:
        super().__init__(gates, connection)
        self._create_protocol = create_protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._go_on()

    def data_received(self, data: bytes) -> None:
        """What was read before the connection came here."""
        self._held += data

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`."""
        self._ended = True
        return self._transport is not None and can_finish(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        del exc
        self._lose()
        self._connection.on_closed()

    def _ask(self, gate: WaitingGate | ConnectionGate) -> bool | Pending:
        if isinstance(gate, WaitingGate):
            return gate.on_connection(self._connection, self)
        return gate.on_new_connection(self._connection)

    def _wait(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _pass(self) -> None:
        transport, self._transport = self._transport, None
        assert transport is not None
        if transport.is_closing():
            # Its end is still to be told, and nobody else will hear of it.
            return
        protocol = self._create_protocol(self._connection)
        transport.set_protocol(protocol)
        if self._paused:
            transport.resume_reading()
        protocol.connection_made(transport)
        self._hand_on(transport)
