"""The filter of one filter chain in one worker, and its factory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo
from proxy.filters.api import ListenerFacts, NetworkFilterFactory
from proxy.tcp_proxy.config import TcpProxyConfig, compile_tcp_proxy
from proxy.tcp_proxy.session import TcpSession
from proxy.tcp_proxy.splice import PipeStock
from proxy.tcp_proxy.stats import TcpProxyStats
from proxy.tcp_proxy.young_sessions import YoungSessions


class TcpProxyFilter:
    """Makes the sessions; what they share. `logger` is an `AccessLogger` or None."""

    def __init__(self, config: TcpProxyConfig, services: WorkerServices, stats: TcpProxyStats) -> None:
        self.config = config
        self.services = services
        self.stats = stats
        self.loop = services.loop
        self.now = services.loop.time
        self.timers = services.timers
        self.clusters = services.clusters
        self.draw = services.random
        self.logger: Any = None
        self.pipes: PipeStock = services.shared.setdefault("tcp_proxy.pipes", PipeStock())
        self.young = YoungSessions(services.timers)
        self._last_upstream_id = 0
        if config.access_logs:
            from proxy.access_log.logger import AccessLogger  # many filters have none

            self.logger = AccessLogger(config.access_logs, services)

    def create_protocol(self, connection: ConnectionInfo) -> asyncio.Protocol:
        """See `TerminalFilter`."""
        return TcpSession(self, connection)

    def dial_early(self, connection: ConnectionInfo, on_spoke: Callable[[], None]) -> Any:
        """See `proxy.tcp_proxy.early.dial_early`."""
        from proxy.tcp_proxy.early import dial_early  # needed behind listener filters only

        return dial_early(self, connection, on_spoke)

    def next_upstream_id(self) -> int:
        """A number for a connection to a host."""
        self._last_upstream_id += 1
        return self._last_upstream_id


def _create(config: TcpProxyConfig, services: WorkerServices, listener: ListenerFacts) -> TcpProxyFilter:
    del listener
    stats = services.stats.shared(TcpProxyStats, f"tcp.{config.stat_prefix}.")
    return TcpProxyFilter(config, services, stats)


FACTORY = NetworkFilterFactory(
    name="envoy.filters.network.tcp_proxy",
    type_name="envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    terminal=True,
    compile=compile_tcp_proxy,
    create=_create,
)
