"""A connection waits for the filters that decide at its first bytes."""

from __future__ import annotations

import asyncio
from typing import Any

from proxy.base.address import Address
from proxy.base.stream_info import ConnectionInfo, DrainState
from proxy.downstream.data_gates import UndecidedConnection, undecided
from proxy.filters.api import DataGate, Pending, Undecided
from tests.support.memory_transport import MemoryTransport


class Inner(asyncio.Protocol):
    """The terminal filter's protocol; notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.heard.append("made")

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)

    def eof_received(self) -> bool:
        self.heard.append("eof")
        return False

    def pause_writing(self) -> None:
        self.heard.append("pause")

    def resume_writing(self) -> None:
        self.heard.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.heard.append("lost")


class Slow(DataGate):
    """Decides when the test says so."""

    def __init__(self) -> None:
        self.asked = 0
        self.cancelled = 0
        self.waiting: Any = None

    def on_first_data(self, connection: ConnectionInfo, waiting: Undecided) -> bool | Pending:
        self.asked += 1
        self.waiting = waiting
        return self

    def cancel(self) -> None:
        self.cancelled += 1


class Quick(DataGate):
    def __init__(self, passes: bool) -> None:
        self.passes = passes

    def on_first_data(self, connection: ConnectionInfo, waiting: Undecided) -> bool | Pending:
        return self.passes


class Late:
    """A gate that only stands behind others."""

    reject_delay = 0.0

    def __init__(self, passes: bool) -> None:
        self.passes = passes
        self.asked = 0

    def on_new_connection(self, connection: ConnectionInfo) -> bool:
        self.asked += 1
        return self.passes


class Bench:
    def __init__(self, *gates: Any, limit: int = 1000) -> None:
        self.inner = Inner()
        address = Address("127.0.0.1", 1)
        connection = ConnectionInfo(1, address, address, 0.0, DrainState())
        connection.buffer_limit = limit
        made = undecided(gates, lambda _connection: self.inner)(connection)
        assert isinstance(made, UndecidedConnection)
        self.waiting = made
        self.transport = MemoryTransport()
        self.transport.set_protocol(made)
        made.connection_made(self.transport)


def test_the_terminal_filter_hears_of_the_connection_but_not_of_its_bytes() -> None:
    gate = Slow()
    bench = Bench(gate)
    assert bench.inner.heard == ["made"]
    assert not gate.asked
    bench.waiting.data_received(b"a")
    bench.waiting.data_received(b"b")
    assert gate.asked == 1
    assert bench.inner.heard == ["made"]
    gate.waiting.on_decided(True)
    assert bench.inner.heard == ["made", b"ab"]
    assert bench.transport.get_protocol() is bench.inner


def test_a_denied_connection_is_cut() -> None:
    gate = Slow()
    bench = Bench(gate)
    bench.waiting.data_received(b"a")
    gate.waiting.on_decided(False)
    assert bench.transport.aborted
    assert bench.inner.heard == ["made"]


def test_gates_that_decide_at_once_cost_no_turn() -> None:
    bench = Bench(Quick(True), Late(True))
    bench.waiting.data_received(b"a")
    assert bench.inner.heard == ["made", b"a"]
    bench = Bench(Quick(False))
    bench.waiting.data_received(b"a")
    assert bench.transport.aborted


def test_gates_are_asked_one_after_the_other() -> None:
    first, second, late = Slow(), Slow(), Late(False)
    bench = Bench(first, second, late)
    bench.waiting.data_received(b"a")
    assert (first.asked, second.asked) == (1, 0)
    first.waiting.on_decided(True)
    assert (second.asked, late.asked) == (1, 0)
    second.waiting.on_decided(True)
    assert late.asked == 1
    assert bench.transport.aborted


def test_an_end_without_bytes_asks_too_and_is_passed_on_last() -> None:
    gate = Slow()
    bench = Bench(gate)
    bench.waiting.eof_received()
    assert gate.asked == 1
    gate.waiting.on_decided(True)
    assert bench.inner.heard == ["made", "eof"]
    assert bench.transport.closed


def test_reading_stops_at_the_limit_until_it_is_decided() -> None:
    gate = Slow()
    bench = Bench(gate, limit=4)
    bench.waiting.data_received(b"123")
    assert bench.transport.reading
    bench.waiting.data_received(b"4")
    assert not bench.transport.reading
    gate.waiting.on_decided(True)
    assert bench.transport.reading
    assert bench.inner.heard == ["made", b"1234"]


def test_a_connection_that_goes_cancels_the_question() -> None:
    gate = Slow()
    bench = Bench(gate)
    bench.waiting.data_received(b"a")
    bench.waiting.connection_lost(None)
    assert gate.cancelled == 1
    assert bench.inner.heard == ["made", "lost"]
    gate.waiting.on_decided(True)
    assert bench.inner.heard == ["made", "lost"]


def test_what_a_server_says_is_held_up_as_ever() -> None:
    bench = Bench(Slow())
    bench.waiting.pause_writing()
    bench.waiting.resume_writing()
    assert bench.inner.heard == ["made", "pause", "resume"]
