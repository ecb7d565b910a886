"""Listeners as workers serve them: which worker gets which sockets, when they accept, and how they stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from proxy.admin.server_stats import ListenerManagerStats
from proxy.app.command_line import Options
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
        self._stats.listener_stopped += len(records)
        for record in records:
            logger.info("listener %s is removed", record.plan.name)
        self._loop.call_later(_REFUSE_SECONDS, _close, [record.active for record in records])

    def drain_gracefully(self, *, inbound_only: bool, stop: bool) -> None:
        """Responses say `connection: close`; listeners stop after the drain time if `stop`."""
        self._workers.broadcast(("announce", self._drainable(inbound_only)))
        if stop:
            self._loop.call_later(self._options.drain_time_s, lambda: self.drain(inbound_only=inbound_only))

    def drain(self, *, inbound_only: bool) -> None:
        """Refuse new connections on all listeners (or the inbound ones); existing connections go on."""
        names = self._drainable(inbound_only)
        if names:
            self._workers.broadcast(("drain_listeners", names))
            stopped = [self.table.active[name].active for name in names]
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
        self._workers.pass_sockets(handle, key, sockets)
        plan = record.plan
        handle.send(("listener", plan.name, plan.serialized, record.column, key, len(sockets)))


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
