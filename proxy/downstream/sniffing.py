"""Runs listener filters on a new connection, before its filter chain is chosen.

A `Sniffer` is the protocol of a connection for as long as a filter waits for bytes. Whatever has been read is then
given to the terminal filter's protocol, or to the TLS handshake, as if it had come only now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, Literal, cast

from msgspec import Struct

from proxy.base.stats import StatGroup
from proxy.base.stream_info import LOOP, ConnectionInfo
from proxy.downstream.connection import AcceptedConnection, Acceptor
from proxy.downstream.directory import ListenerDirectory
from proxy.downstream.live_listener_filters import LiveListenerFilter, LiveListenerFilters
from proxy.downstream.server_first import ServerFirst, ServerFirstStats, Watch
from proxy.filters.listener.api import DONE, REJECT, Decision, Inspection


class LoopStats(StatGroup):
    """`listener.<address>.downstream_cx_loop`: connections that wanted to go to the proxy itself."""

    COUNTERS: ClassVar[tuple[str, ...]] = ("downstream_cx_loop",)

    downstream_cx_loop: int


class SniffingRules(Struct, frozen=True):
    """What a listener with listener filters does before it chooses a chain.

    `timeout` is in seconds, 0 for none; a connection over it goes on if `continue_on_timeout`, else it is closed.
    With `hand_off` a connection goes to the listener of its restored destination.
    """

    live: LiveListenerFilters
    timeout: float
    continue_on_timeout: bool
    hand_off: bool
    directory: ListenerDirectory
    loop_stats: LoopStats


class SniffingAcceptor(Acceptor):
    """An acceptor whose connections pass listener filters first."""

    def __init__(self, *facts: Any, rules: SniffingRules, **places: Any) -> None:
        super().__init__(*facts, **places)
        self.rules = rules
        self.timers = self._services.timers
        self.now = self._now
        self._server_first: ServerFirst | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `Acceptor`."""
        accepted = cast("asyncio.Transport", transport)
        if self._over_limit():
            accepted.abort()
            return
        self._sniff(accepted, self._describe(accepted), b"", self.rules.hand_off)

    def adopt(self, transport: asyncio.Transport, connection: AcceptedConnection, data: bytes) -> None:
        """See `Acceptor`; a connection is handed over once at most."""
        self._enter(connection)
        self._sniff(transport, connection, data, hand_off=False)

    def _sniff(
        self, transport: asyncio.Transport, connection: AcceptedConnection, data: bytes, hand_off: bool
    ) -> None:
        filters = self.rules.live.filters
        if filters is None:
            self.stats.extension_config_missing += 1
            self._log(connection, None)
            transport.abort()
            return
        waits, decision = _ask(filters, 0, connection, transport)
        if decision is None:
            self._pass_on(transport, connection, data, hand_off)
            return
        if decision is Decision.REJECT:
            self._log(connection, None)
            transport.abort()
            return
        self._transports[connection.id] = transport
        self.stats.downstream_pre_cx_active += 1
        self._own_count.increase()
        self._global_count.increase()
        Sniffer(self, filters, transport, connection, data, hand_off).start(waits, decision)

    def watch(
        self,
        connection: AcceptedConnection,
        remaining: tuple[LiveListenerFilter, ...],
        hand_off: bool,
        spoke: Callable[[], None],
    ) -> Watch | None:
        """Watch who speaks first on a connection for which the first of `remaining` waits, if that can matter:
        nothing may be waited for but the detection of a protocol, which has a default.
        """
        if not self.rules.continue_on_timeout or not all(one.only_detects for one in remaining):
            return None
        chain = self._only
        if chain is None:
            found = self._config.index.match(connection)
            if found is None:
                return None
            chain = self._chains[found.number]
        if chain.dial_early is None:
            return None
        if connection.local_address_restored:
            directory = self.rules.directory
            connection.destination_is_proxy = directory.owns(connection.local_address)
            if connection.destination_is_proxy or (
                hand_off and directory.find(connection.local_address) not in {None, self}
            ):
                return None
        server_first = self._server_first
        if server_first is None:
            stats = self._services.stats.shared(ServerFirstStats, f"{self._config.stat_prefix}server_first.")
            self._server_first = server_first = ServerFirst(self._config.name, self.timers, self.now, stats)
        return server_first.watch(connection, chain.dial_early, spoke)

    def _leave(self, connection: ConnectionInfo) -> None:
        del self._transports[connection.id]
        self.stats.downstream_pre_cx_active -= 1
        self._own_count.decrease()
        self._global_count.decrease()

    def passed(
        self, transport: asyncio.Transport, connection: AcceptedConnection, data: bytes, hand_off: bool
    ) -> None:
        """Every filter has become content."""
        self._leave(connection)
        self._pass_on(transport, connection, data, hand_off)

    def _pass_on(
        self, transport: asyncio.Transport, connection: AcceptedConnection, data: bytes, hand_off: bool
    ) -> None:
        """Choose who serves the connection."""
        if connection.local_address_restored:
            directory = self.rules.directory
            connection.destination_is_proxy = directory.owns(connection.local_address)
            if self.rules.hand_off:
                found = directory.find(connection.local_address)
                if found is self and connection.destination_is_proxy:
                    self._refuse_loop(transport, connection)
                    return
                if hand_off and found is not None and found is not self:
                    found.adopt(transport, connection, data)
                    return
        self._choose(transport, connection, data)

    def refused(self, connection: AcceptedConnection) -> None:
        """A filter or the client has ended a connection that no chain has been chosen for."""
        self._leave(connection)
        self._log(connection, None)

    def _refuse_loop(self, transport: asyncio.Transport, connection: AcceptedConnection) -> None:
        self.rules.loop_stats.downstream_cx_loop += 1
        connection.termination_details = LOOP
        self._log(connection, LOOP)
        transport.abort()


def _ask(
    filters: tuple[LiveListenerFilter, ...],
    first: int,
    connection: AcceptedConnection,
    transport: asyncio.Transport,
) -> tuple[int, Inspection | Literal[Decision.REJECT] | None]:
    """Ask the filters from the `first` on: the place of one that wants bytes or refuses, and what it says.

    None for the latter says that all of them are content.
    """
    for place in range(first, len(filters)):
        one = filters[place]
        if one.disabled is not None and one.disabled(connection):
            continue
        decision = one.filter.accept(connection, transport)
        if decision is not Decision.CONTINUE:
            return place, decision
    return len(filters), None


class Sniffer(asyncio.Protocol):
    """One connection in the hands of a listener filter that wants to see bytes."""

    __slots__ = (
        "_acceptor",
        "_connection",
        "_data",
        "_filters",
        "_hand_off",
        "_inspection",
        "_needed",
        "_next",
        "_timer",
        "_transport",
        "_watch",
    )

    def __init__(
        self,
        acceptor: SniffingAcceptor,
        filters: tuple[LiveListenerFilter, ...],
        transport: asyncio.Transport,
        connection: AcceptedConnection,
        data: bytes,
        hand_off: bool,
    ) -> None:
        self._acceptor = acceptor
        self._filters = filters
        self._transport: asyncio.Transport | None = transport
        self._connection = connection
        self._data = data
        self._hand_off = hand_off
        self._next = 0
        self._inspection: Inspection | None = None
        self._needed = 0
        self._timer: Any = None
        self._watch: Watch | None = None

    def start(self, place: int, inspection: Inspection) -> None:
        """Wait for the bytes that the filter at a place needs, unless they are here."""
        self._next = place + 1
        self._inspection = inspection
        if self._looked():
            self._run()
        if self._transport is not None:
            self._transport.set_protocol(self)
            acceptor = self._acceptor
            if acceptor.rules.timeout > 0:
                self._timer = acceptor.timers.wake(acceptor.now() + acceptor.rules.timeout, self)

    def _run(self) -> None:
        """Go on from the next filter."""
        while True:
            transport = cast("asyncio.Transport", self._transport)
            place, decision = _ask(self._filters, self._next, self._connection, transport)
            self._next = place + 1
            if decision is None:
                self._pass()
                return
            if decision is Decision.REJECT:
                self._refuse()
                return
            self._inspection = decision
            if not self._looked():
                return

    def _looked(self) -> bool:
        """Show the present filter what has come, if anything; whether the next one has its turn."""
        if self._data:
            return self._inspect()
        if self._watch is None:
            self._watch = self._acceptor.watch(
                self._connection, self._filters[self._next - 1 :], self._hand_off, self._server_spoke
            )
        return False

    def _inspect(self) -> bool:
        """Show the present filter what has come; whether the next one has its turn."""
        inspection = cast("Inspection", self._inspection)
        verdict = inspection.feed(self._data)
        if verdict == DONE:
            if inspection.consumed:
                self._data = self._data[inspection.consumed :]
            self._needed = 0
            return True
        if verdict == REJECT:
            self._refuse()
        else:
            self._needed = verdict
        return False

    def _end(self) -> asyncio.Transport | None:
        """Stop waiting; the transport, None if that has happened before."""
        transport, self._transport = self._transport, None
        if self._timer is not None:
            self._acceptor.timers.cancel(self._timer)
            self._timer = None
        return transport

    def _pass(self) -> None:
        transport = self._end()
        if transport is not None:
            connection = self._connection
            connection.early_upstream = self._end_watch()
            self._acceptor.passed(transport, connection, self._data, self._hand_off)
            if connection.early_upstream is not None:
                connection.early_upstream.close()
                connection.early_upstream = None

    def _end_watch(self) -> Any:
        watch, self._watch = self._watch, None
        return None if watch is None else watch.end()

    def _server_spoke(self) -> None:
        if not self._data:
            self._pass()

    def _refuse(self) -> None:
        transport = self._end()
        if transport is not None:
            early = self._end_watch()
            if early is not None:
                early.close()
            self._acceptor.refused(self._connection)
            transport.abort()

    def on_wake(self, now: float) -> None:
        """The filters have waited too long."""
        del now
        self._timer = None
        if self._transport is None:
            return
        acceptor = self._acceptor
        acceptor.stats.downstream_pre_cx_timeout += 1
        if acceptor.rules.continue_on_timeout:
            self._pass()
        else:
            self._refuse()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._watch is not None and not self._data:
            self._watch.client_spoke()
        self._data = data = self._data + data if self._data else data
        if self._transport is not None and len(data) >= self._needed and self._inspect():
            self._run()

    def eof_received(self) -> None:
        """The client sends no more, so that the filter waits in vain."""
        self._gone(error=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """The line broke, or was closed from here."""
        self._gone(error=exc is not None)

    def _gone(self, *, error: bool) -> None:
        if self._transport is not None:
            if error:
                self._acceptor.stats.downstream_listener_filter_error += 1
            else:
                self._acceptor.stats.downstream_listener_filter_remote_close += 1
            self._refuse()
