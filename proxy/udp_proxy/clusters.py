"""The sessions of one filter with one cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.base.stream_info import ConnectionInfo, StreamInfo
from proxy.filters.udp import DatagramEnd, Peer, ip_of
from proxy.udp_proxy.log_entry import refused_entry
from proxy.udp_proxy.session import UdpSession
from proxy.udp_proxy.stats import UdpClusterStats
from proxy.upstream.pool.api import FOR_DATAGRAMS

if TYPE_CHECKING:
    from proxy.udp_proxy.filter import UdpProxyFilter
    from proxy.upstream.cluster import Cluster
    from proxy.upstream.host import Host


class HostSessions:
    """The sessions with one host, of all filters of a worker; it stands in `Host.pools`."""

    def __init__(self) -> None:
        self.sessions: set[UdpSession] = set()

    @property
    def in_use(self) -> bool:
        """Whether there are any."""
        return bool(self.sessions)

    def drain_connections(self) -> None:
        """The host has failed checks: sessions look for another by themselves."""

    def drain(self) -> None:
        """The host has left its cluster: its sessions end, as in Envoy."""
        for session in list(self.sessions):
            session.close(session.owner.filter.now())


class ClusterSessions:
    """See module. The circuit breaker `max_connections` of the cluster bounds their number over all workers."""

    def __init__(self, owner: UdpProxyFilter, cluster: Cluster) -> None:
        self.filter = owner
        self.cluster = cluster
        self.proxy_stats = owner.stats
        self.stats = owner.services.stats.shared(UdpClusterStats, f"cluster.{cluster.config.stat_name}.udp.")
        self.sessions: dict[tuple[Any, ...], UdpSession] = {}
        self._limit = cluster.breakers[0].connections

    def on_datagram(self, end: DatagramEnd, peer: Peer, data: bytes, now: float) -> None:
        """Send it to the host of the client's session; a client without one gets one."""
        key = (peer, end)
        session = self.sessions.get(key)
        if session is None:
            session = self._open(key, end, peer, None, now)
            if session is None:
                return
        elif session.host.unhealthy:
            session = self._healthier(session, now)
            if session is None:
                return
        session.send(data, now)

    def on_datagram_alone(self, end: DatagramEnd, peer: Peer, data: bytes, now: float) -> None:
        """Send it to a host that is chosen for it alone; a client has a session with each host."""
        host = self._choose(end, peer, now)
        if host is None:
            return
        key = (peer, end, host)
        session = self.sessions.get(key) or self._open(key, end, peer, host, now)
        if session is not None:
            session.send(data, now)

    def forget(self, session: UdpSession) -> None:
        """A session has ended."""
        del self.sessions[session.key]
        self.proxy_stats.downstream_sess_active -= 1
        self._limit.release()
        session.host.pools[FOR_DATAGRAMS].sessions.discard(session)

    def close(self, now: float) -> None:
        """End every session."""
        for session in list(self.sessions.values()):
            session.close(now)

    def _open(
        self, key: tuple[Any, ...], end: DatagramEnd, peer: Peer, host: Host | None, now: float
    ) -> UdpSession | None:
        if host is None:
            host = self._choose(end, peer, now)
            if host is None:
                return None
        if not self._limit.available:
            self.cluster.breakers[0].refused("connections")
            self._refuse(end, peer, now)
            return None
        try:
            session = UdpSession(self, key, end, peer, host, now)
        except OSError:
            # No descriptor is left, or the client's address cannot be taken.
            self.stats.sess_tx_errors += 1
            return None
        self.sessions[key] = session
        self._limit.acquire()
        self.proxy_stats.downstream_sess_total += 1
        self.proxy_stats.downstream_sess_active += 1
        pools = host.pools
        held = pools.get(FOR_DATAGRAMS)
        if held is None:
            held = pools[FOR_DATAGRAMS] = HostSessions()
        held.sessions.add(session)
        return session

    def _refuse(self, end: DatagramEnd, peer: Peer, now: float) -> None:
        """One more than the circuit breaker allows; Envoy counts and logs it as a session that ends at once."""
        self.cluster.stats.upstream_cx_overflow += 1
        self.proxy_stats.downstream_sess_total += 1
        shared = self.filter
        number = shared.next_session_id()
        if shared.logger is not None:
            shared.logger.log(refused_entry(self, number, end, peer, now), "UdpSessionEnd")

    def _healthier(self, session: UdpSession, now: float) -> UdpSession | None:
        """The session with another host, if there is a healthy one; else the same."""
        host = self._choose(session.end, session.peer, now)
        if host is None or host is session.host or host.unhealthy:
            return session
        session.close(now)
        return self._open(session.key, session.end, session.peer, host, now)

    def _choose(self, end: DatagramEnd, peer: Peer, now: float) -> Host | None:
        policy = self.filter.config.hash
        client_hash = policy(ip_of(peer)) if policy is not None else None
        cluster = self.cluster
        if cluster.choose_by_stream is None:
            return cluster.choose_host(client_hash)
        connection = ConnectionInfo(
            0, self.filter.address_of(peer), end.address, now, self.filter.services.drain
        )
        return cluster.choose_by_stream(StreamInfo(connection, now), client_hash)
