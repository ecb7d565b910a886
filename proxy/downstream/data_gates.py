"""Network filters that decide when the first bytes have come, and perhaps not at once.

The terminal filter's protocol hears of the connection from the beginning, so that a server may speak first, but
what the client says is held until every filter is content.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from proxy.base.stream_info import ConnectionInfo
from proxy.connection.half_close import can_finish
from proxy.downstream.gated_connection import GatedConnection
from proxy.filters.api import ConnectionGate, DataGate, Pending

CreateProtocol = Callable[[ConnectionInfo], asyncio.Protocol]


def undecided(
    gates: tuple[DataGate | ConnectionGate, ...], create_protocol: CreateProtocol
) -> CreateProtocol:
    """Like `create_protocol`, but the protocol gets no bytes before the `gates` have let the connection pass.

    They are asked one after the other; a `ConnectionGate` among them stands behind a `DataGate` in the chain and
    may want to see what that has learnt.
    """

    def create(connection: ConnectionInfo) -> asyncio.Protocol:
        return UndecidedConnection(gates, create_protocol(connection), connection)

    return create


class UndecidedConnection(GatedConnection[DataGate]):
    """A connection that waits for its gates. `inner` is the terminal filter's protocol."""

    def __init__(
        self,
        gates: tuple[DataGate | ConnectionGate, ...],
        inner: asyncio.Protocol,
        connection: ConnectionInfo,
    ) -> None:
        super().__init__(gates, connection)
        self._inner = inner
        self._started = False

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._held += data
        limit = self._connection.buffer_limit
        if limit and len(self._held) >= limit and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._start()

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`."""
        self._ended = True
        transport = self._transport
        self._start()
        return transport is not None and can_finish(transport)

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._lose()
        self._inner.connection_lost(exc)

    # -- the gates

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._go_on()

    def _ask(self, gate: DataGate | ConnectionGate) -> bool | Pending:
        if isinstance(gate, DataGate):
            return gate.on_first_data(self._connection, self)
        return gate.on_new_connection(self._connection)

    def _pass(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._transport = None
        transport.set_protocol(self._inner)
        if self._paused:
            transport.resume_reading()
        self._hand_on(transport)
