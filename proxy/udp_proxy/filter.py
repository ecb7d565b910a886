"""The filter of one listener in one worker, and its factory."""

from __future__ import annotations

from typing import Any

from proxy.base.address import Address
from proxy.base.services import WorkerServices
from proxy.filters.udp import DatagramEnd, Peer, UdpListenerFilterFactory, ip_of
from proxy.udp_proxy.clusters import ClusterSessions
from proxy.udp_proxy.config import DatagramEnds, UdpProxyConfig, compile_udp_proxy
from proxy.udp_proxy.log_entry import proxy_entry
from proxy.udp_proxy.socket_poll import SocketPoll
from proxy.udp_proxy.stats import UdpProxyStats


class UdpProxyFilter:
    """Finds the cluster of each datagram; see `UdpListenerFilter`. `logger` is an `AccessLogger` or None."""

    def __init__(self, config: UdpProxyConfig, services: WorkerServices, stats: UdpProxyStats) -> None:
        self.config = config
        self.services = services
        self.stats = stats
        self.now = services.loop.time
        self.timers = services.timers
        self.poll = SocketPoll(services.loop)
        self.logger = _logger(config.access_logs, services)
        self._proxy_logger = _logger(config.proxy_access_logs, services)
        self._start_time = self.now()
        self._last_id = -1
        self._received = 0
        self._clusters: dict[str, ClusterSessions] = {}
        for name in config.cluster_names:
            self._find(name)

    def next_session_id(self) -> int:
        """A number for a session, from 0."""
        self._last_id += 1
        return self._last_id

    def address_of(self, peer: Peer) -> Address:
        """The address of a client."""
        return Address(ip_of(peer), peer[1])

    def on_datagram(self, end: DatagramEnd, peer: Peer, data: bytes, now: float) -> None:
        """See `UdpListenerFilter`."""
        config = self.config
        self._received += len(data)
        name: str | None = config.cluster
        if config.route is not None:
            local = end.address
            name = config.route(DatagramEnds(ip_of(peer), peer[1], local.ip, local.port))
        cluster = None
        if name is not None:
            cluster = self._clusters.get(name)
            if cluster is None or cluster.cluster.removed:
                cluster = self._find(name)
        if cluster is None:
            self.stats.downstream_sess_no_route += 1
        elif config.per_packet:
            cluster.on_datagram_alone(end, peer, data, now)
        else:
            cluster.on_datagram(end, peer, data, now)

    def on_receive_error(self) -> None:
        """See `UdpListenerFilter`."""
        self.stats.downstream_sess_rx_errors += 1

    def close(self) -> None:
        """See `UdpListenerFilter`."""
        now = self.now()
        for cluster in self._clusters.values():
            cluster.close(now)
        self._clusters.clear()
        self.poll.close()
        if self._proxy_logger is not None:
            self._proxy_logger.log(proxy_entry(self.stats, self._received, self._start_time, now), "NotSet")

    def _find(self, name: str) -> ClusterSessions | None:
        gone = self._clusters.pop(name, None)
        if gone is not None:
            gone.close(self.now())
        cluster = self.services.clusters.get(name)
        if cluster is None:
            return None
        made = self._clusters[name] = ClusterSessions(self, cluster)
        return made


def _logger(logs: tuple[Any, ...], services: WorkerServices) -> Any:
    if not logs:
        return None
    from proxy.access_log.logger import AccessLogger  # many filters have none

    return AccessLogger(logs, services)


def _create(config: UdpProxyConfig, services: WorkerServices) -> UdpProxyFilter:
    return UdpProxyFilter(
        config, services, services.stats.shared(UdpProxyStats, f"udp.{config.stat_prefix}.")
    )


FACTORY = UdpListenerFilterFactory(
    name="envoy.filters.udp_listener.udp_proxy",
    type_name="envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig",
    compile=compile_udp_proxy,
    create=_create,
)
