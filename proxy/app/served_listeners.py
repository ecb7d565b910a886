"""Listeners as workers serve them: which worker gets which sockets, when they accept, and how they stop."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from proxy.admin.server_stats import ListenerManagerStats
from proxy.app.command_line import Options
from proxy.app.hot_restart.inherited import key_of
from proxy.app.worker_table import WorkerHandle, WorkerTable
from proxy.discovery.listeners import ListenerRecord, ListenerTable

if TYPE_CHECKING:
    from proxy.app.active_listener import ActiveListener

logger = logging.getLogger("proxy.app.served_listeners")

_REFUSE_SECONDS: Final = 1.0


class ServedListeners:
    """See module. `table` is set once it is made, as it calls `start` and `stop`."""

    table: ListenerTable

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: Options,
        workers: WorkerTable,
        stats: ListenerManagerStats,
    ) -> None:
        self._loop = loop
        self._options = options
        self._workers = workers
        self._stats = stats
        #: Whether workers have been given listeners.
        self.serving = False
        #: Whether these accept connections.
        self.accepting = False

    def serve(self) -> None:
        """Give every worker all listeners."""
        self.serving = True
        for handle in self._workers.alive():
            self.send_all(handle)

    def accept(self) -> None:
        """All workers have what they need: have connections come in."""
        for listener in self.table:
            listener.active.listen()
        self._stats.workers_started = 1
        self._stats.listener_create_success = len(self.table.active) * self._options.concurrency
        self.accepting = True

    def log_all(self) -> None:
        """One line for each."""
        for listener in self.table:
            _log(listener)

    def send_all(self, handle: WorkerHandle) -> None:
        """Give one worker all listeners that are to be served."""
        for listener in self.table:
            if not listener.active.draining:
                self._send(handle, listener)
        handle.send(("serve",))

    def start(self, record: ListenerRecord) -> None:
        """A listener has come or changed, and is warm."""
        if not self.serving:
            return
        for handle in self._workers.alive():
            self._send(handle, record)
        if self.accepting:
            record.active.listen()
            self._stats.listener_create_success += self._options.concurrency
            _log(record)

    def stop(self, records: list[ListenerRecord]) -> None:
        """Listeners have gone."""
        self._workers.broadcast(("remove_listeners", [record.plan.name for record in records]))
        for record in records:
            logger.info("listener %s is removed", record.plan.name)
        self._loop.call_later(_REFUSE_SECONDS, _close, [record.active for record in records])

    def drain_gracefully(self, *, inbound_only: bool, stop: bool) -> None:
        """Responses say `connection: close`, by and by if `--drain-strategy` is "gradual"; listeners stop after the
        drain time if `stop`.
        """
        self._announce(self._drainable(inbound_only))
        if stop:
            self._loop.call_later(self._options.drain_time_s, lambda: self.drain(inbound_only=inbound_only))

    def drain(self, *, inbound_only: bool) -> None:
        """Refuse new connections on all listeners (or the inbound ones); existing connections go on."""
        names = self._drainable(inbound_only)
        if names:
            self._stop_accepting(names)

    def hand_over(self, taken: frozenset[str], *, keep: bool) -> None:
        """Another process accepts on the sockets of the addresses `taken`, by the names of `key_of`.

        Connections are told to end. The other listeners stop too, unless `keep`.
        """
        stopped = []
        for record in self.table:
            active = record.active
            theirs = frozenset(
                number for number, where in enumerate(active.bound) if keep or key_of(where) in taken
            )
            if not active.bound or active.draining:
                continue
            if not keep or any(key_of(where) in taken for where in active.bound):
                active.shared = theirs
                stopped.append(record.plan.name)
        self._announce([record.plan.name for record in self.table])
        if stopped:
            self._stop_accepting(stopped)

    def pass_sockets(self) -> Iterator[tuple[str, list[socket.socket]]]:
        """The name of an address → its sockets, which another process has too from now on."""
        for record in self.table:
            active = record.active
            if active.draining:
                continue
            active.shared = frozenset(range(len(active.bound)))
            for where, sockets in zip(active.bound, active.sockets, strict=True):
                if where.address.port or where.address.path:
                    yield key_of(where), sockets

    def unshare(self) -> None:
        """The other process has gone without taking over."""
        for record in self.table:
            record.active.shared = frozenset()

    def taken(self) -> list[str]:
        """The names of all addresses that are accepted on."""
        return [key_of(where) for record in self.table for where in record.active.bound]

    def _announce(self, names: list[str]) -> None:
        gradual = self._options.drain_strategy == "gradual"
        self._workers.broadcast(("announce", names, self._options.drain_time_s if gradual else 0))

    def _stop_accepting(self, names: list[str]) -> None:
        stopped = [self.table.active[name].active for name in names]
        shared = {name: tuple(self.table.active[name].active.shared) for name in names}
        if any(shared.values()):
            self._workers.broadcast(("drain_listeners", names, shared))
        else:
            self._workers.broadcast(("drain_listeners", names))
        for listener in stopped:
            listener.draining = True
            self._stats.listener_stopped += 1
        # Each worker accepts what waits on its socket and shuts it; a worker that hangs must not keep it open.
        self._loop.call_later(_REFUSE_SECONDS, _refuse, stopped)

    def refuse_all(self) -> None:
        """No connection comes in any more."""
        _refuse([listener.active for listener in self.table])

    def _drainable(self, inbound_only: bool) -> list[str]:
        return [
            listener.plan.name
            for listener in self.table
            if not listener.active.draining and (listener.plan.inbound or not inbound_only)
        ]

    def _send(self, handle: WorkerHandle, record: ListenerRecord) -> None:
        sockets = record.active.of_worker(handle.index)
        # Sockets and messages come by different ways: a key that is used once tells which belong together.
        key = str(record.number)
        further = record.active.further_of_worker(handle.index)
        self._workers.pass_sockets(handle, key, sockets + [one for _number, one in further])
        plan = record.plan
        numbers = tuple(number for number, _one in further)
        handle.send(("listener", plan.name, plan.serialized, record.column, key, len(sockets), numbers))


def _refuse(listeners: Iterable[ActiveListener]) -> None:
    for listener in listeners:
        listener.refuse()


def _close(listeners: Iterable[ActiveListener]) -> None:
    for listener in listeners:
        listener.refuse()
        listener.close()


def _log(record: ListenerRecord) -> None:
    verb = "accepts on" if record.plan.bound else "is handed connections to"
    addresses = ", ".join(map(str, record.active.addresses()))
    logger.info("listener %s %s %s", record.plan.name, verb, addresses)
