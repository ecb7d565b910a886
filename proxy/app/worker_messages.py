"""What passes between the controller and its workers: what a new one is told, and who hears what they tell."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from proxy.app.bootstrap_extensions import internal_buffer_bytes
from proxy.app.ipc import Message
from proxy.app.machine import own_address
from proxy.app.worker_table import WorkerHandle

if TYPE_CHECKING:
    from proxy.app.controller import Controller

logger = logging.getLogger("proxy.app.worker_messages")


class WorkerMessages:
    """See module."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        #: Whether every worker has once had all that it needs to accept.
        self.all_ready = asyncio.Event()

    def settings(self) -> dict[str, Any]:
        """What a worker is forked with."""
        controller = self._controller
        options, bootstrap, sources = controller.options, controller.bootstrap, controller.config_sources
        return {
            "workers": options.concurrency,
            "clusters": controller.slots.clusters,
            "listener_columns": controller.counts.columns,
            "drain_time": options.drain_time_s,
            "runtime": controller.runtime.values(),
            "internal_buffer": internal_buffer_bytes(bootstrap),
            "local_address": own_address(options.local_address_ip_version),
            "secrets": controller.secrets.watch is not None or controller.config.dynamic,
            "config_sources": (sources.by_authority, sources.default, sources.guard),
            "node": bootstrap.node.SerializeToString(),
            "tracing": bootstrap.tracing.SerializeToString(),
            "reports_load": bootstrap.cluster_manager.HasField("load_stats_config"),
            "local_cluster": bootstrap.cluster_manager.local_cluster_name,
            "overload": controller.overload.settings,
            "flush_interval": options.file_flush_interval_msec / 1000,
            "flush_size": options.file_flush_min_size_kb * 1024,
            "log_path": options.log_path,
            "log_format": options.log_format,
            "log_format_escaped": options.log_format_escaped,
            "log_levels": controller.logs.levels.describe(),
        }

    def configure(self, handle: WorkerHandle) -> None:
        """Send a new worker all that the others have."""
        controller = self._controller
        for message in controller.overload.messages():
            handle.send(message)
        for key, serialized in controller.secrets.values().items():
            handle.send(("secret", key, serialized))
        for message in controller.host_health.messages():
            handle.send(message)
        for message in controller.clusters.messages():
            handle.send(message)
        for message in controller.wanted.messages():
            handle.send(message)
        for name, resolved in controller.names.known():
            handle.send(("hosts", name, resolved))
        for message in controller.dns_caches.messages():
            handle.send(message)
        controller.control_planes.configure(handle)
        if controller.life.state == "DRAINING":
            handle.send(("drain", True))
        if controller.served.serving:
            controller.served.send_all(handle)
        controller.life.ask(handle)

    def take(self, handle: WorkerHandle, message: Message) -> None:
        """A worker has told something."""
        controller = self._controller
        match message[0]:
            case "stats":
                controller.stats.sum.update(handle.index, message[1])
            case "load":
                controller.control_planes.take_load(handle, message[1])
            case "ready":
                if controller.workers.all_ready:
                    self.all_ready.set()
            case "connections":
                controller.life.take_report(handle, message)
            case "outcomes":
                controller.outliers.take(handle, message[1])
            case "event":
                what, cluster, why = message[1:]
                controller.events.record(what, {"cluster": cluster}, why)
            case "breaker_opened":
                controller.breakers.opened(handle.index, *message[1:])
            case "breaker_closed":
                controller.breakers.closed(handle.index, *message[1:])
            case "immediate_failure":
                controller.health_checks.failed_at_once(*message[1:])
            case "outlier_hosts":
                controller.outliers.change_hosts(handle, *message[1:])
            case "demand":
                controller.control_planes.demand(*message[1:])
            case "resolve":
                controller.dns_caches.resolve(handle.send, *message[1:])
            case kind:
                logger.error("unknown message %r from worker %d", kind, handle.index)

    def lost(self, handle: WorkerHandle) -> None:
        """A worker has gone; what it held is given back, what it counted stays."""
        controller = self._controller
        controller.slots.clear_worker(handle.index)
        controller.counts.clear_worker(handle.index)
        controller.stats.sum.lost(handle.index)
        controller.outliers.worker_lost(handle.index)
        controller.breakers.worker_lost(handle.index)
        controller.control_planes.worker_lost(handle.index)
        if not controller.life.exit.done():
            controller.stats.workers.worker_restarted += 1
            controller.life.progress()

    def hopeless(self, reason: str) -> None:
        """No worker can be started."""
        logger.critical("%s; see the errors above", reason)
        self._controller.life.request_exit(1, "no worker can run")
