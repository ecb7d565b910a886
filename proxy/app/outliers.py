"""Outlier detection in the controller: hears from the workers, decides for all of them, tells all of them.

The hosts of a cluster are those that any worker has, so a cluster that no request has used costs nothing here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, Protocol

from envoy.config.cluster.v3 import cluster_pb2
from msgspec import Struct, field

from proxy.app.host_health import HostHealth
from proxy.base.event_log import EventLog
from proxy.base.runtime import Runtime
from proxy.base.stats import StatRegistry
from proxy.config.context import CompileContext
from proxy.upstream.health_flags import HealthFlag, HostKey
from proxy.upstream.outlier.config import OutlierConfig, compile_outlier
from proxy.upstream.outlier.detector import UNKNOWN_RATE, Action, Decision, Detector, Monitor
from proxy.upstream.outlier.event_log import event_line
from proxy.upstream.outlier.outcomes import Report
from proxy.upstream.outlier.stats import stats_of

logger = logging.getLogger("outrider.upstream")

_EVENTS: Final = {
    Action.EJECTED: "outlier_ejection",
    Action.NOT_ENFORCED: "outlier_not_enforced",
    Action.NO_ROOM: "outlier_not_ejected",
    Action.UNEJECTED: "outlier_unejection",
}


class Worker(Protocol):
    """See `proxy.app.worker_table.WorkerHandle`."""

    index: int

    def send(self, message: tuple[Any, ...]) -> None:
        """Queue a message."""


class Workers(Protocol):
    """See `proxy.app.worker_table.WorkerTable`."""

    def alive(self) -> Collection[Worker]:
        """Workers that exist."""

    async def ask(self, *question: Any) -> dict[int, Any]:
        """Worker index → answer."""


class _Watched(Struct):
    """A cluster that some worker has in use. `holders` are the workers that have each host."""

    name: str
    stat_name: str
    detector: Detector
    holders: dict[HostKey, set[int]] = field(default_factory=dict)
    timer: asyncio.TimerHandle | None = None
    task: asyncio.Task[None] | None = None


class OutlierDetection:
    """See module.

    `serialized` gives the `Cluster` of a name, None if there is none. `write` appends a line to the event log of
    the cluster manager. `clock` gives Unix seconds.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        workers: Workers,
        serialized: Callable[[str], bytes | None],
        runtime: Runtime,
        registry: StatRegistry,
        draw: Callable[[], int],
        events: EventLog,
        health: HostHealth,
        write: Callable[[str], None] | None,
        clock: Callable[[], float],
    ) -> None:
        self._loop = loop
        self._workers = workers
        self._serialized = serialized
        self._runtime = runtime
        self._registry = registry
        self._draw = draw
        self._events = events
        self._health = health
        self._write = write
        self._clock = clock
        self._watched: dict[str, _Watched] = {}

    def change_hosts(
        self, worker: Worker, name: str, added: Iterable[HostKey], removed: Iterable[HostKey]
    ) -> None:
        """A worker has other hosts of a cluster than before."""
        watched = self._watched.get(name)
        if watched is not None:
            self._let_go(watched, worker.index, removed)
        serialized = self._serialized(name)
        if serialized is None:
            if watched is not None and not watched.holders:
                self._forget(watched)
            return
        added = list(added)
        if not added:
            return
        message = cluster_pb2.Cluster.FromString(serialized)
        config = compile_outlier(message, "", CompileContext())
        former = None
        if watched is not None and watched.detector.config != config:
            self._forget(watched)
            former, watched = watched, None
        if config is None:
            return
        if watched is None:
            watched = self._begin(name, message.alt_stat_name or name, config, former)
        for host in added:
            watched.holders.setdefault(host, set()).add(worker.index)
            watched.detector.add(host)
        monitors = watched.detector.monitors
        unsure = [host for host in added if monitors[host].unsure]
        if unsure:
            worker.send(("outlier_watch", name, unsure))

    def take(self, worker: Worker, reports: Mapping[str, Iterable[Report]]) -> None:
        """What came of requests in a worker, by cluster."""
        for name, told in reports.items():
            watched = self._watched.get(name)
            if watched is not None:
                self._take(watched, worker.index, told)

    def worker_lost(self, index: int) -> None:
        """A worker has ended. Its hosts stay until the end of the interval: the next worker may have them again."""
        for watched in self._watched.values():
            for holders in watched.holders.values():
                holders.discard(index)

    def health_check_passed(self, name: str, host: HostKey) -> None:
        """An active health check has found a host healthy."""
        watched = self._watched.get(name)
        if watched is not None:
            self._carry_out(watched, watched.detector.health_check_passed(host, self._loop.time()))

    def monitors(self, name: str) -> Mapping[HostKey, Monitor]:
        """What is known of the hosts of a cluster."""
        watched = self._watched.get(name)
        return {} if watched is None else watched.detector.monitors

    def watches(self, name: str) -> bool:
        """Whether some worker has the cluster in use."""
        return name in self._watched

    def success_rates(self, name: str) -> tuple[float, float, float, float]:
        """Average and ejection threshold of answers, and those of connections; -1 where unknown."""
        watched = self._watched.get(name)
        if watched is None:
            return (UNKNOWN_RATE,) * 4
        answers, connections = watched.detector.success_rates
        return *answers, *connections

    async def close(self) -> None:
        """Stop."""
        tasks = [watched.task for watched in self._watched.values() if watched.task is not None]
        for watched in list(self._watched.values()):
            self._forget(watched)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, name: str, stat_name: str, config: OutlierConfig, former: _Watched | None) -> _Watched:
        if former is not None and former.stat_name == stat_name:
            stats = former.detector.stats
            stats.ejections_active = 0
        else:
            stats = stats_of(stat_name)
        self._registry.add(f"outlier {name}", stats)
        watched = _Watched(name, stat_name, Detector(config, self._runtime, self._draw, stats))
        self._watched[name] = watched
        self._arm(watched)
        return watched

    def _forget(self, watched: _Watched) -> None:
        del self._watched[watched.name]
        self._registry.remove(f"outlier {watched.name}")
        if watched.timer is not None:
            watched.timer.cancel()
        if watched.task is not None:
            watched.task.cancel()

    def _let_go(self, watched: _Watched, index: int, hosts: Iterable[HostKey]) -> None:
        for host in hosts:
            holders = watched.holders.get(host)
            if holders is not None:
                holders.discard(index)
                if not holders:
                    self._release(watched, host)

    def _release(self, watched: _Watched, host: HostKey) -> None:
        """No worker has the host any more."""
        del watched.holders[host]
        monitor = watched.detector.monitors[host]
        watched.detector.remove(host)
        if monitor.ejected:
            self._health.change(watched.name, host, clear=HealthFlag.FAILED_OUTLIER_CHECK)
        if not self._health.flags(watched.name, host):
            self._health.forget(watched.name, host)

    def _arm(self, watched: _Watched) -> None:
        watched.timer = self._loop.call_later(watched.detector.interval, self._on_interval, watched)

    def _on_interval(self, watched: _Watched) -> None:
        watched.task = self._loop.create_task(
            self._tick(watched), name=f"outlier detection of {watched.name}"
        )

    async def _tick(self, watched: _Watched) -> None:
        """Judge the interval by what all workers have counted in it."""
        for index, reports in (await self._workers.ask("outcomes", watched.name)).items():
            self._take(watched, index, reports)
        for host in [host for host, holders in watched.holders.items() if not holders]:
            self._release(watched, host)
        if not watched.holders and self._serialized(watched.name) is None:
            watched.task = None
            self._forget(watched)
            return
        self._carry_out(watched, watched.detector.tick(self._loop.time()))
        self._arm(watched)

    def _take(self, watched: _Watched, index: int, reports: Iterable[Report]) -> None:
        now = self._loop.time()
        unsure = []
        for host, answered, connected, sequence in reports:
            monitor = watched.detector.monitors.get(host)
            if monitor is None:
                continue
            before = monitor.unsure
            decisions = watched.detector.take(host, answered, connected, sequence, now)
            if monitor.unsure and not before:
                unsure.append(host)
            if decisions:
                self._carry_out(watched, decisions)
        if unsure:
            for worker in self._workers.alive():
                if worker.index != index:
                    worker.send(("outlier_watch", watched.name, unsure))

    def _carry_out(self, watched: _Watched, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            match decision.action:
                case Action.EJECTED:
                    self._health.change(watched.name, decision.host, add=HealthFlag.FAILED_OUTLIER_CHECK)
                case Action.UNEJECTED:
                    self._health.change(watched.name, decision.host, clear=HealthFlag.FAILED_OUTLIER_CHECK)
                case _:
                    pass
            if self._write is not None:
                line = event_line(decision, watched.name, self._clock())
                if line is not None:
                    self._write(line)
            about = {"cluster": watched.name, "host": decision.host[0]}
            reason = decision.numbers
            if decision.action is Action.NOT_ENFORCED:
                reason += f"; {decision.cause.enforcing} let it pass"
            elif decision.action is Action.EJECTED:
                reason += f"; ejection {decision.ejections}"
            lasts = decision.seconds if decision.action is Action.EJECTED else None
            self._events.record(_EVENTS[decision.action], about, reason, lasts)
