"""What one client says to one host and back, over a socket of its own to that host.

The socket is connected: the kernel lets answers of that host in only, and tells when nobody is there.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

from proxy.base.address import Address, from_socket_name
from proxy.connection.sockets import make_transparent
from proxy.filters.udp import DatagramEnd, Peer, ip_of
from proxy.udp_proxy.log_entry import session_entry

if TYPE_CHECKING:
    from proxy.udp_proxy.clusters import ClusterSessions
    from proxy.upstream.host import Host

_NEVER: Final = float("inf")


class UdpSession:
    """See module. Times are monotonic seconds; `rx` is what the client has sent, `tx` what it was sent.

    `key` is that of the session among those of its cluster. `connected` holds once the socket knows its host.
    """

    __slots__ = (
        "_log_at",
        "_timer",
        "closed",
        "connected",
        "end",
        "host",
        "id",
        "key",
        "last_active",
        "owner",
        "peer",
        "rx_bytes",
        "rx_datagrams",
        "socket",
        "start_time",
        "tx_bytes",
        "tx_datagrams",
        "tx_errors",
    )

    def __init__(
        self,
        owner: ClusterSessions,
        key: tuple[Any, ...],
        end: DatagramEnd,
        peer: Peer,
        host: Host,
        now: float,
    ) -> None:
        """Open the socket. Raises `OSError`."""
        self.owner = owner
        self.key = key
        self.end = end
        self.peer = peer
        self.host = host
        self.start_time = self.last_active = now
        self.rx_bytes = self.rx_datagrams = 0
        self.tx_bytes = self.tx_datagrams = self.tx_errors = 0
        self.connected = self.closed = False
        self._timer: Any = None
        self._log_at = _NEVER
        shared = owner.filter
        self.id = shared.next_session_id()
        self.socket = one = socket.socket(host.address.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            if shared.config.use_original_src_ip:
                make_transparent(one)
                one.bind((ip_of(peer), 0))
            shared.poll.add(one.fileno(), self)
        except OSError:
            one.close()
            raise
        config = shared.config
        if config.log_interval and shared.logger is not None:
            self._log_at = now + config.log_interval
        self._timer = shared.timers.wake(min(now + config.idle_timeout, self._log_at), self)

    def send(self, data: bytes, now: float) -> None:
        """Pass on what the client has sent."""
        owner = self.owner
        size = len(data)
        stats = owner.proxy_stats
        stats.downstream_sess_rx_bytes += size
        stats.downstream_sess_rx_datagrams += 1
        self.rx_bytes += size
        self.rx_datagrams += 1
        self.last_active = now
        try:
            if not self.connected:
                self.socket.connect(self.host.address.sockaddr)
                self.connected = True
            self.socket.send(data)
        except OSError:
            owner.stats.sess_tx_errors += 1
        else:
            owner.stats.sess_tx_datagrams += 1
            owner.cluster.stats.upstream_cx_tx_bytes_total += size

    def on_readable(self, now: float) -> None:
        """Pass on one answer of the host."""
        self.last_active = now
        owner = self.owner
        stats, limit = owner.stats, owner.filter.config.max_answer_size
        try:
            data = self.socket.recv(limit + 1)
        except BlockingIOError:
            return  # a datagram with a wrong checksum
        except OSError:
            stats.sess_rx_errors += 1
            return
        size = len(data)
        if size > limit:
            stats.sess_rx_datagrams_dropped += 1
            return
        stats.sess_rx_datagrams += 1
        owner.cluster.stats.upstream_cx_rx_bytes_total += size
        proxy_stats = owner.proxy_stats
        try:
            self.end.send(data, self.peer)
        except OSError:
            proxy_stats.downstream_sess_tx_errors += 1
            self.tx_errors += 1
        else:
            proxy_stats.downstream_sess_tx_bytes += size
            proxy_stats.downstream_sess_tx_datagrams += 1
            self.tx_bytes += size
            self.tx_datagrams += 1

    def on_wake(self, now: float) -> None:
        """See `Timers`."""
        self._timer = None
        shared = self.owner.filter
        idle_at = self.last_active + shared.config.idle_timeout
        if idle_at <= now:
            shared.stats.idle_timeout += 1
            self.close(now)
            return
        if self._log_at <= now:
            self._log_at = now + shared.config.log_interval
            shared.logger.log(session_entry(self, now), "UdpPeriodic")
        self._timer = shared.timers.wake(min(idle_at, self._log_at), self)

    def close(self, now: float) -> None:
        """End the session."""
        if self.closed:
            return
        self.closed = True
        shared = self.owner.filter
        if self._timer is not None:
            shared.timers.cancel(self._timer)
            self._timer = None
        if shared.logger is not None:
            shared.logger.log(session_entry(self, now), "UdpSessionEnd")
        shared.poll.remove(self.socket.fileno())
        self.socket.close()
        self.owner.forget(self)

    def upstream_local_address(self) -> Address | None:
        """Where the host sees the client; None as long as nothing was sent."""
        return from_socket_name(self.socket.getsockname()) if self.connected else None

    def __repr__(self) -> str:
        return f"<UdpSession {self.id} {self.peer[0]}:{self.peer[1]} -> {self.host.address} {self.rx_datagrams} rx>"
