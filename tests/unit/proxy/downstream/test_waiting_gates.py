"""Connections that are held back until a gate has decided."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.base.stream_info import ConnectionInfo
from proxy.downstream.waiting_gates import waiting
from proxy.filters.api import Pending, Undecided, WaitingGate
from tests.support.memory_transport import MemoryTransport
from tests.support.streams import connection


class Gate(WaitingGate):
    """Decides what the test says; None to wait."""

    def __init__(self, decision: bool | None) -> None:
        self.decision = decision
        self.waiting: Undecided | None = None
        self.cancelled = False

    def on_connection(self, connection: ConnectionInfo, waiting: Undecided) -> bool | Pending:
        del connection
        self.waiting = waiting
        return self if self.decision is None else self.decision

    def cancel(self) -> None:
        self.cancelled = True


class Plain:
    """A gate that decides at once."""

    reject_delay = 0.0

    def __init__(self, passes: bool) -> None:
        self.passes = passes
        self.asked = 0

    def on_new_connection(self, connection: ConnectionInfo) -> bool:
        del connection
        self.asked += 1
        return self.passes


class Inner(asyncio.Protocol):
    """The terminal filter's protocol."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.heard.append("made")

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)

    def eof_received(self) -> bool:
        self.heard.append("eof")
        return True


class Held:
    """A new connection in front of `gates`."""

    def __init__(self, *gates: Any) -> None:
        self.inner = Inner()
        self.info = connection()
        self.closed = 0
        self.info.on_close.append(self._on_close)
        self.transport = MemoryTransport()
        protocol = waiting(gates, lambda _: self.inner)(self.info)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)

    def _on_close(self) -> None:
        self.closed += 1

    @property
    def protocol(self) -> Any:
        return self.transport.get_protocol()


def test_a_gate_that_decides_at_once_is_not_in_the_way() -> None:
    held = Held(Gate(True), Plain(True))
    assert held.protocol is held.inner
    assert held.inner.heard == ["made"]


def test_nobody_hears_of_a_connection_that_waits() -> None:
    gate, later = Gate(None), Plain(True)
    held = Held(gate, later)
    held.protocol.data_received(b"ab")
    held.protocol.data_received(b"c")
    held.protocol.eof_received()
    assert held.inner.heard == []
    assert not later.asked
    assert gate.waiting is not None
    gate.waiting.on_decided(True)
    assert held.protocol is held.inner
    assert held.inner.heard == ["made", b"abc", "eof"]


@pytest.mark.parametrize("gates", [(Gate(False),), (Gate(True), Plain(False))])
def test_a_gate_may_refuse(gates: Any) -> None:
    held = Held(*gates)
    assert held.transport.is_closing()
    assert held.inner.heard == []


def test_a_gate_may_refuse_later() -> None:
    gate = Gate(None)
    held = Held(gate)
    assert gate.waiting is not None
    gate.waiting.on_decided(False)
    assert held.transport.is_closing()
    assert held.inner.heard == []


def test_a_client_that_leaves_is_taken_off_the_books() -> None:
    gate = Gate(None)
    held = Held(gate)
    held.protocol.connection_lost(None)
    assert gate.cancelled
    assert held.closed == 1
    assert gate.waiting is not None
    gate.waiting.on_decided(True)
    assert held.inner.heard == []
