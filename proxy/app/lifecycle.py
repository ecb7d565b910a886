"""What state the process is in, and how it ends: at once, by a drain, or because another process has taken over.

A drain counts connections only after everybody has stopped accepting. Each time that workers are asked how many
they have, the question gets a new number, and the answer follows what was accepted before it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Literal

from proxy.app.command_line import Options
from proxy.app.drain import DrainSequence
from proxy.app.ipc import Message
from proxy.app.served_listeners import ServedListeners
from proxy.app.service_manager import ServiceManager
from proxy.app.worker_table import WorkerHandle, WorkerTable
from proxy.base.event_log import EventLog

logger = logging.getLogger("proxy.app.lifecycle")

State = Literal["PRE_INITIALIZING", "INITIALIZING", "LIVE", "DRAINING"]


class Lifecycle:
    """See module. `awaits_numbers` tells whether a process that was taken over from has not said its last."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: Options,
        workers: WorkerTable,
        served: ServedListeners,
        events: EventLog,
        service: ServiceManager,
        awaits_numbers: Callable[[], bool],
    ) -> None:
        self._loop = loop
        self._options = options
        self._workers = workers
        self._served = served
        self._events = events
        self._service = service
        self._awaits_numbers = awaits_numbers
        #: What `/ready` and `server.state` say.
        self.state: State = "PRE_INITIALIZING"
        #: The exit status, once the end is due.
        self.exit: asyncio.Future[int] = loop.create_future()
        self._health_failed = False
        self._drain: DrainSequence | None = None
        self._handed_over = False
        # The generations of workers that have answered the question of the number.
        self._reported: set[int] = set()
        self._question = 0

    @property
    def draining(self) -> bool:
        """Whether connections are told to end, and all ends with them."""
        return self._drain is not None

    @property
    def ending(self) -> bool:
        """Whether the end has begun."""
        return self.draining or self.exit.done()

    def fail_health_checks(self, failed: bool) -> None:
        """`/healthcheck/fail` and `/healthcheck/ok`."""
        if failed != self._health_failed:
            what = "readiness_failed" if failed else "readiness_restored"
            self._events.record(what, {}, f"/healthcheck/{'fail' if failed else 'ok'} was asked for")
        self._health_failed = failed
        if self._drain is None:
            self.state = "DRAINING" if failed else "LIVE"
            self._announce()

    def request_exit(self, status: int, reason: str) -> None:
        """End without waiting for connections; logs are flushed."""
        if not self.exit.done():
            logger.info("%s", reason)
            self._service.stopping(reason)
            self.exit.set_result(status)

    def begin_drain(self, reason: str) -> None:
        """SIGTERM: finish what is in flight, then exit."""
        options = self._options
        if self._drain is not None and self._handed_over:
            self._handed_over = False
            logger.info("%s: %d s are left for the drain", reason, options.drain_time_s)
            self.hurry()
            return
        if self._drain is not None:
            self.request_exit(0, f"{reason} again: ending now")
            return
        if not self._served.accepting:
            self.request_exit(0, f"{reason} before start-up was complete: ending now")
            return
        logger.info(
            "%s: draining (%s, at most %d s); once more ends at once",
            reason,
            options.drain_strategy,
            options.drain_time_s,
        )
        strategy = f"{reason}; the drain strategy is {options.drain_strategy}"
        self._events.record("drain_started", {}, strategy, options.drain_time_s)
        self.state = "DRAINING"
        self._service.stopping(f"draining, at most {options.drain_time_s} s")
        self._announce()
        immediate = options.drain_strategy == "immediate"
        self._start_drain(
            options.drain_time_s, lambda: self._served.drain(inbound_only=False), immediate=immediate
        )

    def hand_over(self, seconds: int, taken: frozenset[str], *, keep: bool) -> None:
        """Another process accepts on the addresses `taken`; see `proxy.app.hot_restart.messages.Drain`."""
        if self._drain is not None:
            self._served.hand_over(taken, keep=keep)
            return
        logger.info("another process has taken over: draining, at most %d s", seconds)
        self._handed_over = True
        self._events.record("drain_started", {}, "another process has taken over", seconds)
        self._start_drain(seconds, lambda: self._served.hand_over(taken, keep=keep), hand_over=True)

    def hurry(self) -> None:
        """End a drain that has begun within `--drain-time-s`."""
        if self._drain is not None:
            self._drain.limit(self._options.drain_time_s)

    def ask(self, handle: WorkerHandle) -> None:
        """A worker that is new: have it report as the others do."""
        if self._drain is not None:
            handle.send(("watch_connections", self._question))

    def take_report(self, handle: WorkerHandle, message: Message) -> None:
        """A worker's "connections": how many it has, what it has accepted ever and of late, and the question."""
        _kind, handle.connections, handle.accepted, handle.accepted_lately, question = message
        if question == self._question:
            self._reported.add(handle.generation)
            self.progress()

    def progress(self) -> None:
        """A worker has reported or gone, or the process that was taken over from has."""
        workers = self._workers.alive()
        if self._drain is not None and all(handle.generation in self._reported for handle in workers):
            waits = self._handed_over and self._awaits_numbers()
            self._drain.progress(
                sum(handle.connections for handle in workers) + waits,
                sum(handle.accepted for handle in workers),
                lately=any(handle.accepted_lately for handle in workers),
            )

    def close(self) -> None:
        """A drain goes no further."""
        if self._drain is not None:
            self._drain.cancel()

    def _start_drain(
        self,
        seconds: float,
        stop_accepting: Callable[[], None],
        *,
        immediate: bool = False,
        hand_over: bool = False,
    ) -> None:
        self._watch_connections()

        def refuse() -> None:
            self._events.record("drain_refuses_newcomers", {}, "those who are connected are still served")
            stop_accepting()
            self._watch_connections()

        self._drain = DrainSequence(
            self._loop,
            seconds,
            immediate,
            refuse,
            lambda silent: self._workers.broadcast(("close_idle", silent)),
            lambda: self.request_exit(0, "drained"),
            hand_over=hand_over,
        )
        self._drain.start()

    def _watch_connections(self) -> None:
        """Have workers report; what they had sent before does not count."""
        self._reported.clear()
        self._question += 1
        self._workers.broadcast(("watch_connections", self._question))

    def _announce(self) -> None:
        self._workers.broadcast(("drain", self.state == "DRAINING"))
