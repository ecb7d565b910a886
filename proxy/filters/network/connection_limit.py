"""`envoy.filters.network.connection_limit`: closes connections over a number, at once or after a delay.

A refused connection counts as active until it is closed, delay included, as in Envoy. The number is held for
this filter of this worker.
"""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec import Struct

from proxy.base.runtime import Runtime
from proxy.base.services import WorkerServices
from proxy.base.stats import StatGroup
from proxy.base.stream_info import ConnectionInfo
from proxy.config.context import CompileContext
from proxy.config.durations import seconds
from proxy.filters.api import ListenerFacts, NetworkFilterFactory


class ConnectionLimitConfig(Struct, frozen=True):
    """`delay` is in seconds; `runtime_key` "" means that `enabled` always holds."""

    stat_prefix: str
    max_connections: int
    delay: float
    enabled: bool
    runtime_key: str


class ConnectionLimitStats(StatGroup):
    """`connection_limit.<stat_prefix>.*`."""

    COUNTERS: ClassVar[tuple[str, ...]] = ("limited_connections",)
    GAUGES: ClassVar[tuple[str, ...]] = ("active_connections",)

    limited_connections: int
    active_connections: int


class ConnectionLimitFilter:
    """The gate; see `proxy.filters.api.ConnectionGate`."""

    def __init__(self, config: ConnectionLimitConfig, runtime: Runtime, stats: ConnectionLimitStats) -> None:
        self._config = config
        self._runtime = runtime
        self._stats = stats
        self._open = 0
        self.reject_delay = config.delay

    def on_new_connection(self, connection: ConnectionInfo) -> bool:
        """Count the connection until it closes; False if it is one too many."""
        config = self._config
        enabled = config.enabled
        if config.runtime_key:
            enabled = self._runtime.boolean(config.runtime_key, enabled)
        if not enabled:
            return True
        stats = self._stats
        allowed = self._open < config.max_connections
        self._open += 1
        stats.active_connections += 1
        if not allowed:
            stats.limited_connections += 1
        connection.on_close.append(self._on_close)
        return allowed

    def _on_close(self) -> None:
        self._open -= 1
        self._stats.active_connections -= 1


def _compile(message: Any, path: str, ctx: CompileContext) -> ConnectionLimitConfig:
    if not message.stat_prefix:
        ctx.problem(f"{path}.stat_prefix", "value length must be at least 1 characters")
    if message.max_connections.value < 1:
        ctx.problem(f"{path}.max_connections", "value must be greater than or equal to 1")
    gated = message.HasField("runtime_enabled")
    return ConnectionLimitConfig(
        stat_prefix=message.stat_prefix,
        max_connections=message.max_connections.value,
        delay=seconds(message, "delay", 0.0),
        enabled=message.runtime_enabled.default_value.value if gated else True,
        runtime_key=message.runtime_enabled.runtime_key if gated else "",
    )


def _create(
    config: ConnectionLimitConfig, services: WorkerServices, listener: ListenerFacts
) -> ConnectionLimitFilter:
    del listener
    stats = services.stats.shared(ConnectionLimitStats, f"connection_limit.{config.stat_prefix}.")
    return ConnectionLimitFilter(config, services.runtime, stats)


FACTORY = NetworkFilterFactory(
    name="envoy.filters.network.connection_limit",
    type_name="envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
    terminal=False,
    compile=_compile,
    create=_create,
)
