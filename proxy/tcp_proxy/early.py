"""A connection to a host that is made before there is a session; see `proxy.downstream.server_first`.

It stands where the session would, listens and sends nothing. The session of the client that it was made for takes
it over, be it connected or not; if none does, it is closed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from proxy.base.stream_info import ConnectionInfo, StreamInfo
from proxy.tcp_proxy.client_hash import client_hash
from proxy.tcp_proxy.upstream import DialFailure, Upstream

if TYPE_CHECKING:
    from proxy.tcp_proxy.filter import TcpProxyFilter
    from proxy.tcp_proxy.session import TcpSession
    from proxy.upstream.host import Host


class EarlyUpstream:
    """See module. `spoken` is what the host has said; `dial_until` is when the attempt to connect is over."""

    __slots__ = (
        "_on_spoke",
        "_timer",
        "bytes_sent",
        "cluster",
        "connection",
        "dial_until",
        "last_active",
        "now",
        "owner",
        "relay",
        "spoken",
        "stats",
        "transport",
        "upstream",
    )

    def __init__(
        self,
        owner: TcpProxyFilter,
        connection: ConnectionInfo,
        cluster: Any,
        on_spoke: Callable[[], None],
    ) -> None:
        self.owner = owner
        self.connection = connection
        self.now = owner.now
        self.stats = owner.stats
        self.cluster = cluster
        self.upstream: Upstream | None = None
        self.spoken = b""
        self.bytes_sent = 0
        self.last_active = 0.0
        self.dial_until = 0.0
        self.transport = None
        self.relay = None
        self._on_spoke = on_spoke
        self._timer: Any = None

    # -- what `Upstream` asks of its session

    def wait_until(self, moment: float, now: float) -> None:
        """See `TcpSession`."""
        del now
        self.dial_until = moment
        self._timer = self.owner.timers.wake(moment, self)

    def on_wake(self, now: float) -> None:
        """The time to connect is over."""
        del now
        self._timer = None
        if self.upstream is not None:
            self.upstream.time_out()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self.owner.timers.cancel(self._timer)
            self._timer = None

    def on_connected(self, upstream: Upstream) -> None:
        """See `TcpSession`."""
        self._stop_waiting()
        upstream.write_down = self._hear

    def _hear(self, data: bytes) -> None:
        first = not self.spoken
        self.spoken += data
        if first:
            self._on_spoke()
        if self.upstream is not None:
            self.upstream.pause_reading()  # until somebody wants it

    def on_dial_failed(self, host: Host | None, failure: DialFailure, reason: str) -> None:
        """The session that comes tries on its own."""
        del host, failure, reason
        self._stop_waiting()
        self.upstream = None

    def on_upstream_finished(self) -> None:
        """It had nothing to say."""
        self.close()

    def on_upstream_lost(self, was_reset: bool) -> None:
        """See `on_upstream_finished`."""
        del was_reset
        self.upstream = None

    def pause_reading(self) -> None:
        """Nothing is written."""

    def resume_reading(self) -> None:
        """Nothing is written."""

    # -- the end

    def hand_over(self, session: TcpSession) -> Upstream | None:
        """The connection, which `session` owns from now on; None if it is gone."""
        self._stop_waiting()
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.session = session
            upstream.resume_reading()
        return upstream

    def close(self) -> None:
        """Nobody wants it."""
        self._stop_waiting()
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.leave()


def dial_early(
    owner: TcpProxyFilter, connection: ConnectionInfo, on_spoke: Callable[[], None]
) -> EarlyUpstream | None:
    """Begin to connect to the host that a session of `connection` would go to; None if there is none to listen to.

    With TLS, a PROXY header or a tunnel to the host it is the session that sends first. `on_spoke` is called when
    the first bytes of the host have come.
    """
    config = owner.config
    if getattr(config, "tunnel", None) is not None:
        return None
    cluster = owner.clusters.get(config.cluster_for(connection, owner.draw))
    if cluster is None or not cluster.breakers[0].connections.available:
        return None
    hashed = client_hash(config, connection, cluster)
    if cluster.choose_by_stream is None:
        host = cluster.choose_host(hashed)
    else:
        info = StreamInfo(connection, connection.start_time)
        info.metadata_match = getattr(config, "metadata_match", {}).get(cluster.name)
        host = cluster.choose_by_stream(info, hashed)
    if host is None or host.cluster.config.transport_of(host.metadata) is not None:
        return None
    if host.cluster.config.proxy_header_of(host.metadata) is not None:
        return None
    early = EarlyUpstream(owner, connection, cluster, on_spoke)
    session = cast("TcpSession", early)
    kind = Upstream
    if host.cluster.config.preconnect is not None:
        from proxy.tcp_proxy.spares import PreconnectedUpstream, may_have_spares  # few clusters have a policy

        kind = PreconnectedUpstream if may_have_spares(session, host) else kind
    early.upstream = upstream = kind(session, host.cluster, host)
    upstream.dial()
    return early if early.upstream is not None else None
