"""What the access logs tell of a session, and of a filter as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.base.address import Address
from proxy.base.response_flags import ResponseFlag
from proxy.base.stream_info import ConnectionInfo, DrainState, StreamInfo

if TYPE_CHECKING:
    from proxy.filters.udp import DatagramEnd, Peer
    from proxy.udp_proxy.clusters import ClusterSessions
    from proxy.udp_proxy.session import UdpSession
    from proxy.udp_proxy.stats import UdpProxyStats

#: Where metadata of a session are, and those of a filter; formats name them.
SESSION_METADATA: Final = "udp.proxy.session"
PROXY_METADATA: Final = "udp.proxy.proxy"

#: What a log prints where there is no address.
_NO_ADDRESS: Final = Address(path="-")
_NO_DRAIN: Final = DrainState()


def session_entry(session: UdpSession, now: float) -> StreamInfo:
    """The facts of `session` as they are at monotonic second `now`."""
    info = _entry(session.owner, session.id, session.end, session.peer, session.start_time)
    info.response_complete = now
    info.bytes_received = session.rx_bytes
    info.bytes_sent = session.tx_bytes
    info.upstream_host = session.host
    info.upstream_remote_address = session.host.address
    info.upstream_local_address = session.upstream_local_address()
    assert info.dynamic_metadata is not None
    info.dynamic_metadata[SESSION_METADATA] |= {
        "bytes_sent": session.tx_bytes,
        "bytes_received": session.rx_bytes,
        "errors_sent": session.tx_errors,
        "datagrams_sent": session.tx_datagrams,
        "datagrams_received": session.rx_datagrams,
    }
    return info


def refused_entry(
    owner: ClusterSessions, number: int, end: DatagramEnd, peer: Peer, now: float
) -> StreamInfo:
    """The facts of a session that the circuit breaker of the cluster did not allow."""
    info = _entry(owner, number, end, peer, now)
    info.response_complete = now
    info.flags = ResponseFlag.UPSTREAM_OVERFLOW
    return info


def _entry(
    owner: ClusterSessions, number: int, end: DatagramEnd, peer: Peer, start_time: float
) -> StreamInfo:
    shared = owner.filter
    client = shared.address_of(peer)
    info = StreamInfo(
        ConnectionInfo(number, client, end.address, start_time, shared.services.drain), start_time
    )
    info.dynamic_metadata = {
        SESSION_METADATA: {
            "cluster_name": owner.cluster.name,
            "bytes_sent": 0,
            "bytes_received": 0,
            "errors_sent": 0,
            "datagrams_sent": 0,
            "datagrams_received": 0,
        }
    }
    return info


def proxy_entry(stats: UdpProxyStats, received: int, start_time: float, now: float) -> StreamInfo:
    """The facts of a filter in this worker from monotonic second `start_time` to its end at `now`.

    `received` are the bytes of all datagrams, those without a route or a session included.
    """
    info = StreamInfo(ConnectionInfo(0, _NO_ADDRESS, _NO_ADDRESS, start_time, _NO_DRAIN), start_time)
    info.response_complete = now
    info.bytes_received = received
    info.bytes_sent = stats.downstream_sess_tx_bytes
    info.dynamic_metadata = {
        PROXY_METADATA: {
            "bytes_sent": stats.downstream_sess_tx_bytes,
            "bytes_received": stats.downstream_sess_rx_bytes,
            "errors_sent": stats.downstream_sess_tx_errors,
            "errors_received": stats.downstream_sess_rx_errors,
            "datagrams_sent": stats.downstream_sess_tx_datagrams,
            "datagrams_received": stats.downstream_sess_rx_datagrams,
            "no_route": stats.downstream_sess_no_route,
            "session_total": stats.downstream_sess_total,
            "idle_timeout": stats.idle_timeout,
        }
    }
    return info
