"""The numbers of the whole proxy: the controller's own, and the sum of them with those of all other processes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Final

from envoy.config.bootstrap.v3 import bootstrap_pb2

from proxy.admin.memory import read_memory
from proxy.admin.server_stats import ClusterManagerStats, ListenerManagerStats, ServerStats
from proxy.admin.state import NO_CERTIFICATE
from proxy.app.command_line import Options
from proxy.app.connection_counts import SharedCounts
from proxy.app.lifecycle import State
from proxy.app.worker_table import WorkerTable
from proxy.base.stats import StatGroup, StatRegistry, StatsSum, collect
from proxy.version import version_number

if TYPE_CHECKING:
    from proxy.app.hot_restart.restart import HotRestart
    from proxy.stats_sinks.flusher import StatsSinks

# `stats_flush_interval` of the bootstrap unless it says otherwise; it bounds the intervals of histograms.
_DEFAULT_FLUSH_SECONDS: Final = 5.0
# How long the end of the proxy waits for the last numbers to leave.
_LAST_FLUSH_SECONDS: Final = 2.0


class WorkerStats(StatGroup):
    """What Envoy has no name for: workers that had to be replaced."""

    COUNTERS: ClassVar = ("worker_restarted",)

    worker_restarted: int


class ProcessStats:
    """See module. `connections` are the downstream connections of all workers, `state` is that of the process."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: Options,
        bootstrap: bootstrap_pb2.Bootstrap,
        hot_restart: HotRestart | None,
        workers: WorkerTable,
        connections: SharedCounts,
        state: Callable[[], State],
    ) -> None:
        self._loop = loop
        self._bootstrap = bootstrap
        self._hot_restart = hot_restart
        self._workers = workers
        self._connections = connections
        self._state = state
        self._started_at = loop.time()
        self._flush: asyncio.TimerHandle | None = None
        self._sinks: StatsSinks | None = None
        self._sending: asyncio.Task[None] | None = None
        #: Whether a successor has taken over the admin server, and with it what gauges say.
        self.handed_over = False
        #: Over all processes.
        self.sum = StatsSum()
        #: The controller's own.
        self.registry = StatRegistry()
        self.server = ServerStats("server.")
        self.server.concurrency = options.concurrency
        self.server.hot_restart_epoch = options.restart_epoch
        override = bootstrap.stats_server_version_override
        self.server.version = override.value or version_number()
        self.workers = WorkerStats("server.")
        self.listeners = ListenerManagerStats("listener_manager.")
        self.clusters = ClusterManagerStats("cluster_manager.")
        for group in (self.server, self.workers, self.listeners, self.clusters):
            self.registry.add(type(group).__name__, group)
        #: Days until the first certificate expires, seconds until the first OCSP response does.
        self.until_expiry: Callable[[], tuple[int, int]] = lambda: (NO_CERTIFICATE, 0)

    @property
    def uptime(self) -> float:
        """Seconds since this process began."""
        return self._loop.time() - self._started_at

    @property
    def uptime_all_epochs(self) -> float:
        """Seconds since the first of the processes that took over from each other began."""
        if self._hot_restart is None or not self._hot_restart.first_start:
            return self.uptime
        return time.time() - self._hot_restart.first_start

    def use_sinks(self, sinks: StatsSinks) -> None:
        """Send each flush to these, too."""
        self._sinks = sinks
        if sinks.connects:
            self.registry.add("statsd", sinks.stats)

    def initialized(self) -> None:
        """Start-up is complete: count it, and flush from now on."""
        self.server.initialization_time_ms.record(int(self.uptime * 1000))
        if not self._bootstrap.stats_flush_on_admin:
            self._plan_flush()

    async def refresh(self) -> StatsSum:
        """Ask every worker, and bring the controller's own numbers up to date."""
        await self._gather()
        if self._bootstrap.stats_flush_on_admin:
            self.sum.flush()
            self._send()
        return self.sum

    async def _gather(self) -> None:
        for index, collected in (await self._workers.ask("stats")).items():
            self.sum.update(index, collected)
        if self._hot_restart is not None:
            await self._hot_restart.refresh()
        self.refresh_own()

    def refresh_own(self) -> None:
        """Bring the controller's own numbers up to date."""
        memory = read_memory([os.getpid()])
        self.server.refresh(self._state(), self.uptime_all_epochs, memory, *self.until_expiry())
        self.server.total_connections = self._connections.total(0)
        self.sum.update("controller", collect(self.registry))

    async def close(self) -> None:
        """Flush no more, after a last time if there are sinks; workers are still to be asked."""
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        if self._flush is not None:
            self._flush.cancel()
        if self._sinks is None:
            return
        if self.server.initialization_time_ms.counts and not self._bootstrap.stats_flush_on_admin:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_FLUSH_SECONDS):
                    await self._gather()
                    self.sum.flush()
                    await self._sinks.flush(self.sum, gauges=not self.handed_over)
        await self._sinks.close()

    def _plan_flush(self) -> None:
        interval = self._bootstrap.stats_flush_interval
        seconds = (interval.seconds + interval.nanos / 1e9) or _DEFAULT_FLUSH_SECONDS
        self._flush = self._loop.call_later(seconds, self._on_flush)

    def _on_flush(self) -> None:
        if self._sinks is not None:
            # Workers push rarely; what sinks tell of is to be as it is now.
            self._sending = self._loop.create_task(self._flush_to_sinks(), name="flush stats")
            return
        if self._hot_restart is not None:
            self._hot_restart.ask_numbers()
        self.refresh_own()
        self.sum.flush()
        self._plan_flush()

    async def _flush_to_sinks(self) -> None:
        assert self._sinks is not None
        try:
            await self._gather()
            self.sum.flush()
            await self._sinks.flush(self.sum, gauges=not self.handed_over)
        finally:
            self._plan_flush()

    def _send(self) -> None:
        """What a scrape has flushed, unless the flush before it has not left yet."""
        if self._sinks is not None and (self._sending is None or self._sending.done()):
            self._sending = self._loop.create_task(
                self._sinks.flush(self.sum, gauges=not self.handed_over), name="flush stats"
            )
