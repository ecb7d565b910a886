"""One client's connection, from its acceptance to the entry in the access log.

Bytes go straight from one transport to the other: a read is one call here (or in `upstream`) and one of the
other's `write`. What the client says before there is a host is held; Envoy leaves it in the socket.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from proxy.base.response_flags import ResponseFlag
from proxy.base.stream_info import ConnectionInfo, StreamInfo
from proxy.codec.proxy_protocol import FILTER_STATE, ProxyData
from proxy.connection.half_close import can_finish, finish
from proxy.connection.reset import reset
from proxy.tcp_proxy.client_hash import client_hash
from proxy.tcp_proxy.log_entry import log_entry
from proxy.tcp_proxy.on_demand import ClusterWait
from proxy.tcp_proxy.splice import LARGE, LARGE_READS, Relay, begin
from proxy.tcp_proxy.upstream import DialFailure, Upstream
from proxy.tcp_proxy.young_sessions import SWEEP

if TYPE_CHECKING:
    from proxy.tcp_proxy.filter import TcpProxyFilter
    from proxy.upstream.cluster import Cluster
    from proxy.upstream.host import Host

_NEVER: Final = float("inf")
#: Bytes that are held for a host that is not connected yet, where the listener sets no limit.
_MOST_HELD: Final = 1 << 20


class TcpSession(asyncio.Protocol):
    """See module. Times are monotonic seconds.

    `upstream` is the connection to the host, or the attempt to make one; None before, between and after. It is of
    `upstream_class`, and has the methods of `Upstream`. `last_upstream` is the one that was connected.
    `bytes_received` is what the client has said, `bytes_sent` what it was told.
    """

    __slots__ = (
        "_buffered",
        "_cluster_wait",
        "_deadline",
        "_dial_until",
        "_early",
        "_ended",
        "_idle_timeout",
        "_large_reads",
        "_log_at",
        "_paused",
        "_retry_at",
        "_settled",
        "_timer",
        "_waits",
        "_wakes_at",
        "_write",
        "attempts",
        "bytes_received",
        "bytes_sent",
        "cluster",
        "connection",
        "failure_reason",
        "finished",
        "flags",
        "host",
        "last_active",
        "last_upstream",
        "now",
        "owner",
        "relay",
        "stats",
        "transport",
        "upstream",
    )

    upstream_class: ClassVar[type] = Upstream

    def __init__(self, owner: TcpProxyFilter, connection: ConnectionInfo) -> None:
        self.owner = owner
        self.connection = connection
        self.stats = owner.stats
        self.now = owner.now
        self.transport: asyncio.Transport | None = None
        self.upstream: Any = None
        self.last_upstream: Any = None
        self.cluster: Cluster | None = None
        self.host: Host | None = None
        self.attempts = 0
        self.flags = 0
        self.failure_reason = ""
        self.bytes_received = 0
        self.bytes_sent = 0
        self.last_active = 0.0
        self.finished = False  # whether the client has said all that it will say
        self._write: Any = None  # of the host's transport, once that is connected
        self._early = b""
        self._paused = False
        self._ended = False
        self._timer: Any = None
        self._idle_timeout = 0.0
        self._deadline = _NEVER
        self._dial_until = _NEVER
        self._wakes_at = _NEVER
        self._log_at = _NEVER
        self._retry_at = _NEVER
        self._waits = False  # for the first bytes, before there is anything else to do
        self._buffered = 0
        self._cluster_wait: ClusterWait | None = None
        self._settled = False
        self._large_reads = 0
        self.relay: Relay | None = None  # moves what the client says, in place of `data_received`

    # -- asyncio.Protocol: the client's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Look for a host."""
        self.transport = cast("asyncio.Transport", transport)
        self.stats.downstream_cx_total += 1
        config = self.owner.config
        self.last_active = now = self.now()
        self._idle_timeout = config.idle_timeout_for(self.connection)
        if config.max_duration:
            jitter = config.max_duration_jitter * (self.owner.draw() / 2**64)
            self._deadline = now + config.max_duration * (1 + jitter)
        if config.log_interval and self.owner.logger is not None:
            self._log_at = now + config.log_interval
        self._arm(now)
        self._waits = config.waits_for_data
        if not self._waits:
            self.find_host()

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        write = self._write
        if write is None:
            self._hold(data)
            return
        size = len(data)
        self.last_active = self.now()
        self.bytes_received += size
        self.stats.downstream_cx_rx_bytes_total += size
        self.upstream.stats.upstream_cx_tx_bytes_total += size
        write(data)
        if size >= LARGE:
            self._large_reads += 1
            if self._large_reads >= LARGE_READS:
                self._begin_relay()

    def _begin_relay(self) -> None:
        self._large_reads = 0
        upstream = self.upstream
        if isinstance(upstream, Upstream) and not self._paused and self.relay is None:
            owner = self.owner
            self.relay = begin(owner.loop, owner.pipes, self, self.transport, upstream.transport)

    def moved(self, size: int) -> None:
        """See `proxy.tcp_proxy.splice.Reader`."""
        self.last_active = self.now()
        self.bytes_received += size
        self.stats.downstream_cx_rx_bytes_total += size
        self.upstream.stats.upstream_cx_tx_bytes_total += size

    def stalled(self) -> None:
        """See `proxy.tcp_proxy.splice.Reader`."""
        self.stats.downstream_flow_control_paused_reading_total += 1
        self.upstream.stats.upstream_flow_control_backed_up_total += 1

    def resumed(self) -> None:
        """See `proxy.tcp_proxy.splice.Reader`."""
        self.stats.downstream_flow_control_resumed_reading_total += 1
        self.upstream.stats.upstream_flow_control_drained_total += 1

    def eof_received(self) -> bool:
        """The client will say no more, but may still listen."""
        self.finished = True
        transport, upstream = self.transport, self.upstream
        if self._write is None and self.owner.config.early_limit is not None:
            self.stats.early_data_received_count_total += 1
        if upstream is not None and upstream.connected:
            upstream.finish()
            if upstream.finished:
                self._close_both()
        return transport is not None and can_finish(transport)

    def pause_writing(self) -> None:
        """The client does not read."""
        if self.upstream is not None:
            self.upstream.pause_reading()

    def resume_writing(self) -> None:
        """The client reads again."""
        if self.upstream is not None:
            self.upstream.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or was sent away."""
        upstream = self.upstream
        if upstream is not None:
            upstream.stop_relays()
        self.transport = self.upstream = None
        self._write = None
        self._early = b""
        if upstream is not None:
            if isinstance(exc, ConnectionResetError):
                self.connection.close_type = "RemoteReset"
            upstream.leave(reset=exc is not None)
        self._end()

    # -- finding a host

    def find_host(self, name: str = "") -> None:
        """Look for a host, of the cluster `name` if it was chosen before."""
        owner = self.owner
        connection = self.connection
        early = connection.early_upstream
        if early is not None:
            connection.early_upstream = None
            if self._take_over(early):
                return
        name = name or owner.config.cluster_for(connection, owner.draw)
        cluster = owner.clusters.get(name)
        if cluster is None:
            if owner.config.on_demand is None:
                self.lack_cluster()
            else:
                self._cluster_wait = ClusterWait(self, name, owner.config.on_demand)
            return
        self.cluster = cluster
        if not cluster.breakers[0].connections.available:
            cluster.stats.upstream_cx_overflow += 1
            cluster.breakers[0].refused("connections")
            self._refuse(ResponseFlag.UPSTREAM_OVERFLOW, 2)
            return
        if self.attempts >= owner.config.max_attempts:
            cluster.stats.upstream_cx_connect_attempts_exceeded += 1
            self._refuse(ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED, 0)
            return
        hashed = client_hash(owner.config, connection, cluster)
        if cluster.choose_by_stream is None:
            host = cluster.choose_host(hashed)
        else:
            info = StreamInfo(connection, connection.start_time)
            info.metadata_match = owner.config.metadata_match.get(cluster.name)
            host = cluster.choose_by_stream(info, hashed)
        if host is None:
            self._refuse(ResponseFlag.NO_HEALTHY_UPSTREAM, 1)
            return
        self.attempts += 1
        kind = self.upstream_class
        if host.cluster.config.preconnect is not None and kind is Upstream:
            # Few clusters have a policy.
            from proxy.tcp_proxy.spares import PreconnectedUpstream, may_have_spares

            kind = PreconnectedUpstream if may_have_spares(self, host) else kind
        self.upstream = upstream = kind(self, host.cluster, host)
        upstream.dial()

    @property
    def proxied(self) -> ProxyData:
        """What a header of the PROXY protocol tells the host of the client."""
        connection = self.connection
        known: ProxyData | None = connection.filter_state.get(FILTER_STATE)
        if known is None:
            info = StreamInfo(connection, connection.start_time)
            tlvs = tuple((kind, render(info)) for kind, render in self.owner.config.tlvs)
            known = ProxyData(connection.remote_address, connection.local_address, tlvs)
            connection.filter_state = {**connection.filter_state, FILTER_STATE: known}
        return known

    def _take_over(self, early: Any) -> bool:
        """Go on with a connection that was made before the chain was chosen (`EarlyUpstream`), if it is there."""
        upstream = early.hand_over(self) if early.owner is self.owner else None
        if upstream is None:
            early.close()
            return False
        self.attempts += 1
        self.cluster = early.cluster
        self.upstream = upstream
        if not upstream.connected:
            self.wait_until(early.dial_until, self.now())
            return True
        self.on_connected(upstream)
        if early.spoken and self.transport is not None:
            self.bytes_sent += early.bytes_sent
            self.transport.write(early.spoken)
        return True

    def lack_cluster(self) -> None:
        """There is no such cluster."""
        self.stats.downstream_cx_no_route += 1
        self._refuse(ResponseFlag.NO_CLUSTER_FOUND, 3)

    def _refuse(self, flag: int, number: int) -> None:
        """No host; `number` is Envoy's for the reason."""
        self.flags |= flag
        if self.transport is not None:
            self._cut(f"tcp_initializion_failure:{number}")  # spelled as Envoy does

    def _cut(self, reason: str) -> None:
        """Close without sending what waits; bytes of the client's that nobody has read make that a reset."""
        self.connection.local_close_reason = reason
        transport = self.transport
        assert transport is not None
        upstream, self.upstream = self.upstream, None
        self._write = None
        if upstream is not None:
            upstream.leave()
        if self._early:
            reset(transport)
        else:
            transport.abort()

    def on_dial_failed(self, host: Host | None, failure: DialFailure, reason: str) -> None:
        """No connection to `host` (None: not even tried); `reason` is the transport's, "" if there is none."""
        self.upstream = None
        self.host = host
        self.failure_reason = reason
        if failure is not DialFailure.LOCAL:
            self.flags |= ResponseFlag.UPSTREAM_CONNECTION_FAILURE
            if host is not None and host.outcomes is not None:
                if failure is DialFailure.TIMEOUT:
                    host.outcomes.timed_out()
                else:
                    host.outcomes.broke()
        if self.transport is None:
            return
        # What has failed is not done yet with its connection, so the next attempt waits for the next turn.
        self.last_active = _NEVER
        self._dial_until = _NEVER
        owner = self.owner
        if owner.config.backoff is None or self.attempts >= owner.config.max_attempts:
            owner.loop.call_soon(self._retry)
            return
        base, most = owner.config.backoff
        now = self.now()
        self._retry_at = now + min(base * 2 ** (self.attempts - 1), most) * (owner.draw() / 2**64)
        self._arm(now)

    def _retry(self) -> None:
        if self.transport is not None and self.upstream is None:
            self.find_host()

    def on_connected(self, upstream: Any) -> None:
        """The host is there: what was held goes to it, and from now on bytes pass."""
        transport = self.transport
        assert transport is not None
        self.host = upstream.host
        if self.host.outcomes is not None:
            self.host.outcomes.served()
        self.last_upstream = upstream
        self._write = upstream.write
        upstream.write_down = transport.write
        self.last_active = self.now()
        self._dial_until = _NEVER
        owner = self.owner
        if owner.config.logs_connected and owner.logger is not None:
            self._log("TcpUpstreamConnected")
        if self._early:
            early, self._early = self._early, b""
            self.data_received(early)
            if self._paused:
                self._paused = False
                transport.resume_reading()
        if self.finished:
            upstream.finish()
        if self._idle_timeout:
            self._arm(self.last_active)

    def _hold(self, data: bytes) -> None:
        self._early += data
        limit = self.owner.config.early_limit
        if limit is None:
            limit = self.connection.buffer_limit or _MOST_HELD
        else:
            self.stats.early_data_received_count_total += 1
        if self._waits:
            self._waits = False
            self.find_host()
            if self._write is not None:
                return
        if self.transport is not None and len(self._early) >= limit and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    # -- the host's side

    def on_upstream_finished(self) -> None:
        """The host will say no more."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        if self.finished:
            self._close_both()
        elif can_finish(transport):
            finish(transport)
        else:
            transport.close()

    def on_upstream_lost(self, was_reset: bool) -> None:
        """The connection to the host is gone, not by our doing."""
        self.upstream = None
        self._write = None
        transport = self.transport
        if transport is None:
            return
        if was_reset:
            self.flags |= ResponseFlag.UPSTREAM_REMOTE_RESET
            self.connection.close_type = "LocalReset"
            reset(transport)
        else:
            transport.close()

    def pause_reading(self) -> None:
        """The host does not read as fast as the client writes."""
        if self.transport is not None and not self._paused and not self.transport.is_closing():
            self._paused = True
            self.stats.downstream_flow_control_paused_reading_total += 1
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """The host reads again."""
        if self.transport is not None and self._paused and not self.transport.is_closing():
            self._paused = False
            self.stats.downstream_flow_control_resumed_reading_total += 1
            self.transport.resume_reading()

    # -- time

    def wait_until(self, moment: float, now: float) -> None:
        """Have `upstream.time_out` called at `moment` unless it is connected by then."""
        self._dial_until = moment
        self._arm(now)

    def _arm(self, now: float) -> None:
        """See to it that `on_wake` is called in time; earlier does no harm."""
        when = min(self._dial_until, self._deadline, self._log_at, self._retry_at)
        if self._idle_timeout:
            when = min(when, self.last_active + self._idle_timeout)
        if when == _NEVER or when >= self._wakes_at:
            return
        if not self._settled and when - now > SWEEP:
            self.owner.young.add(self, now)
            return
        if self._timer is not None:
            self.owner.timers.cancel(self._timer)
        self._wakes_at = when = max(when, now)
        self._timer = self.owner.timers.wake(when, self)

    def settle(self, now: float) -> None:
        """See `YoungSession`."""
        self._settled = True
        self._arm(now)

    def on_wake(self, now: float) -> None:
        """A deadline may have come; see `Timers`."""
        self._timer = None
        self._wakes_at = _NEVER
        transport = self.transport
        if transport is None:
            return
        if now >= self._dial_until:
            self._dial_until = _NEVER
            if self.upstream is not None:
                self.upstream.time_out()
            if self.transport is None or transport.is_closing():
                return
        if now >= self._retry_at:
            self._retry_at = _NEVER
            self._retry()
            if self.transport is None or transport.is_closing():
                return
        if now >= self._deadline:
            self.stats.max_downstream_connection_duration += 1
            self.flags |= ResponseFlag.DURATION_TIMEOUT
            self._cut("max_connection_duration_reached")
            return
        if self._idle_timeout and now >= self.last_active + self._idle_timeout:
            # Bytes that leave count as those that come: only what does not move at all is idle.
            buffered = transport.get_write_buffer_size()
            if self.upstream is not None and self.upstream.connected:
                buffered += self.upstream.unsent
            if buffered == self._buffered:
                self.stats.idle_timeout += 1
                self._cut("tcp_session_idle_timeout")
                return
            self.last_active = now
            self._buffered = buffered
        if now >= self._log_at:
            self._log_at = now + self.owner.config.log_interval
            self._log("TcpPeriodic")
        self._arm(now)

    # -- the end

    def _close_both(self) -> None:
        """Both have said all; what waits still goes out."""
        transport, upstream = self.transport, self.upstream
        if upstream is not None:
            self.upstream = None
            self._write = None
            upstream.leave(both_finished=True)
        if transport is not None:
            transport.close()

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._cluster_wait is not None:
            self._cluster_wait.cancel()
            self._cluster_wait = None
        self.owner.young.discard(self)
        if self._timer is not None:
            self.owner.timers.cancel(self._timer)
            self._timer = None
        connection: Any = self.connection
        connection.response_flags |= self.flags
        if self.owner.logger is not None:
            self._log("TcpConnectionEnd")
        connection.on_closed()

    def _log(self, log_type: str) -> None:
        self.owner.logger.log(log_entry(self, self.now()), log_type)
