"""What connections to a host do alike, whatever they carry: the transport, its facts, holding up the peer."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, cast

from proxy.base.address import Address, from_socket_name
from proxy.base.stream_info import StreamInfo, TlsInfo
from proxy.connection.tls import tls_info
from proxy.upstream.pool.api import PoolRequest

if TYPE_CHECKING:
    from proxy.upstream.pool.base import ConnectionPool


class HostConnection(asyncio.Protocol):
    """See module; a `PooledConnection` so far. Times are monotonic seconds.

    `protocol` is the `%UPSTREAM_PROTOCOL%` of what it carries, None for bytes. `socket` is the transport's.
    """

    protocol: str | None = None
    connection_id: int
    pool: ConnectionPool
    transport: asyncio.Transport
    local_address: Address
    remote_address: Address
    tls: TlsInfo | None = None
    socket: socket.socket | None = None
    #: Requests that a new connection will take at once.
    capacity = 1
    connected = False
    closed = False
    draining = False
    connect_started_at = 0.0
    connected_at = 0.0
    idle_since = 0.0
    requests = 0
    _closing_locally = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        # The loop's own class, which does not derive from asyncio's.
        self.transport = transport = cast("asyncio.Transport", transport)
        limit = self.pool.config.buffer_limit
        transport.set_write_buffer_limits(high=limit, low=limit // 2)
        self.local_address = from_socket_name(transport.get_extra_info("sockname"))
        self.remote_address = from_socket_name(transport.get_extra_info("peername"))
        self.tls = tls_info(transport)
        self.connected = True

    def describe(self, info: StreamInfo) -> None:
        """Note in `info` which connection carried the stream."""
        info.upstream_connection_id = self.connection_id
        info.upstream_local_address = self.local_address
        info.upstream_remote_address = self.remote_address
        info.upstream_tls = self.tls
        if self.protocol is not None:
            info.upstream_protocol = self.protocol
        info.upstream_connect_start = self.connect_started_at
        info.upstream_connect_complete = self.connected_at
        if self.tls is not None:
            info.upstream_handshake_complete = self.connected_at


class SingleRequestConnection(HostConnection):
    """A connection that carries one request at a time, `request`; reading stops and goes on as a whole."""

    request: PoolRequest | None = None
    _read_disabled = 0

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.pool.stats.upstream_flow_control_backed_up_total += 1
        if self.request is not None:
            self.request.on_write_paused()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.pool.stats.upstream_flow_control_drained_total += 1
        if self.request is not None:
            self.request.on_write_resumed()

    def pause_reading(self) -> None:
        """See `UpstreamConnection`."""
        self._read_disabled += 1
        if self._read_disabled == 1 and not self.closed:
            self.pool.stats.upstream_flow_control_paused_reading_total += 1
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """See `UpstreamConnection`."""
        if not self._read_disabled:
            return
        self._read_disabled -= 1
        if self._read_disabled == 0 and not self.closed:
            self.pool.stats.upstream_flow_control_resumed_reading_total += 1
            self.transport.resume_reading()
