"""The connection to a host that carries one session, from the attempt to make it to its end.

It keeps the books of the cluster and the host as Envoy's pool of TCP connections does, but there is no pool: such a
connection serves one client and is never used again. Envoy's pool, too, opens one for each client and closes those
whose client has gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

from proxy.base.address import from_socket_name
from proxy.base.stream_info import StreamInfo
from proxy.connection.half_close import can_finish, finish
from proxy.connection.reset import reset as cut
from proxy.connection.stepping import Steps
from proxy.tcp_proxy.splice import LARGE, LARGE_READS, Relay, begin
from proxy.upstream.circuit_breaker import PER_HOST
from proxy.upstream.pool.connect import ConnectError, open_connection, reason_of

if TYPE_CHECKING:
    from proxy.tcp_proxy.session import TcpSession
    from proxy.upstream.cluster import Cluster
    from proxy.upstream.host import Host


class DialFailure(Enum):
    """Why there is no connection; REMOTE is a refusal, LOCAL a limit or an error of this machine."""

    LOCAL = 0
    REMOTE = 1
    TIMEOUT = 2


class Upstream(asyncio.Protocol):
    """See module. Times are monotonic seconds.

    `connected` holds from then on; `finished` says that the host will say no more. `write_down` is the `write` of
    the client's transport, set by the session when it is connected.
    """

    __slots__ = (
        "_addresses",
        "_large_reads",
        "_limits",
        "_local",
        "_now",
        "_paused",
        "_task",
        "_tls",
        "cluster",
        "connect_started_at",
        "connected",
        "connected_at",
        "connection_id",
        "draining",
        "finished",
        "host",
        "relay",
        "session",
        "stats",
        "transport",
        "write_down",
    )

    transport: asyncio.Transport

    def __init__(self, session: TcpSession, cluster: Cluster, host: Host) -> None:
        self.session: TcpSession | None = session
        self.cluster = cluster
        self.stats = cluster.stats
        self.host = host
        self.connection_id = session.owner.ids.next()
        self._now = session.now
        self.connected = False
        self.finished = False
        self.draining: Any = None  # the `TcpProxyStats` to tell when what waits has gone out
        self.write_down: Any = None
        self.connected_at = 0.0
        self._limits = cluster.breakers[0]
        self._local = False
        self._paused = False
        self._task: asyncio.Task[Any] | Steps | None = None
        self._addresses: Any = None
        self._tls: Any = None
        self._large_reads = 0
        self.relay: Relay | None = None  # moves what the host says, in place of `data_received`

    # -- the attempt

    def dial(self) -> None:
        """Begin to connect; the session hears of the outcome, perhaps before this returns."""
        session = self.session
        assert session is not None
        limits, stats, host_stats = self._limits, self.stats, self.host.stats
        if not limits.pending_requests.try_acquire():
            stats.upstream_rq_pending_overflow += 1
            limits.refused("pending_requests")
            self._report(None, DialFailure.LOCAL, "")
            return
        if host_stats.cx_active >= limits.max_connections_per_host:
            limits.pending_requests.release()
            stats.upstream_cx_overflow += 1
            limits.refused(PER_HOST)
            self._report(None, DialFailure.LOCAL, "")
            return
        stats.upstream_rq_pending_total += 1
        stats.upstream_rq_pending_active += 1
        host_stats.rq_pending_active += 1
        limits.connections.acquire()
        stats.upstream_cx_total += 1
        stats.upstream_cx_active += 1
        host_stats.cx_total += 1
        host_stats.cx_active += 1
        owner = session.owner
        config = self.cluster.config
        address = self.host.address
        self.connect_started_at = now = owner.now()
        loop = owner.loop
        transport = config.transport_of(self.host.metadata)
        proxied = None if config.proxy_header_of(self.host.metadata) is None else session.proxied
        client = session.connection
        source = client.upstream_source
        plain = transport is None and config.bind is None and config.keepalive is None
        plain = plain and not self.host.more_addresses
        if plain and proxied is None and source is None and not (address.path or address.listener_name):
            session.wait_until(now + config.connect_timeout, now)
            connecting = loop.create_connection(lambda: self, address.ip, address.port)
            self._task = steps = Steps(connecting, self._on_dialled)
            steps.begin()
            return
        opening = open_connection(
            loop, self.host, config, self, transport, client, proxied=proxied, source=source, half_closes=True
        )
        self._task = task = loop.create_task(opening, name="tcp_proxy connect")
        task.add_done_callback(self._on_opened)

    def time_out(self) -> None:
        """The time to connect is over."""
        if self._task is not None and not self.connected:
            task, self._task = self._task, None
            task.cancel()
            self._failed(DialFailure.TIMEOUT, "")

    def _on_opened(self, task: asyncio.Task[Any]) -> None:
        self._on_dialled(asyncio.CancelledError() if task.cancelled() else task.exception())

    def _on_dialled(self, error: BaseException | None) -> None:
        if self._task is None:
            return  # given up before
        self._task = None
        if self.connected:
            return
        if isinstance(error, ConnectError):
            if error.timeout:
                self._failed(DialFailure.TIMEOUT, "")
            else:
                self._failed(DialFailure.LOCAL if error.local else DialFailure.REMOTE, error.reason)
        elif isinstance(error, OSError):
            self._failed(DialFailure.REMOTE, reason_of(error))
        elif not isinstance(error, asyncio.CancelledError):
            self._failed(DialFailure.LOCAL, str(error or ""))

    def _failed(self, failure: DialFailure, reason: str) -> None:
        stats = self.stats
        self._leave_queue()
        self._forget()
        stats.upstream_rq_pending_failure_eject += 1
        stats.upstream_cx_connect_fail += 1
        self.host.stats.cx_connect_fail += 1
        stats.upstream_cx_destroy += 1
        if failure is DialFailure.TIMEOUT:
            stats.upstream_cx_connect_timeout += 1
            stats.upstream_cx_destroy_local += 1
        else:
            stats.upstream_cx_destroy_remote += 1
        self._report(self.host, failure, reason)

    def _report(self, host: Host | None, failure: DialFailure, reason: str) -> None:
        session, self.session = self.session, None
        if session is not None:
            session.on_dial_failed(host, failure, reason)

    def _leave_queue(self) -> None:
        self._limits.pending_requests.release()
        self.stats.upstream_rq_pending_active -= 1
        self.host.stats.rq_pending_active -= 1

    def _forget(self) -> None:
        self.stats.upstream_cx_active -= 1
        self.host.stats.cx_active -= 1
        self._limits.connections.release()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        made = cast("asyncio.Transport", transport)
        session = self.session
        if session is None:  # given up in the same turn of the loop
            made.abort()
            return
        self._leave_queue()
        connect_time = session.now() - self.connect_started_at
        self.stats.upstream_cx_connect_ms.record(int(connect_time * 1000))
        self.begin(made)

    def begin(self, made: asyncio.Transport) -> None:
        """Carry the session from now on."""
        self.transport = made
        session = self.session
        assert session is not None
        limit = self.cluster.config.buffer_limit
        made.set_write_buffer_limits(high=limit, low=limit // 2)
        self.connected = True
        self.connected_at = session.now()
        stats, host_stats = self.stats, self.host.stats
        stats.upstream_rq_total += 1
        stats.upstream_rq_active += 1
        host_stats.rq_total += 1
        host_stats.rq_active += 1
        self._limits.requests.acquire()
        if session.owner.logger is not None:
            self._addresses = (
                from_socket_name(made.get_extra_info("sockname")),
                from_socket_name(made.get_extra_info("peername")),
            )
            if self.cluster.config.encrypts:
                from proxy.connection.tls import tls_info  # few clusters of bytes are encrypted here

                self._tls = tls_info(made)
        by_host = self.cluster.tcp_connections
        if by_host is not None:
            by_host.setdefault(self.host, set()).add(self)
        session.on_connected(self)

    def close(self) -> None:
        """End it here, because the host has failed its checks; what waits for the host is given up, as in Envoy."""
        self._local = True
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Pass it on to the client."""
        size = len(data)
        self.stats.upstream_cx_rx_bytes_total += size
        session = self.session
        if session is None:
            # Nobody to hear of it: what is left to send is given up, as in Envoy.
            self.transport.abort()
            return
        session.last_active = session.now()
        session.bytes_sent += size
        session.stats.downstream_cx_tx_bytes_total += size
        self.write_down(data)
        if size >= LARGE:
            self._large_reads += 1
            if self._large_reads >= LARGE_READS:
                self._begin_relay()

    def _begin_relay(self) -> None:
        self._large_reads = 0
        session = self.session
        if session is not None and session.transport is not None and not self._paused and self.relay is None:
            owner = session.owner
            self.relay = begin(owner.loop, owner.pipes, self, self.transport, session.transport)

    def moved(self, size: int) -> None:
        """See `proxy.tcp_proxy.splice.Reader`."""
        self.stats.upstream_cx_rx_bytes_total += size
        session = self.session
        assert session is not None
        session.last_active = session.now()
        session.bytes_sent += size
        session.stats.downstream_cx_tx_bytes_total += size

    def stalled(self) -> None:
        """See `proxy.tcp_proxy.splice.Reader`."""
        self.stats.upstream_flow_control_paused_reading_total += 1

    def resumed(self) -> None:
        """See `proxy.tcp_proxy.splice.Reader`."""
        self.stats.upstream_flow_control_resumed_reading_total += 1

    @property
    def write(self) -> Callable[[bytes], None]:
        """What sends bytes to the host."""
        return self.transport.write

    @property
    def unsent(self) -> int:
        """How many bytes wait to be sent to the host, those of both directions that are in pipes included."""
        session, pending = self.session, self.transport.get_write_buffer_size()
        if self.relay is not None:
            pending += self.relay.pending
        if session is not None and session.relay is not None:
            pending += session.relay.pending
        return pending

    def stop_relays(self) -> None:
        """Read and write from now on; what is in pipes goes before what is written next."""
        session = self.session
        if session is not None and session.relay is not None:
            session.relay.stop()
        if self.relay is not None:
            self.relay.stop()

    def eof_received(self) -> bool:
        """The host will say no more, but may still listen."""
        self.finished = True
        session = self.session
        if session is not None:
            session.on_upstream_finished()
        return can_finish(self.transport)

    def pause_writing(self) -> None:
        """The host does not read."""
        self.stats.upstream_flow_control_backed_up_total += 1
        if self.session is not None:
            self.session.pause_reading()

    def resume_writing(self) -> None:
        """The host reads again."""
        self.stats.upstream_flow_control_drained_total += 1
        if self.session is not None:
            self.session.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if not self.connected:
            return
        self.stop_relays()
        by_host = self.cluster.tcp_connections
        if by_host is not None and (others := by_host.get(self.host)) is not None:
            others.discard(self)
            if not others:
                del by_host[self.host]
        session, self.session = self.session, None
        self._count_end(active=session is not None or self.draining is not None)
        if self.draining is not None:
            self.draining.upstream_flush_active -= 1
            self.draining = None
        if session is not None:
            session.on_upstream_lost(isinstance(exc, ConnectionResetError))

    def _count_end(self, *, active: bool) -> None:
        self._forget()
        stats, host_stats = self.stats, self.host.stats
        stats.upstream_rq_active -= 1
        host_stats.rq_active -= 1
        self._limits.requests.release()
        stats.upstream_cx_destroy += 1
        if self._local:
            stats.upstream_cx_destroy_local += 1
        else:
            stats.upstream_cx_destroy_remote += 1
        if active:
            stats.upstream_cx_destroy_with_active_rq += 1
            if self._local:
                stats.upstream_cx_destroy_local_with_active_rq += 1
            else:
                stats.upstream_cx_destroy_remote_with_active_rq += 1
        length = self._now() - self.connected_at
        stats.upstream_cx_length_ms.record(int(length * 1000))
        stats.upstream_rq_per_cx.record(1)

    # -- the session's side

    def finish(self) -> None:
        """The client will say no more."""
        if not self.transport.is_closing() and can_finish(self.transport):
            finish(self.transport)

    def leave(self, *, reset: bool = False, both_finished: bool = False) -> None:
        """The session is over: what waits is still sent, unless the client's connection was `reset`."""
        self.stop_relays()
        session, self.session = self.session, None
        assert session is not None
        if not self.connected:
            self._give_up()
            return
        self._local = not both_finished
        if reset:
            cut(self.transport)
        else:
            if self.transport.get_write_buffer_size():
                self.draining = session.stats
                self.draining.upstream_flush_total += 1
                self.draining.upstream_flush_active += 1
                if self._paused:
                    self._paused = False
                    self.transport.resume_reading()
            self.transport.close()

    def _give_up(self) -> None:
        if self._task is None:
            return
        task, self._task = self._task, None
        self._leave_queue()
        self._forget()
        task.cancel()
        self.stats.upstream_rq_cancelled += 1
        self.stats.upstream_cx_connect_fail += 1
        self.host.stats.cx_connect_fail += 1
        self.stats.upstream_cx_destroy += 1
        self.stats.upstream_cx_destroy_local += 1

    def pause_reading(self) -> None:
        """The client does not read as fast as the host writes."""
        if self.connected and not self._paused and not self.transport.is_closing():
            self._paused = True
            self.stats.upstream_flow_control_paused_reading_total += 1
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """The client reads again."""
        if self.connected and self._paused and not self.transport.is_closing():
            self._paused = False
            self.stats.upstream_flow_control_resumed_reading_total += 1
            self.transport.resume_reading()

    def describe(self, info: StreamInfo) -> None:
        """Note in `info` which connection carried the session."""
        info.upstream_connection_id = self.connection_id
        if self._addresses is not None:
            info.upstream_local_address, info.upstream_remote_address = self._addresses
        info.upstream_tls = self._tls
        info.upstream_connect_start = self.connect_started_at
        info.upstream_connect_complete = self.connected_at
        info.upstream_pool_requested = self.connect_started_at
        info.upstream_pool_ready = self.connected_at
