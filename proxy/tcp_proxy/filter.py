"""The filter of one filter chain in one worker, and its factory."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo
from proxy.filters.api import ListenerFacts, NetworkFilterFactory
from proxy.tcp_proxy.config import TcpProxyConfig, compile_tcp_proxy
from proxy.tcp_proxy.session import TcpSession
from proxy.tcp_proxy.splice import PipeStock
from proxy.tcp_proxy.stats import TcpProxyStats
from proxy.tcp_proxy.tunnel_config import DISABLE_KEY
from proxy.tcp_proxy.young_sessions import YoungSessions
from proxy.upstream.pool.base import ConnectionIds

if TYPE_CHECKING:
    from proxy.upstream.cluster import Cluster
    from proxy.upstream.host import Host


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
        self.ids = ConnectionIds()
        self.young = YoungSessions(services.timers)
        if config.access_logs:
            from proxy.access_log.logger import AccessLogger  # many filters have none

            self.logger = AccessLogger(config.access_logs, services)

    def create_protocol(self, connection: ConnectionInfo) -> asyncio.Protocol:
        """See `TerminalFilter`."""
        if self.config.tunnel is None or str(connection.filter_state.get(DISABLE_KEY)).lower() == "true":
            return TcpSession(self, connection)
        from proxy.tcp_proxy.tunnel_session import TunnelSession  # few filters have tunnels

        return TunnelSession(self, connection)

    def dial_early(self, connection: ConnectionInfo, on_spoke: Callable[[], None]) -> Any:
        """See `proxy.tcp_proxy.early.dial_early`."""
        from proxy.tcp_proxy.early import dial_early  # needed behind listener filters only

        return dial_early(self, connection, on_spoke)

    def new_request_id(self) -> str:
        """A random UUID for a tunnel."""
        return str(uuid.UUID(int=self.draw() << 64 | self.draw(), version=4))

    def pool(self, cluster: Cluster, host: Host) -> Any:
        """The HTTP pool of a host for tunnels."""
        # Without a word on the version, tunnels to a cluster that speaks the clients' version are of HTTP/1.
        pool = host.pools.get(0)
        if pool is None:
            from proxy.upstream.pool.choice import make_pool  # few filters have tunnels

            pool = make_pool(self.loop, self.services.timers, cluster, host, 0, self.ids)
            host.pools[0] = pool
        return pool


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
    half_closes=True,
)
