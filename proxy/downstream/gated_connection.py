"""A connection that waits until each of its gates, asked one after the other, has let it pass."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar, cast

from proxy.base.stream_info import ConnectionInfo
from proxy.connection.replay import replay
from proxy.filters.api import ConnectionGate, Pending

Gate = TypeVar("Gate")


class GatedConnection(asyncio.Protocol, Generic[Gate]):
    """What the ways of waiting share; it is the `Undecided` of its gates.

    `_transport` is None before the connection is there, and from the moment that it is somebody else's or lost.
    `_held` are bytes for whoever takes the connection, `_ended` tells that the client says nothing more.
    """

    def __init__(self, gates: Sequence[Gate | ConnectionGate], connection: ConnectionInfo) -> None:
        self._gates = gates
        self._connection = connection
        self._transport: asyncio.Transport | None = None
        self._next = 0
        self._pending: Pending | None = None
        self._paused = False
        self._held = b""
        self._ended = False

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

    @abstractmethod
    def _ask(self, gate: Gate | ConnectionGate) -> bool | Pending:
        """What a gate says."""

    @abstractmethod
    def _pass(self) -> None:
        """All gates let it pass."""

    def _wait(self) -> None:
        """A gate has not decided yet."""

    def _go_on(self) -> None:
        """Ask the gates that have not been asked."""
        while self._next < len(self._gates):
            gate = self._gates[self._next]
            self._next += 1
            decision = self._ask(gate)
            if decision is True:
                continue
            if not isinstance(decision, bool):
                self._pending = decision
                self._wait()
            elif self._transport is not None:
                self._transport.abort()
            return
        self._pass()

    def _lose(self) -> None:
        """The connection has gone: nobody has to decide any more."""
        self._transport = None
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()

    def _hand_on(self, transport: asyncio.Transport) -> None:
        """Tell the protocol that has taken the transport what came before."""
        held, self._held = self._held, b""
        if held and not transport.is_closing():
            replay(transport, held)
        taker = cast("asyncio.Protocol", transport.get_protocol())
        if self._ended and not transport.is_closing() and not taker.eof_received():
            transport.close()
