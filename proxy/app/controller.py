"""The controller: owns the configuration, the listening sockets and the workers; never touches traffic.

Life: sockets bound → workers forked and configured → clusters resolved → workers listen (LIVE) → drain →
exit.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from envoy.config.bootstrap.v3 import bootstrap_pb2

from proxy.admin.memory import read_memory
from proxy.admin.server_stats import (
    ClusterManagerStats,
    ListenerManagerStats,
    ServerStats,
)
from proxy.admin.state import NO_CERTIFICATE
from proxy.app.bootstrap_extensions import internal_buffer_bytes
from proxy.app.command_line import Options
from proxy.app.config_loading import LoadedConfig
from proxy.app.connection_counts import SharedCounts
from proxy.app.discovery_client import open_client
from proxy.app.dns_caches import DnsCaches
from proxy.app.drain import DrainSequence
from proxy.app.draw import random_draw
from proxy.app.followed_secrets import FollowedSecrets
from proxy.app.fork_server import ForkServer
from proxy.app.health_checks import HealthChecks
from proxy.app.host_health import HostHealth
from proxy.app.ipc import Message
from proxy.app.live_runtime import LiveRuntime
from proxy.app.logs import LogFile, LogLevels
from proxy.app.machine import own_address
from proxy.app.name_resolution import NameResolution
from proxy.app.outliers import OutlierDetection
from proxy.app.served_listeners import ServedListeners
from proxy.app.service_manager import ServiceManager
from proxy.app.worker_table import WorkerHandle, WorkerTable
from proxy.base.event_log import EventLog
from proxy.base.stats import StatGroup, StatRegistry, StatsSum, collect
from proxy.config.context import CompileContext
from proxy.connection.sockets import open_sockets
from proxy.discovery.clusters import ClusterTable
from proxy.discovery.gathered import CONSUMERS
from proxy.discovery.listeners import ListenerRecord, ListenerTable
from proxy.discovery.places import Places
from proxy.discovery.session import Discovery
from proxy.discovery.stats import WantedStats
from proxy.discovery.wanted import WantedResources
from proxy.upstream.circuit_breaker import SharedSlots
from proxy.version import version_number
from xds_client.resource_types import ResourceType

if TYPE_CHECKING:
    from proxy.access_log.sinks import SinkManager
    from proxy.app.hot_restart.restart import HotRestart
    from proxy.app.load_reporting import LoadReporting
    from proxy.app.reload import FileWatch, Reloader
    from proxy.discovery.on_demand_clusters import OnDemandClusters
    from proxy.discovery.surviving_client import SurvivingClient
    from xds_client.api import Consumer, Subscription

logger = logging.getLogger("proxy.app.controller")

State = Literal["PRE_INITIALIZING", "INITIALIZING", "LIVE", "DRAINING"]
STOP_SECONDS: Final = 3.0
# `timeout` and service managers signal a process and then its group: that is one request, not two.
_SAME_SIGNAL_SECONDS: Final = 0.25
# `stats_flush_interval` of the bootstrap unless it says otherwise; it bounds the intervals of histograms.
_DEFAULT_FLUSH_SECONDS: Final = 5.0
# The most clusters and listeners that a control plane may bring; their shared memory is paid for when it is used.
_MOST_DISCOVERED: Final = 1 << 17
# What a reload may add where no control plane does, beside as much again as there is.
_RELOAD_ROOM: Final = 1024
_CONNECTION_LIMIT_KEY: Final = "overload.global_downstream_max_connections"


class WorkerStats(StatGroup):
    """What Envoy has no name for: workers that had to be replaced."""

    COUNTERS: ClassVar = ("worker_restarted",)

    worker_restarted: int


class Controller:
    """The running proxy. `run` returns the exit status."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        options: Options,
        config: LoadedConfig,
        server: ForkServer,
        log_file: LogFile,
        levels: LogLevels,
        hot_restart: HotRestart | None = None,
    ) -> None:
        self.loop = loop
        #: None if it is disabled.
        self.hot_restart = hot_restart
        self.options = options
        self.config = config
        self.levels = levels
        self.bootstrap = bootstrap_pb2.Bootstrap.FromString(config.bootstrap)
        self.loaded_at = time.time()
        #: When start-up was complete, in Unix seconds; 0 before.
        self.live_since = 0.0
        self.started_at = loop.time()
        self.state: State = "PRE_INITIALIZING"
        self.health_failed = False
        self.stats = StatsSum()
        self.registry = StatRegistry()
        self.server_stats = ServerStats("server.")
        self.server_stats.concurrency = options.concurrency
        self.server_stats.hot_restart_epoch = options.restart_epoch
        override = self.bootstrap.stats_server_version_override
        self.server_stats.version = override.value or version_number()
        self.worker_stats = WorkerStats("server.")
        self.listener_stats = ListenerManagerStats("listener_manager.")
        self.cluster_stats = ClusterManagerStats("cluster_manager.")
        for group in (
            self.server_stats,
            self.worker_stats,
            self.listener_stats,
            self.cluster_stats,
        ):
            self.registry.add(type(group).__name__, group)
        self.until_expiry: Callable[[], tuple[int, int]] = lambda: (NO_CERTIFICATE, 0)
        clusters = Places(_most(config, len(config.clusters)))
        listeners = Places(_most(config, 1 + len(config.listeners)))
        # The first column counts the connections of all listeners together.
        listeners.take()
        self.slots = SharedSlots.create(options.concurrency, clusters.capacity)
        self.counts = SharedCounts.create(options.concurrency, listeners.capacity)
        shared_memory = (self.slots.fd, self.counts.fd)
        self.workers = WorkerTable(loop, options.concurrency, server, shared_memory, self._worker_settings)
        self.workers.configure = self._configure
        self.workers.on_message = self._on_message
        self.workers.on_lost = self._on_worker_lost
        self.workers.on_hopeless = self._on_hopeless
        self.runtime = LiveRuntime(config.layers, self.workers.broadcast)
        self.registry.add("RuntimeStats", self.runtime.stats)
        self.names = NameResolution(loop, self._hosts_resolved, self.registry, random_draw())
        broadcast = self.workers.broadcast
        self.host_health = HostHealth(loop.call_soon, broadcast)
        self.host_health.watchers.append(lambda name, _keys: self.names.count_healthy(name))
        self.names.flags_of = self.host_health.of_cluster
        self.health_checks = HealthChecks(self, random_draw(), self.runtime.view)
        self.secrets = FollowedSecrets(
            loop, self.bootstrap, self.registry, config.secrets, self._secret_changed
        )
        self.dns_caches = DnsCaches(loop, self.registry, random_draw(), broadcast)
        self.wanted = WantedResources(self._subscribe, broadcast, self._check_context, time.time)
        self.registry.add(
            "wanted", WantedStats(self.wanted, lambda place: self.slots.first_builder(place) >= 0)
        )
        self.wanted.observers[ResourceType.RUNTIME] = self.runtime.take
        self.wanted.consumers = CONSUMERS
        self.clusters = ClusterTable(
            clusters, self.wanted, self.names, self.cluster_stats, broadcast, self._check_context, time.time
        )
        self.clusters.checks = self.health_checks
        self.wanted.amenders[ResourceType.ENDPOINT] = self.health_checks.with_kept_endpoints
        self.wanted.observers[ResourceType.ENDPOINT] = self.health_checks.endpoints_came
        self.wanted.observers[ResourceType.SECRET] = self.health_checks.secret_came
        self.served = ServedListeners(loop, options, self.workers, self.listener_stats)
        self.listeners = self.served.table = ListenerTable(
            options.concurrency,
            listeners,
            self.wanted,
            self.listener_stats,
            self._check_context,
            time.time,
            self._start_listener,
            self.served.stop,
            after_drain=lambda release: self.loop.call_later(self.options.drain_time_s, release),
            allows_internal=internal_buffer_bytes(self.bootstrap) is not None,
            opener=open_sockets if hot_restart is None else hot_restart.open_sockets,
        )
        self.events = EventLog(time.time)
        self._event_files: SinkManager | None = None
        self.outliers = OutlierDetection(
            loop,
            self.workers,
            self.clusters.serialized,
            self.runtime.view,
            self.registry,
            random_draw(),
            self.events,
            self.host_health,
            self._outlier_log(),
            time.time,
        )
        self.health_checks.on_pass.append(self.outliers.health_check_passed)
        self.discovery: Discovery | None = None
        self.surviving: SurvivingClient | None = None
        self._cluster_demands: OnDemandClusters | None = None
        self._load: LoadReporting | None = None
        self._control_clusters = dict(config.clusters)
        self._reloader: Reloader | None = None
        self._file_watch: FileWatch | None = None
        self.service = ServiceManager(os.environ)
        self._log_file = log_file
        self._admin: Any = None
        self._signalled_at = -_SAME_SIGNAL_SECONDS
        self._exit: asyncio.Future[int] = loop.create_future()
        self._live = asyncio.Event()
        self._drain: DrainSequence | None = None
        self._handed_over = False
        self._reported: set[int] = set()
        self._watched = 0

    async def run(self, start_admin: Callable[[Controller], Any]) -> int:
        """Start everything, serve until told to stop, end everything. Raises `UsageError` if a bind fails.

        `start_admin` makes the `AdminRunner`.
        """
        admin = None
        self._catch_signals()
        try:
            self._bind()
            if self.hot_restart is not None:
                self.hot_restart.start(self)
            self.runtime.start(self.loop)
            self.workers.start()
            self.secrets.start()
            self._admin = admin = start_admin(self)
            await admin.start()
            await self._until_exit(self._initialize())
            return await self._exit
        finally:
            await self._close(admin)

    def _outlier_log(self) -> Callable[[str], None] | None:
        """What appends to the file that the bootstrap names for ejections."""
        path = self.bootstrap.cluster_manager.outlier_detection.event_log_path
        if not path:
            return None
        from proxy.access_log.sinks import SinkManager  # few bootstraps name one

        options = self.options
        self._event_files = SinkManager(
            self.loop, options.file_flush_interval_msec / 1000, options.file_flush_min_size_kb * 1024
        )
        return self._event_files.file(path)

    def _secret_changed(self, key: str, serialized: bytes) -> None:
        self.health_checks.secret_changed(key, serialized)
        self.workers.broadcast(("secret", key, serialized))

    def request_exit(self, status: int, reason: str) -> None:
        """End without waiting for connections; logs are flushed."""
        if not self._exit.done():
            logger.info("%s", reason)
            self.service.stopping(reason)
            self._exit.set_result(status)

    def begin_drain(self, reason: str) -> None:
        """SIGTERM: finish what is in flight, then exit."""
        if self._drain is not None and self._handed_over:
            self._handed_over = False
            logger.info("%s: %d s are left for the drain", reason, self.options.drain_time_s)
            self.hurry()
            return
        if self._drain is not None:
            self.request_exit(0, f"{reason} again: ending now")
            return
        if not self.served.accepting:
            self.request_exit(0, f"{reason} before start-up was complete: ending now")
            return
        options = self.options
        logger.info(
            "%s: draining (%s, at most %d s); once more ends at once",
            reason,
            options.drain_strategy,
            options.drain_time_s,
        )
        strategy = f"{reason}; the drain strategy is {options.drain_strategy}"
        self.events.record("drain_started", {}, strategy, options.drain_time_s)
        self.set_state("DRAINING")
        self.service.stopping(f"draining, at most {options.drain_time_s} s")
        self._announce_drain()
        immediate = options.drain_strategy == "immediate"
        self._start_drain(options.drain_time_s, self._refuse_newcomers, immediate=immediate)

    def hand_over(self, seconds: int, taken: frozenset[str], *, keep: bool) -> None:
        """Another process accepts on the addresses `taken`; see `proxy.app.hot_restart.messages.Drain`."""
        if self._drain is not None:
            self.served.hand_over(taken, keep=keep)
            return
        logger.info("another process has taken over: draining, at most %d s", seconds)
        self._handed_over = True
        self.events.record("drain_started", {}, "another process has taken over", seconds)

        def stop_accepting() -> None:
            self.served.hand_over(taken, keep=keep)
            self._watch_connections()

        self._start_drain(seconds, stop_accepting, hand_over=True)

    def pause_admin(self) -> tuple[str, socket.socket] | None:
        """For a process that takes over: the address of the admin server and its socket."""
        return None if self._admin is None else self._admin.pause()

    async def resume_admin(self) -> None:
        """That process has not taken over."""
        if self._admin is not None and not self.draining:
            try:
                await self._admin.go_on()
            except OSError as error:
                logger.error("the admin server cannot go on: %s", error)

    def predecessor_gone(self) -> None:
        """The process that this one has taken over from has ended."""
        self._drain_progress()

    def hurry(self) -> None:
        """End a drain that has begun within `--drain-time-s`."""
        if self._drain is not None:
            self._drain.limit(self.options.drain_time_s)

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
            self.events.record("drain_refuses_newcomers", {}, "those who are connected are still served")
            stop_accepting()

        self._drain = DrainSequence(
            self.loop,
            seconds,
            immediate,
            refuse,
            lambda silent: self.workers.broadcast(("close_idle", silent)),
            lambda: self.request_exit(0, "drained"),
            hand_over=hand_over,
        )
        self._drain.start()

    @property
    def draining(self) -> bool:
        """Whether the end has begun."""
        return self._drain is not None or self._exit.done()

    @property
    def uptime_all_epochs(self) -> float:
        """Seconds since the first of the processes that took over from each other began."""
        if self.hot_restart is None or not self.hot_restart.first_start:
            return self.loop.time() - self.started_at
        return time.time() - self.hot_restart.first_start

    def _refuse_newcomers(self) -> None:
        self.served.drain(inbound_only=False)
        self._watch_connections()

    def _watch_connections(self) -> None:
        """Have workers report; what they had sent before does not count."""
        self._reported.clear()
        self._watched += 1
        self.workers.broadcast(("watch_connections", self._watched))

    def fail_health_checks(self, failed: bool) -> None:
        """`/healthcheck/fail` and `/healthcheck/ok`."""
        if failed != self.health_failed:
            what = "readiness_failed" if failed else "readiness_restored"
            self.events.record(what, {}, f"/healthcheck/{'fail' if failed else 'ok'} was asked for")
        self.health_failed = failed
        if self._drain is None:
            self.set_state("DRAINING" if failed else "LIVE")
            self._announce_drain()

    def set_log_levels(self, levels: Mapping[str, str]) -> None:
        """Here and in every worker."""
        self.levels.set(levels)
        self.workers.broadcast(("levels", self.levels.describe()))

    def reopen_logs(self) -> None:
        """SIGUSR1: after log rotation."""
        try:
            self._log_file.reopen()
        except OSError as error:
            logger.error("cannot reopen the log file: %s", error)
        self.workers.broadcast(("reopen_logs",))
        if self._event_files is not None:
            self._event_files.reopen()
        self.health_checks.reopen_logs()
        if self._admin is not None:
            self._admin.reopen_logs()

    def reload(self) -> None:
        """SIGHUP, or a changed file: have the static part of the bootstrap as it is now, if it is good."""
        if not self.served.accepting or self._drain is not None:
            when = "while draining" if self.served.accepting else "before start-up is complete"
            logger.warning("the configuration is not reloaded %s", when)
            return
        if self._reloader is None:
            from proxy.app.reload import Reloader  # most proxies never reload

            self._reloader = Reloader(
                self.loop,
                self.options,
                self.clusters,
                self.listeners,
                self.wanted,
                self._check_context,
                lambda: self.config,
                self._use,
                self._reloaded,
            )
        self.service.reloading()
        self._reloader.request()

    def _use(self, config: LoadedConfig) -> None:
        """What a reload has brought beside clusters and listeners."""
        if config.layers != self.config.layers:
            self.runtime.use(config.layers)
        self._control_clusters.clear()
        self._control_clusters.update(config.clusters)
        self.dns_caches.declare(config.dns_caches)
        self.config = config
        self.loaded_at = time.time()

    def _reloaded(self, good: bool, line: str) -> None:
        self.service.ready(self._status_line() if good else line)

    async def refresh_stats(self) -> StatsSum:
        """Ask every worker, and bring the controller's own numbers up to date."""
        for index, collected in (await self.workers.ask("stats")).items():
            self.stats.update(index, collected)
        if self.hot_restart is not None:
            await self.hot_restart.refresh()
        self._own_stats()
        if self.bootstrap.stats_flush_on_admin:
            self.stats.flush()
        return self.stats

    def set_state(self, state: State) -> None:
        """Change what `/ready` and `server.state` say."""
        self.state = state

    async def _initialize(self) -> None:
        if self.config.dynamic:
            self.discovery = self._start_discovery()
            await self.discovery.start_runtime(self.config.runtime_wants)
        self.dns_caches.declare(self.config.dns_caches)
        await self.names.start([self.config.clusters[index] for index in self.config.dns_clusters])
        self._start_load_reports()
        checked = [self.config.clusters[index] for index in self.config.checked_clusters]
        await self.health_checks.start(checked, discovered=False)
        if self.discovery is not None:
            await self.discovery.start_clusters(self.config.cluster_wants)
            await self.health_checks.start(checked, discovered=True)
        # Envoy loads the runtime once more when its clusters are there; the numbers show it.
        self.runtime.count_load()
        self.set_state("INITIALIZING")
        logger.info("all clusters initialized. initializing init manager")
        if self.discovery is not None:
            await self.discovery.start_listeners(self.config.listener_wants)
        if _CONNECTION_LIMIT_KEY not in self.runtime.values():
            logger.warning(
                "There is no configured limit to the number of allowed active downstream connections. "
                "Configure a limit with the runtime key `%s`.",
                _CONNECTION_LIMIT_KEY,
            )
        if self.options.mode == "init_only":
            self.request_exit(0, "initialized; --mode init_only ends here")
            return
        logger.info("all dependencies initialized. starting workers")
        self.served.serve()
        await self._live.wait()
        self.served.accept()
        self.set_state("LIVE")
        self.live_since = time.time()
        milliseconds = int((self.loop.time() - self.started_at) * 1000)
        self.server_stats.initialization_time_ms.record(milliseconds)
        self.served.log_all()
        if self.hot_restart is not None:
            self.hot_restart.accepting()
        logger.info("starting main dispatch loop")
        if not self.bootstrap.stats_flush_on_admin:
            self.loop.call_later(self._flush_seconds(), self._flush_stats)
        self._obey_flags()
        self.service.ready(self._status_line())
        self._sign_of_life()
        if self.options.watch_config:
            from proxy.app.reload import FileWatch  # asked for by a flag

            self._file_watch = FileWatch(self.loop, self.options.config_path, self._on_file_changed)

    def _on_file_changed(self) -> None:
        logger.info("%s has changed", self.options.config_path)
        self.reload()

    def _status_line(self) -> str:
        return f"serving {len(self.listeners.active)} listener(s), {len(self.clusters.active)} cluster(s)"

    def _sign_of_life(self) -> None:
        """This loop runs: that is what a watchdog is for. Workers that die are replaced by it."""
        seconds = self.service.watchdog_seconds
        if seconds is not None:
            self.service.alive()
            self.loop.call_later(seconds, self._sign_of_life)

    def _obey_flags(self) -> None:
        """Envoy's `flags_path`: a file named "drain" there starts the proxy as unhealthy."""
        flags = self.bootstrap.flags_path
        if flags and os.path.exists(os.path.join(flags, "drain")):
            logger.warning("starting as unhealthy because %s/drain exists", flags)
            self.fail_health_checks(True)

    async def _until_exit(self, work: Any) -> None:
        """Do `work`, unless the exit is asked for first."""
        task = self.loop.create_task(work, name="initialize")
        await asyncio.wait({task, self._exit}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        else:
            task.result()

    async def _close(self, admin: Any) -> None:
        logger.info("shutting down server instance")
        if self._drain is not None:
            self._drain.cancel()
        if self._load is not None:
            await self._load.close()
        if self._file_watch is not None:
            self._file_watch.close()
        if self._reloader is not None:
            await self._reloader.close()
        if self.discovery is not None:
            await self.discovery.close()
        await self.names.close()
        self.health_checks.close()
        self.dns_caches.close()
        await self.outliers.close()
        self.runtime.close()
        if self._event_files is not None:
            self._event_files.close()
        self.secrets.close()
        self.served.refuse_all()
        self.workers.end()
        await self.workers.wait_until_gone(STOP_SECONDS)
        self.workers.kill()
        await self.workers.close()
        if self.hot_restart is not None:
            self._own_stats()
            await self.hot_restart.close()
        self.listeners.close()
        if admin is not None:
            await admin.close()
        self.slots.close()
        self.counts.close()
        self.service.close()
        logger.info("exiting")

    def _start_listener(self, record: ListenerRecord) -> None:
        self.served.start(record)
        if self.hot_restart is not None:
            self.hot_restart.took(record.active)

    def _bind(self) -> None:
        logger.info(
            "loading %d cluster(s), %d listener(s)", len(self.config.clusters), len(self.config.listeners)
        )
        self.listeners.add_static(self.config.listeners)
        self.clusters.add_static(self.config.clusters)

    def _worker_settings(self) -> dict[str, Any]:
        options = self.options
        return {
            "workers": options.concurrency,
            "clusters": self.slots.clusters,
            "listener_columns": self.counts.columns,
            "drain_time": options.drain_time_s,
            "runtime": self.runtime.values(),
            "internal_buffer": internal_buffer_bytes(self.bootstrap),
            "local_address": own_address(options.local_address_ip_version),
            "secrets": self.secrets.watch is not None or self.config.dynamic,
            "node": self.bootstrap.node.SerializeToString(),
            "reports_load": self.bootstrap.cluster_manager.HasField("load_stats_config"),
            "local_cluster": self.bootstrap.cluster_manager.local_cluster_name,
            "flush_interval": options.file_flush_interval_msec / 1000,
            "flush_size": options.file_flush_min_size_kb * 1024,
            "log_path": options.log_path,
            "log_format": options.log_format,
            "log_format_escaped": options.log_format_escaped,
            "log_levels": self.levels.describe(),
        }

    def _configure(self, handle: WorkerHandle) -> None:
        """Send a new worker all that the others have."""
        for key, serialized in self.secrets.values().items():
            handle.send(("secret", key, serialized))
        for message in self.host_health.messages():
            handle.send(message)
        for message in self.clusters.messages():
            handle.send(message)
        for message in self.wanted.messages():
            handle.send(message)
        for name, resolved in self.names.known():
            handle.send(("hosts", name, resolved))
        for message in self.dns_caches.messages():
            handle.send(message)
        if self._load is not None:
            self._load.configure(handle)
        if self.state == "DRAINING":
            handle.send(("drain", True))
        if self.served.serving:
            self.served.send_all(handle)
        if self._drain is not None:
            handle.send(("watch_connections", self._watched))

    def _hosts_resolved(self, name: str, resolved: list[tuple[int, str]]) -> None:
        self.health_checks.resolved(name, resolved)
        self.clusters.on_resolved(name, resolved)

    def _check_context(self) -> CompileContext:
        """What a resource of the control plane is checked with."""
        return CompileContext(
            self.runtime.view,
            known_clusters=self.clusters,
            node=self.bootstrap.node,
            eager=True,
            secrets=self.secrets.store(),
            has_ads=self.bootstrap.dynamic_resources.HasField("ads_config"),
            dns_caches=dict(self.dns_caches.settings),
        )

    def _start_load_reports(self) -> None:
        if not self.bootstrap.cluster_manager.HasField("load_stats_config"):
            return
        from proxy.app.load_reporting import LoadReporting  # as below
        from proxy.discovery.client import surroundings

        around = surroundings(self.bootstrap, self._control_clusters, self.secrets.values)
        config = self.bootstrap.cluster_manager.load_stats_config
        self._load = LoadReporting(self.loop, config, around, self.workers, self.clusters, self.loop.time)
        self.registry.add("load_reporter", self._load.stats)
        self._load.start()

    def _start_discovery(self) -> Discovery:
        client, self.surviving = open_client(
            self.loop,
            self.bootstrap,
            self.options,
            self._control_clusters,
            self.secrets.values,
            lambda: self.served.accepting,
            self._count_unknown_field,
        )
        return Discovery(
            self.bootstrap.dynamic_resources,
            client,
            self.clusters,
            self.listeners,
            self.wanted,
            self.registry,
        )

    def _count_unknown_field(self) -> None:
        self.server_stats.dynamic_unknown_fields += 1

    def _subscribe(self, kind: ResourceType, source: Any, consumer: Consumer) -> Subscription:
        if self.discovery is None:
            # A request of a proxy whose bootstrap names no control plane has asked for something.
            self.discovery = self._start_discovery()
        return self.discovery.client.subscribe(kind, source, (), consumer)

    def _on_message(self, handle: WorkerHandle, message: Message) -> None:
        match message[0]:
            case "stats":
                self.stats.update(handle.index, message[1])
            case "load":
                if self._load is not None:
                    self._load.take(handle.index, message[1])
            case "ready":
                if self.workers.all_ready:
                    self._live.set()
            case "connections":
                _kind, handle.connections, handle.accepted, handle.accepted_lately, question = message
                if question == self._watched:
                    self._reported.add(handle.generation)
                    self._drain_progress()
            case "outcomes":
                self.outliers.take(handle, message[1])
            case "event":
                what, cluster, why = message[1:]
                self.events.record(what, {"cluster": cluster}, why)
            case "immediate_failure":
                self.health_checks.failed_at_once(*message[1:])
            case "outlier_hosts":
                self.outliers.change_hosts(handle, *message[1:])
            case "demand":
                self._demand(*message[1:])
            case "resolve":
                self.dns_caches.resolve(handle.send, *message[1:])
            case kind:
                logger.error("unknown message %r from worker %d", kind, handle.index)

    def _demand(self, key: str, name: str, source: bytes) -> None:
        """A request waits for a resource; see `proxy.config.demands.Demands`."""
        if not source:
            self.wanted.demand(key, name)
            return
        if self._cluster_demands is None:
            from proxy.discovery.on_demand_clusters import OnDemandClusters  # few configs ask for clusters

            self._cluster_demands = OnDemandClusters(
                self.clusters, self._subscribe, self.workers.broadcast, self.registry
            )
        self._cluster_demands.demand(name, source)

    def _on_worker_lost(self, handle: WorkerHandle) -> None:
        self.slots.clear_worker(handle.index)
        self.counts.clear_worker(handle.index)
        self.stats.lost(handle.index)
        self.outliers.worker_lost(handle.index)
        if self._load is not None:
            self._load.lost(handle.index)
        if not self._exit.done():
            self.worker_stats.worker_restarted += 1
            self._drain_progress()

    def _on_hopeless(self, reason: str) -> None:
        logger.critical("%s; see the errors above", reason)
        self.request_exit(1, "no worker can run")

    def _drain_progress(self) -> None:
        workers = self.workers.alive()
        if self._drain is not None and all(handle.generation in self._reported for handle in workers):
            waits = self._handed_over and self.hot_restart is not None and self.hot_restart.awaits_numbers
            self._drain.progress(
                sum(handle.connections for handle in workers) + waits,
                sum(handle.accepted for handle in workers),
                lately=any(handle.accepted_lately for handle in workers),
            )

    def _announce_drain(self) -> None:
        self.workers.broadcast(("drain", self.state == "DRAINING"))

    def _own_stats(self) -> None:
        stats = self.server_stats
        stats.refresh(self.state, self.uptime_all_epochs, read_memory([os.getpid()]), *self.until_expiry())
        stats.total_connections = self.counts.total(0)
        self.stats.update("controller", collect(self.registry))

    def _flush_seconds(self) -> float:
        interval = self.bootstrap.stats_flush_interval
        return (interval.seconds + interval.nanos / 1e9) or _DEFAULT_FLUSH_SECONDS

    def _flush_stats(self) -> None:
        if not self._exit.done():
            if self.hot_restart is not None:
                self.hot_restart.ask_numbers()
            self._own_stats()
            self.stats.flush()
            self.loop.call_later(self._flush_seconds(), self._flush_stats)

    def _catch_signals(self) -> None:
        add = self.loop.add_signal_handler
        add(signal.SIGTERM, self._on_stop_signal, "SIGTERM")
        add(signal.SIGINT, self._on_stop_signal, "SIGINT")
        add(signal.SIGUSR1, self._on_usr1)
        add(signal.SIGHUP, self._on_hup)

    def _on_stop_signal(self, name: str) -> None:
        now = self.loop.time()
        if now - self._signalled_at < _SAME_SIGNAL_SECONDS:
            return
        self._signalled_at = now
        logger.warning("caught %s", name)
        self.begin_drain(name)

    def _on_usr1(self) -> None:
        logger.info("caught SIGUSR1. Reopening access logs.")
        self.reopen_logs()

    def _on_hup(self) -> None:
        logger.warning("caught SIGHUP")
        self.reload()


def _most(config: LoadedConfig, static: int) -> int:
    return _MOST_DISCOVERED if config.dynamic else 2 * static + _RELOAD_ROOM
