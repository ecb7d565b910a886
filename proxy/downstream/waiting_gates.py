"""Network filters that hold a new connection back until they have decided.

The terminal filter does not hear of the connection before, since the decision may be about where it goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from proxy.base.stream_info import ConnectionInfo
from proxy.connection.replay import replay
from proxy.filters.api import ConnectionGate, Pending, WaitingGate

CreateProtocol = Callable[[ConnectionInfo], asyncio.Protocol]


def waiting(
    gates: tuple[WaitingGate | ConnectionGate, ...], create_protocol: CreateProtocol
) -> CreateProtocol:
    """Like `create_protocol`, which is called only when the `gates`, one after the other, let it pass."""

    def create(connection: ConnectionInfo) -> asyncio.Protocol:
        return HeldConnection(gates, create_protocol, connection)

    return create


class HeldConnection(asyncio.Protocol):
    """A connection that waits for its gates, and is not listened to meanwhile."""

    def __init__(
        self,
        gates: tuple[WaitingGate | ConnectionGate, ...],
        create_protocol: CreateProtocol,
        connection: ConnectionInfo,
    ) -> None:
        self._gates = gates
        self._create_protocol = create_protocol
        self._connection = connection
        self._transport: asyncio.Transport | None = None
        self._next = 0
        self._paused = False
        self._pending: Pending | None = None
        self._held = b""
        self._ended = False

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
        # The loop cannot keep one half of a TLS connection open.
        return self._transport is not None and self._transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        del exc
        self._transport = None
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()
        self._connection.on_closed()

    def on_decided(self, passes: bool) -> None:
        """The gate that was asked last has decided; see `Undecided`."""
        self._pending = None
        transport = self._transport
        if transport is None:
            return
        if passes:
            self._go_on()
        else:
            transport.abort()

    def _go_on(self) -> None:
        """Ask the gates that have not been asked."""
        transport = self._transport
        assert transport is not None
        while self._next < len(self._gates):
            gate = self._gates[self._next]
            self._next += 1
            decision: bool | Pending
            if isinstance(gate, WaitingGate):
                decision = gate.on_connection(self._connection, self)
            else:
                decision = gate.on_new_connection(self._connection)
            if decision is True:
                continue
            if isinstance(decision, bool):
                transport.abort()
                return
            self._pending = decision
            if not self._paused:
                self._paused = True
                transport.pause_reading()
            return
        self._pass(transport)

    def _pass(self, transport: asyncio.Transport) -> None:
        self._transport = None
        if transport.is_closing():
            # Its end is still to be told, and nobody else will hear of it.
            return
        protocol = self._create_protocol(self._connection)
        transport.set_protocol(protocol)
        if self._paused:
            transport.resume_reading()
        protocol.connection_made(transport)
        if self._held and not transport.is_closing():
            replay(transport, self._held)
        taker = cast("asyncio.Protocol", transport.get_protocol())
        if self._ended and not transport.is_closing() and not taker.eof_received():
            transport.close()
