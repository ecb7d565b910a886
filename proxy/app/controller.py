"""The controller: owns the configuration, the listening sockets and the workers; never touches traffic.

Life: sockets bound → workers forked and configured → clusters resolved → workers listen (LIVE) → drain →
exit.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from envoy.config.bootstrap.v3 import bootstrap_pb2

from proxy.app.bootstrap_extensions import internal_buffer_bytes
from proxy.app.breaker_events import BreakerEvents
from proxy.app.command_line import Options
from proxy.app.config_loading import LoadedConfig
from proxy.app.connection_counts import SharedCounts
from proxy.app.control_planes import ControlPlanes
from proxy.app.dns_caches import DnsCaches
from proxy.app.draw import random_draw
from proxy.app.followed_secrets import FollowedSecrets
from proxy.app.fork_server import ForkServer
from proxy.app.health_checks import HealthChecks
from proxy.app.host_health import HostHealth
from proxy.app.lifecycle import Lifecycle
from proxy.app.live_runtime import LiveRuntime
from proxy.app.log_control import LogControl
from proxy.app.logs import LogFile, LogLevels
from proxy.app.name_resolution import NameResolution
from proxy.app.outliers import OutlierDetection
from proxy.app.overload import OverloadManager
from proxy.app.process_stats import ProcessStats
from proxy.app.served_listeners import ServedListeners
from proxy.app.service_manager import ServiceManager
from proxy.app.signals import Signals
from proxy.app.worker_messages import WorkerMessages
from proxy.app.worker_table import WorkerTable
from proxy.base.event_log import EventLog
from proxy.base.shared_buckets import SharedBuckets
from proxy.config.config_sources import config_sources
from proxy.config.context import CompileContext
from proxy.connection.sockets import open_sockets
from proxy.discovery.clusters import ClusterTable
from proxy.discovery.gathered import CONSUMERS
from proxy.discovery.host_changes import HostChanges
from proxy.discovery.listeners import ListenerRecord, ListenerTable
from proxy.discovery.places import Places
from proxy.discovery.stats import WantedStats
from proxy.discovery.wanted import WantedResources
from proxy.upstream.circuit_breaker import SharedSlots
from xds_client.resource_types import ResourceType

if TYPE_CHECKING:
    from proxy.app.hot_restart.restart import HotRestart
    from proxy.app.reload import FileWatch, Reloader

logger = logging.getLogger("proxy.app.controller")

STOP_SECONDS: Final = 3.0
# The most clusters and listeners that a control plane may bring; their shared memory is paid for when it is used.
_MOST_DISCOVERED: Final = 1 << 17
# What a reload may add where no control plane does, beside as much again as there is.
_RELOAD_ROOM: Final = 1024
_CONNECTION_LIMIT_KEY: Final = "overload.global_downstream_max_connections"


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
        self.bootstrap = bootstrap_pb2.Bootstrap.FromString(config.bootstrap)
        self.loaded_at = time.time()
        #: When start-up was complete, in Unix seconds; 0 before.
        self.live_since = 0.0
        clusters = Places(_most(config, len(config.clusters)))
        listeners = Places(_most(config, 1 + len(config.listeners)))
        # The first column counts the connections of all listeners together.
        listeners.take()
        self.slots = SharedSlots.create(options.concurrency, clusters.capacity)
        self.counts = SharedCounts.create(options.concurrency, listeners.capacity)
        self.buckets = SharedBuckets.create()
        shared_memory = (self.slots.fd, self.counts.fd, self.buckets.fd)
        self._messages = WorkerMessages(self)
        self.workers = WorkerTable(loop, options.concurrency, server, shared_memory, self._messages.settings)
        self.workers.configure = self._messages.configure
        self.workers.on_message = self._messages.take
        self.workers.on_lost = self._messages.lost
        self.workers.on_hopeless = self._messages.hopeless
        broadcast = self.workers.broadcast
        self.logs = LogControl(loop, options, log_file, levels, broadcast)
        self.stats = ProcessStats(
            loop,
            options,
            self.bootstrap,
            hot_restart,
            self.workers,
            self.counts,
            lambda: self.life.state,
        )
        registry = self.stats.registry
        self.overload = OverloadManager(
            loop,
            self.bootstrap,
            registry,
            self.workers.process_ids,
            lambda: self.counts.total(0),
            broadcast,
        )
        self.runtime = LiveRuntime(config.layers, broadcast)
        registry.add("RuntimeStats", self.runtime.stats)
        self.config_sources = config_sources(self.bootstrap, self.runtime.view)
        self.names = NameResolution(loop, self._hosts_resolved, registry, random_draw())
        self.host_health = HostHealth(loop.call_soon, broadcast)
        self.host_health.watchers.append(lambda name, _keys: self.names.count_healthy(name))
        self.names.flags_of = self.host_health.of_cluster
        self.health_checks = HealthChecks(self, random_draw(), self.runtime.view)
        self.names.is_well = self.health_checks.is_well
        self.logs.on_reopen.append(self.health_checks.reopen_logs)
        self.secrets = FollowedSecrets(loop, self.bootstrap, registry, config.secrets, self._secret_changed)
        self.dns_caches = DnsCaches(loop, registry, random_draw(), broadcast)
        self.control_planes = ControlPlanes(
            loop,
            options,
            self.bootstrap,
            config.clusters,
            self.secrets.values,
            self.workers,
            self.stats,
            lambda: self.served.accepting,
        )
        self.control_planes.config_sources = self.config_sources
        self.wanted = self.control_planes.wanted = WantedResources(
            self.control_planes.subscribe, broadcast, self._check_context, time.time
        )
        registry.add("wanted", WantedStats(self.wanted, lambda place: self.slots.first_builder(place) >= 0))
        self.wanted.observers[ResourceType.RUNTIME] = self.runtime.take
        self.wanted.consumers = CONSUMERS
        self.clusters = self.control_planes.clusters = ClusterTable(
            clusters,
            self.wanted,
            self.names,
            self.stats.clusters,
            broadcast,
            self._check_context,
            time.time,
        )
        self.clusters.checks = self.health_checks
        self.wanted.before_change[ResourceType.ENDPOINT] = HostChanges(self.clusters, self.stats.clusters)
        self.wanted.amenders[ResourceType.ENDPOINT] = self.health_checks.with_kept_endpoints
        self.wanted.observers[ResourceType.ENDPOINT] = self.health_checks.endpoints_came
        self.wanted.observers[ResourceType.SECRET] = self.health_checks.secret_came
        self.served = ServedListeners(loop, options, self.workers, self.stats.listeners)
        self.listeners = self.served.table = self.control_planes.listeners = ListenerTable(
            options.concurrency,
            listeners,
            self.wanted,
            self.stats.listeners,
            self._check_context,
            time.time,
            self._start_listener,
            self.served.stop,
            after_drain=lambda release: self.loop.call_later(self.options.drain_time_s, release),
            allows_internal=internal_buffer_bytes(self.bootstrap) is not None,
            opener=open_sockets if hot_restart is None else hot_restart.open_sockets,
        )
        self.events = EventLog(time.time)
        self.breakers = BreakerEvents(self.events, time.monotonic)
        self.outliers = OutlierDetection(
            loop,
            self.workers,
            self.clusters.serialized,
            self.runtime.view,
            registry,
            random_draw(),
            self.events,
            self.host_health,
            self.logs.event_file(self.bootstrap.cluster_manager.outlier_detection.event_log_path),
            time.time,
        )
        self.health_checks.on_pass.append(self.outliers.health_check_passed)
        self._reloader: Reloader | None = None
        self._file_watch: FileWatch | None = None
        self.service = ServiceManager(os.environ)
        self.life = Lifecycle(
            loop,
            options,
            self.workers,
            self.served,
            self.events,
            self.service,
            lambda: hot_restart is not None and hot_restart.awaits_numbers,
        )
        self._admin: Any = None

    async def run(self, start_admin: Callable[[Controller], Any]) -> int:
        """Start everything, serve until told to stop, end everything. Raises `UsageError` if a bind fails.

        `start_admin` makes the `AdminRunner`.
        """
        admin = None
        Signals(self.loop, self.life.begin_drain, self.logs.reopen, self.reload).catch()
        try:
            self._bind()
            if self.hot_restart is not None:
                self.hot_restart.start(self)
            self.runtime.start(self.loop)
            self.overload.start()
            self.workers.start()
            self.secrets.start()
            self._admin = admin = start_admin(self)
            self.logs.on_reopen.append(admin.reopen_logs)
            await admin.start()
            await self._until_exit(self._initialize())
            return await self.life.exit
        finally:
            await self._close(admin)

    def _secret_changed(self, key: str, serialized: bytes) -> None:
        self.health_checks.secret_changed(key, serialized)
        self.workers.broadcast(("secret", key, serialized))

    def pause_admin(self) -> tuple[str, socket.socket] | None:
        """For a process that takes over: the address of the admin server and its socket."""
        self.stats.handed_over = True
        return None if self._admin is None else self._admin.pause()

    async def resume_admin(self) -> None:
        """That process has not taken over."""
        self.stats.handed_over = False
        if self._admin is not None and not self.life.ending:
            await self._admin.go_on()

    def reload(self) -> None:
        """SIGHUP, or a changed file: have the static part of the bootstrap as it is now, if it is good."""
        if not self.served.accepting or self.life.draining:
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
        self.control_planes.use(config.clusters)
        self.dns_caches.declare(config.dns_caches)
        self.config = config
        self.loaded_at = time.time()

    def _reloaded(self, good: bool, line: str) -> None:
        self.service.ready(self._status_line() if good else line)

    async def _initialize(self) -> None:
        planes = self.control_planes
        if self.config.dynamic:
            await planes.start().start_runtime(self.config.runtime_wants)
        self.dns_caches.declare(self.config.dns_caches)
        self._start_stats_sinks()
        await self.names.start([self.config.clusters[index] for index in self.config.dns_clusters])
        planes.start_load_reports()
        planes.start_health_discovery(self.health_checks)
        checked = [self.config.clusters[index] for index in self.config.checked_clusters]
        await self.health_checks.start(checked, discovered=False)
        if planes.discovery is not None:
            await planes.discovery.start_clusters(self.config.cluster_wants)
            await self.health_checks.start(checked, discovered=True)
        # Envoy loads the runtime once more when its clusters are there; the numbers show it.
        self.runtime.count_load()
        self.life.state = "INITIALIZING"
        logger.info("all clusters initialized. initializing init manager")
        if planes.discovery is not None:
            await planes.discovery.start_listeners(self.config.listener_wants)
        if _CONNECTION_LIMIT_KEY not in self.runtime.values():
            logger.warning(
                "There is no configured limit to the number of allowed active downstream connections. "
                "Configure a limit with the runtime key `%s`.",
                _CONNECTION_LIMIT_KEY,
            )
        if self.options.mode == "init_only":
            self.life.request_exit(0, "initialized; --mode init_only ends here")
            return
        logger.info("all dependencies initialized. starting workers")
        self.served.serve()
        await self._messages.all_ready.wait()
        self.served.accept()
        self.life.state = "LIVE"
        self.live_since = time.time()
        self.stats.initialized()
        self.served.log_all()
        if self.hot_restart is not None:
            self.hot_restart.accepting()
        logger.info("starting main dispatch loop")
        self._obey_flags()
        self.service.ready(self._status_line())
        self.service.keep_alive(self.loop)
        if self.options.watch_config:
            from proxy.app.reload import FileWatch  # asked for by a flag

            self._file_watch = FileWatch(self.loop, self.options.config_path, self._on_file_changed)

    def _start_stats_sinks(self) -> None:
        if not self.bootstrap.stats_sinks:
            return
        from proxy.admin.config import compile_admin
        from proxy.app.admin_state import ControllerAdminState
        from proxy.stats_sinks.config import compile_sinks
        from proxy.stats_sinks.flusher import StatsSinks

        # Checked when the bootstrap was loaded.
        context = CompileContext()
        plans = compile_sinks(self.bootstrap, context)
        admin = compile_admin(self.bootstrap, context)
        zero_groups = ControllerAdminState(self).zero_groups
        self.stats.use_sinks(StatsSinks(plans, admin, self.control_planes.surroundings, zero_groups))

    def _on_file_changed(self) -> None:
        logger.info("%s has changed", self.options.config_path)
        self.reload()

    def _status_line(self) -> str:
        return f"serving {len(self.listeners.active)} listener(s), {len(self.clusters.active)} cluster(s)"

    def _obey_flags(self) -> None:
        """Envoy's `flags_path`: a file named "drain" there starts the proxy as unhealthy."""
        flags = self.bootstrap.flags_path
        if flags and os.path.exists(os.path.join(flags, "drain")):
            logger.warning("starting as unhealthy because %s/drain exists", flags)
            self.life.fail_health_checks(True)

    async def _until_exit(self, work: Any) -> None:
        """Do `work`, unless the exit is asked for first."""
        task = self.loop.create_task(work, name="initialize")
        await asyncio.wait({task, self.life.exit}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        else:
            task.result()

    async def _close(self, admin: Any) -> None:
        logger.info("shutting down server instance")
        self.life.close()
        self.overload.close()
        await self.stats.close()
        if self._file_watch is not None:
            self._file_watch.close()
        if self._reloader is not None:
            await self._reloader.close()
        await self.control_planes.close()
        await self.names.close()
        self.health_checks.close()
        self.dns_caches.close()
        await self.outliers.close()
        self.runtime.close()
        self.logs.close()
        self.secrets.close()
        self.served.refuse_all()
        self.workers.end()
        await self.workers.wait_until_gone(STOP_SECONDS)
        self.workers.kill()
        await self.workers.close()
        if self.hot_restart is not None:
            self.stats.refresh_own()
            await self.hot_restart.close()
        self.listeners.close()
        if admin is not None:
            await admin.close()
        self.slots.close()
        self.counts.close()
        self.buckets.close()
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
            config_sources=self.config_sources,
        )


def _most(config: LoadedConfig, static: int) -> int:
    return _MOST_DISCOVERED if config.dynamic else 2 * static + _RELOAD_ROOM
