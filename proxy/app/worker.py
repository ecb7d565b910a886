"""One worker: an event loop that serves traffic and does what the controller's messages say.

It is forked from the fork server, so everything imported here is shared by all workers: no YAML, no admin
server, no DNS resolver, no gRPC. When the channel to the controller closes, the worker ends at once.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final

import uvloop
from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_pb2

from proxy.access_log.sinks import SinkManager
from proxy.app import logs
from proxy.app.connection_counts import SharedCounter, SharedCounts
from proxy.app.descriptor_watch import DescriptorWatch
from proxy.app.draw import random_draw
from proxy.app.ipc import MAX_SOCKETS, Channel, Message
from proxy.base.errors import ConfigError
from proxy.base.runtime import Runtime
from proxy.base.services import WorkerServices
from proxy.base.shared_buckets import SharedBuckets
from proxy.base.stats import StatRegistry, collect
from proxy.base.steps import Slices
from proxy.base.stream_info import DrainState, GradualDrain, WallClock
from proxy.config.config_sources import ConfigSources
from proxy.config.context import CompileContext
from proxy.config.demands import Demands
from proxy.config.resources import ResourceStore
from proxy.connection.timers import TimerQueue
from proxy.downstream.listener import compile_listener
from proxy.downstream.listener_manager import ListenerManager
from proxy.overload.triggers import TimerMinimum
from proxy.overload.view import OverloadView
from proxy.router.table_parts import Slice, TableUpdates
from proxy.upstream.breaker_watch import BreakerWatch
from proxy.upstream.circuit_breaker import SharedSlots
from proxy.upstream.cluster_manager import ClusterManager
from proxy.upstream.dns_cache.view import DnsCacheViews
from proxy.upstream.health_flags import HostKey
from proxy.upstream.host import Host, HostStats
from proxy.upstream.load_counts import LoadCounts
from proxy.upstream.outlier.outcomes import OutcomeReporter
from xds_client.resource_types import ResourceType

logger = logging.getLogger("proxy.app.worker")

# So often counters go to the controller unasked: a worker that is killed loses at most these seconds of them.
PUSH_SECONDS: Final = 1.0
# The most of its time that a worker spends on that; with very many stats in use it pushes more rarely.
_PUSH_SHARE: Final = 0.002
DRAIN_CHECK_SECONDS: Final = 0.1
# Few objects of a request are in cycles; a rare collection keeps latency flat (docs/architecture.md).
_GC_THRESHOLDS: Final = (100_000, 50, 50)
# How the keys of secrets begin, see `proxy.config.resources.ResourceWant`.
_SECRETS: Final = f"{ResourceType.SECRET.name}/"
HOST_NUMBERS: Final = HostStats.__slots__


class Worker:
    """The state of one worker process; `status` is its exit status."""

    status = 0

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        index: int,
        settings: dict[str, Any],
        handles: socket.socket,
        slots: SharedSlots,
        counts: SharedCounts,
        buckets: SharedBuckets,
        log_file: logs.LogFile,
        levels: logs.LogLevels,
    ) -> None:
        self._loop = loop
        self._log_file = log_file
        self._levels = levels
        self._handles = handles
        self._sockets: dict[str, list[socket.socket]] = {}
        #: Listeners to run, by name, whose sockets are under the key that comes first.
        self._waiting: dict[str, tuple[str, bytes, int, tuple[int, ...]]] = {}
        self._complete: deque[tuple[str, bytes, list[socket.socket], tuple[int, ...]]] = deque()
        self._starting: asyncio.Task[None] | None = None
        self._go = False
        self._stopping = False
        self._drain_timer: asyncio.TimerHandle | None = None
        #: How many connections had been accepted at the last push of numbers but one, and at the last.
        self._accepted_before = (0, 0)
        self._descriptors = DescriptorWatch()
        runtime = Runtime(settings["runtime"])
        stats = StatRegistry()
        wall_clock = WallClock(loop.time)
        draw = random_draw()
        node = base_pb2.Node.FromString(settings["node"])

        by_authority, default, guard = settings["config_sources"]
        self._resources = ResourceStore(ConfigSources(by_authority, default, guard=guard))
        self._tables = TableUpdates()
        self._secrets: Any = None
        if settings["secrets"]:
            from proxy.connection.tls_secrets import SecretStore  # TLS, which most workers need not

            self._secrets = SecretStore()

        def context() -> CompileContext:
            return CompileContext(
                runtime, wall_clock, None, node, secrets=self._secrets, resources=self._resources
            )

        self._context = context
        self._sinks = SinkManager(loop, settings["flush_interval"], settings["flush_size"])
        stats.add(self._sinks.stats.prefix, self._sinks.stats)
        self._clusters = ClusterManager(runtime, stats, draw, slots, index, context, _drain_pools)
        self._clusters.local_cluster_name = settings["local_cluster"]
        self._clusters.reports_load = settings["reports_load"]
        self._load = LoadCounts(self._clusters.active)
        self._tasks: set[asyncio.Task[None]] = set()
        self.services = WorkerServices(
            loop=loop,
            clusters=self._clusters,
            runtime=runtime,
            stats=stats,
            wall_clock=wall_clock,
            timers=TimerQueue(loop),
            access_logs=self._sinks,
            random=draw,
            drain=DrainState(),
            node=node,
            tracing=settings["tracing"],
            worker_index=index,
            local_address=settings["local_address"],
            internal_buffer_bytes=settings["internal_buffer"] or 0,
            resources=self._resources,
            demands=Demands(self._demand),
            workers=settings["workers"],
            slices=Slices(loop.call_soon),
            buckets=buckets if settings["workers"] > 1 else None,
            overload=_overload_view(settings["overload"], draw),
        )
        if self.services.overload is not None:
            stats.add("overload", self.services.overload.stats)
        self._dns_caches = DnsCacheViews(self.services, self._demand)
        self._clusters.services = self.services
        #: Where the connections of listeners are counted, by name.
        self._columns = {"": 0}
        self._listeners = ListenerManager(
            self.services,
            lambda name: SharedCounter(counts, index, self._columns[name]),
            settings["drain_time"],
        )
        self.channel = Channel(self.on_message, self.on_controller_lost)
        self._outcomes = self.services.outcomes = OutcomeReporter(loop, self.channel)
        self.services.breaker_watch = BreakerWatch(
            self.services.timers,
            loop.time,
            lambda key, why: self.channel.send(("breaker_opened", key, why)),
            lambda key, refused: self.channel.send(("breaker_closed", key, refused)),
        )

    def _use_overload(self, states: dict[str, float]) -> None:
        if self.services.overload is not None:
            self.services.overload.use(states)

    def _shrink_heap(self) -> None:
        from proxy.overload.heap import shrink_heap

        shrink_heap()

    def start(self) -> None:
        """Say hello and begin to listen to the controller."""
        self.channel.send(("hello", os.getpid()))
        self._loop.add_reader(self._handles, self._receive_handles)
        self._loop.call_later(PUSH_SECONDS, self._push)

    def on_controller_lost(self) -> None:
        """Nobody is left who could restart, drain or stop us."""
        if not self._stopping:
            logger.warning("the controller has gone; worker %d ends", self.services.worker_index)
        self._end()

    def on_message(self, message: Message) -> None:
        """Do one thing that the controller asks for."""
        handler = self._HANDLERS.get(message[0])
        if handler is None:
            logger.error("unknown message %r from the controller", message[0])
            return
        handler(self, *message[1:])

    def _add_clusters(self, clusters: list[tuple[str, bytes, int]]) -> None:
        for name, serialized, index in clusters:
            self._clusters.add(name, serialized, index)

    def _remove_clusters(self, names: list[str]) -> None:
        for name in names:
            self._clusters.remove(name)

    def _update_resources(self, resources: list[tuple[str, bytes | None]]) -> None:
        for key, value in resources:
            if self._secrets is not None and key.startswith(_SECRETS):
                self._secrets.update(key, value or b"")
            else:
                self._tables.forget(key)
                self._resources.update(key, value)

    def _update_table(self, key: str, update: Slice) -> None:
        parts = self._tables.take(key, update)
        if parts is not None:
            self._resources.update(key, parts)

    def _forget_resource(self, key: str) -> None:
        self._tables.forget(key)
        self._resources.forget(key)

    def _demand(self, message: tuple[Any, ...]) -> None:
        self.channel.send(message)

    def _answer_demand(self, key: str, name: str) -> None:
        self.services.demands.answer(key, name)

    def _update_hosts(self, name: str, resolved: list[Any]) -> None:
        self._clusters.update_hosts(name, resolved)

    def _update_flags(self, name: str, changes: dict[HostKey, int | None]) -> None:
        self._clusters.update_flags(name, changes)

    def _watch_outcomes(self, name: str, keys: list[HostKey]) -> None:
        self._outcomes.watch(name, keys)

    def _take_resolved(self, cache: str, told: list[Any]) -> None:
        self._dns_caches.resolved(cache, told)

    def _note_dns_overflow(self, cache: str, key: str) -> None:
        self._dns_caches.overflow(cache, key)

    def _forget_resolved(self, cache: str, key: str) -> None:
        self._dns_caches.forgotten(cache, key)

    def _update_secret(self, key: str, serialized: bytes) -> None:
        if self._secrets is None:
            # A reload has brought the first of them.
            from proxy.connection.tls_secrets import SecretStore

            self._secrets = SecretStore()
        self._secrets.update(key, serialized)

    def _replace_runtime(self, values: dict[str, str]) -> None:
        self.services.runtime.replace(values)
        self._clusters.apply_runtime()

    def _add_listener(
        self, name: str, serialized: bytes, column: int, key: str, wanted: int, further: tuple[int, ...] = ()
    ) -> None:
        """Run a listener on the `wanted` sockets that come under `key`; one of that name is replaced.

        As many more follow as `further` has numbers, which are those of addresses with another socket.
        """
        self._columns[name] = column
        before = self._waiting.get(name)
        if before is not None:
            self._close_sockets(before[0])
        self._waiting[name] = (key, serialized, wanted, further)
        self._receive_handles()

    def _remove_listeners(self, names: list[str]) -> None:
        for name in names:
            waiting = self._waiting.pop(name, None)
            if waiting is not None:
                self._close_sockets(waiting[0])
            for entry in [one for one in self._complete if one[0] == name]:
                self._complete.remove(entry)
                for sock in entry[2]:
                    sock.close()
            self._listeners.remove(name)

    def _close_sockets(self, key: str) -> None:
        for sock in self._sockets.pop(key, ()):
            sock.close()

    def _start_serving(self) -> None:
        self._go = True
        self._start_complete_listeners()

    def _receive_handles(self) -> None:
        while True:
            try:
                key, descriptors, _flags, _peer = socket.recv_fds(self._handles, 4096, MAX_SOCKETS)
            except BlockingIOError:
                break
            except OSError:
                key = b""
            if not key:
                self._loop.remove_reader(self._handles)
                break
            self._sockets.setdefault(key.decode(), []).extend(
                socket.socket(fileno=descriptor) for descriptor in descriptors
            )
        self._start_complete_listeners()

    def _start_complete_listeners(self) -> None:
        """Start each listener whose config and sockets have both arrived; they come by different ways."""
        for name, (key, serialized, wanted, further) in list(self._waiting.items()):
            sockets = self._sockets.get(key, [])
            if len(sockets) == wanted + len(further):
                del self._waiting[name]
                self._sockets.pop(key, None)
                self._complete.append((name, serialized, sockets, further))
        if self._starting is None and (self._complete or self._go):
            self._starting = self._loop.create_task(self._start_listeners(), name="start listeners")
            self._starting.add_done_callback(self._on_started)

    async def _start_listeners(self) -> None:
        while self._complete:
            await self._start_listener(*self._complete.popleft())

    def _on_started(self, task: asyncio.Task[None]) -> None:
        self._starting = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # A worker without its listeners would wait for ever; the controller counts failed starts and gives up.
            logger.critical("cannot start listening: %r", error, exc_info=error)
            self.status = 1
            self._loop.stop()
            return
        if self._complete:
            # It came after the task had looked for the last time.
            self._start_complete_listeners()
        elif self._go and not self._waiting:
            self._go = False
            gc.collect()
            gc.freeze()
            gc.set_threshold(*_GC_THRESHOLDS)
            self.channel.send(("ready",))

    async def _start_listener(
        self, name: str, serialized: bytes, sockets: list[socket.socket], further: tuple[int, ...]
    ) -> None:
        context = self._context()
        message = listener_pb2.Listener.FromString(serialized)
        # The controller's name for a listener that has none.
        message.name = name
        config = compile_listener(message, f"listener {name}", context)
        try:
            context.raise_if_problems()
            first = len(sockets) - len(further)
            await self._listeners.add(config, sockets[:first], zip(further, sockets[first:], strict=True))
        except (ConfigError, OSError) as error:
            # Checked before it came here: a file that it names has changed or gone since.
            logger.error("listener %s cannot be used: %s", name, error)
            for sock in sockets:
                sock.close()

    def _answer(self, number: int, question: str, *arguments: Any) -> None:
        answer: Any = None
        if question == "load":
            self._begin(self._tell_load(number), "tell of the load")
            return
        if question == "stats":
            answer = collect(self.services.stats)
        elif question == "hosts":
            answer = self._host_numbers()
        elif question == "outcomes":
            answer = self._outcomes.collect(*arguments)
        else:
            logger.error("unknown question %r from the controller", question)
        self.channel.send(("answer", number, answer))

    def _host_numbers(self) -> dict[str, dict[tuple[str, int], list[int]]]:
        """Cluster → (address, priority) → the numbers named by `HOST_NUMBERS`, of clusters in use here.

        Hosts that are made as streams ask for them go by their names, since many may have one address.
        """
        return {
            cluster.name: {
                (host.address.text if cluster.config.kind is None else host.hostname, host.priority): [
                    getattr(host.stats, name) for name in HOST_NUMBERS
                ]
                for host in cluster.hosts
            }
            for cluster in self._clusters.active()
        }

    def _count_load(self, names: list[str] | None) -> None:
        self._begin(self._load.want(names), "count the load")

    async def _tell_load(self, number: int | None = None) -> None:
        """Tell what came since the last time, and that this is the answer to question `number`."""
        load = await self._load.tell()
        if not self._stopping:
            self.channel.send(("load", load))
            if number is not None:
                self.channel.send(("answer", number, None))

    def _begin(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _push(self) -> None:
        if self._stopping:
            return
        self._descriptors.check()
        if self._load.wanted and not self.channel.lagging:
            self._begin(self._tell_load(), "tell of the load")
        self._accepted_before = (self._accepted_before[1], self._listeners.accepted_connections)
        began = time.perf_counter()
        if not self.channel.lagging:
            self.channel.send(("stats", collect(self.services.stats)))
        took = time.perf_counter() - began
        self._loop.call_later(max(PUSH_SECONDS, took / _PUSH_SHARE), self._push)

    def _set_levels(self, levels: dict[str, str]) -> None:
        self._levels.set(levels)

    def _reopen_logs(self) -> None:
        self._sinks.reopen()
        try:
            self._log_file.reopen()
        except OSError as error:
            logger.error("cannot reopen the log file: %s", error)

    def _mark_draining(self, draining: bool) -> None:
        """Responses announce `connection: close` from now on, or no longer."""
        self.services.drain.draining = draining
        self._listeners.announce_drain(draining)

    def _drain_listeners(self, names: list[str], shared: dict[str, tuple[int, ...]] | None = None) -> None:
        """Accept no longer; `shared` are numbers of addresses by listener, on which another process goes on."""
        for name in names:
            listener = self._listeners.listeners.get(name)
            if listener is not None:
                listener.refuse(shared[name] if shared else ())

    def _announce(self, names: list[str], seconds: int) -> None:
        """As `_mark_draining`, for some listeners, and for more and more responses in the course of `seconds`."""
        announced = GradualDrain(seconds, self._loop.time, self.services.random) if seconds else True
        for name in names:
            listener = self._listeners.listeners.get(name)
            if listener is not None:
                listener.announce_drain(announced)

    def _close_idle(self, silent: float) -> None:
        self._listeners.close_idle(silent)

    def _watch_connections(self, question: int) -> None:
        """Report the number of connections again and again, because the controller waits for it to be 0.

        Connections accepted before `question` came may have to be made yet: the first report follows them.
        """
        if self._drain_timer is not None:
            self._drain_timer.cancel()
        self._loop.call_soon(self._report_connections, question)

    def _report_connections(self, question: int) -> None:
        listeners = self._listeners
        accepted = listeners.accepted_connections
        lately = accepted > self._accepted_before[0]
        self.channel.send(("connections", listeners.active_connections, accepted, lately, question))
        self._drain_timer = self._loop.call_later(DRAIN_CHECK_SECONDS, self._report_connections, question)

    def _stop(self) -> None:
        self._stopping = True
        self._listeners.stop()
        self._listeners.close_connections()
        self._sinks.flush()
        self.channel.send(("stats", collect(self.services.stats)))
        self.channel.close()

    def _end(self) -> None:
        self._stopping = True
        self._sinks.close()
        self._loop.stop()

    _HANDLERS: Final[dict[str, Callable[..., None]]] = {
        "announce": _announce,
        "ask": _answer,
        "close_idle": _close_idle,
        "clusters": _add_clusters,
        "count_load": _count_load,
        "remove_clusters": _remove_clusters,
        "remove_listeners": _remove_listeners,
        "resources": _update_resources,
        "demanded": _answer_demand,
        "dns_overflow": _note_dns_overflow,
        "drain": _mark_draining,
        "drain_listeners": _drain_listeners,
        "forget_resource": _forget_resource,
        "forgotten": _forget_resolved,
        "health": _update_flags,
        "hosts": _update_hosts,
        "levels": _set_levels,
        "listener": _add_listener,
        "outlier_watch": _watch_outcomes,
        "overload": _use_overload,
        "reopen_logs": _reopen_logs,
        "resolved": _take_resolved,
        "runtime": _replace_runtime,
        "secret": _update_secret,
        "serve": _start_serving,
        "shrink_heap": _shrink_heap,
        "stop": _stop,
        "table": _update_table,
        "watch_connections": _watch_connections,
    }


def run(index: int, settings: dict[str, Any], descriptors: list[int]) -> int:
    """Serve until the controller says stop or is gone; returns the exit status."""
    log_file = logs.configure(settings["log_path"], settings["log_format"], settings["log_format_escaped"])
    levels = logs.LogLevels("info", settings["log_levels"])
    channel_descriptor, handles_descriptor, slots_descriptor, counts_descriptor, buckets_descriptor = (
        descriptors
    )
    handles = socket.socket(fileno=handles_descriptor)
    handles.setblocking(False)
    slots = SharedSlots.attach(slots_descriptor, settings["workers"], settings["clusters"])
    counts = SharedCounts(counts_descriptor, settings["workers"], settings["listener_columns"])
    buckets = SharedBuckets(buckets_descriptor)
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    loop.set_exception_handler(_log_unexpected)
    worker = Worker(loop, index, settings, handles, slots, counts, buckets, log_file, levels)
    channel_socket = socket.socket(fileno=channel_descriptor)
    channel_socket.setblocking(False)
    loop.run_until_complete(loop.create_unix_connection(lambda: worker.channel, sock=channel_socket))
    worker.start()
    loop.run_forever()
    return worker.status


def _overload_view(settings: Any, draw: Callable[[], int]) -> OverloadView | None:
    if settings is None:
        return None
    points, timers = settings
    return OverloadView(draw, points, {name: TimerMinimum(*least) for name, least in timers.items()})


def _drain_pools(host: Host) -> None:
    """The host has left its cluster: what is idle closes, requests in flight finish."""
    for pool in host.pools.values():
        pool.drain()


def _log_unexpected(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    logger.error("unexpected: %s: %r", context.get("message"), error, exc_info=error)
