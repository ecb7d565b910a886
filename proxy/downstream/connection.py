"""One accepted connection: limits, filter chain, gates, TLS, then the terminal filter's protocol.

The event loop gets one shared `Acceptor` in place of a protocol per connection. When a connection comes, the
acceptor decides everything at once and puts the terminal protocol on the transport, so that from then on no
code of this module runs until the connection has gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from proxy.base.address import INTERNAL_CLIENT, Address, from_socket_name
from proxy.base.response_flags import ResponseFlag
from proxy.base.services import WorkerServices
from proxy.base.stream_info import ConnectionInfo, DrainState, StreamInfo
from proxy.connection.replay import replay
from proxy.connection.sockets import ListenAddress
from proxy.downstream.listener_stats import ListenerStats
from proxy.downstream.live_chain import LiveChain

GLOBAL_LIMIT_KEY = "overload.global_downstream_max_connections"

_UNLIMITED_BUFFER = 1 << 30
_LOCAL_ADDRESSES_KEPT = 1024


class ConnectionCounter(Protocol):
    """Counts open connections; `total` is over all workers."""

    def increase(self) -> None:
        """One was opened in this worker."""

    def decrease(self) -> None:
        """One of this worker was closed."""

    def total(self) -> int:
        """How many are open."""


class LocalCounter:
    """The count of this worker only."""

    __slots__ = ("_count",)

    def __init__(self) -> None:
        self._count = 0

    def increase(self) -> None:
        """See `ConnectionCounter`."""
        self._count += 1

    def decrease(self) -> None:
        """See `ConnectionCounter`."""
        self._count -= 1

    def total(self) -> int:
        """See `ConnectionCounter`."""
        return self._count


class AcceptedConnection(ConnectionInfo):
    """A connection of a listener, which hears of its end."""

    acceptor: Acceptor | None = None
    chain: LiveChain | None = None

    def on_closed(self) -> None:
        """Run the callbacks, then tell the listener; further calls do nothing."""
        acceptor = self.acceptor
        if acceptor is not None:
            self.acceptor = None
            if self._close_callbacks is not None:
                super().on_closed()
            acceptor.connection_closed(self)


class Acceptor(asyncio.Protocol):
    """Takes the connections of one listening socket."""

    def __init__(
        self,
        config: Any,
        chains: tuple[LiveChain, ...],
        services: WorkerServices,
        stats: ListenerStats,
        drain: DrainState,
        next_id: Callable[[], int],
        own_count: ConnectionCounter,
        global_count: ConnectionCounter,
        access_log: Any,
        *,
        local: Address,
        where: ListenAddress,
    ) -> None:
        self.use(config, chains)
        self._services = services
        self._now = services.loop.time
        self.stats = stats
        self._drain = drain
        self._next_id = next_id
        self._own_count = own_count
        self._global_count = global_count
        self._access_log = access_log
        self._runtime = services.runtime
        self._limit_key = config.limit_key
        self._overload = None if config.bypasses_overload else services.overload
        self._high_water = config.buffer_limit or _UNLIMITED_BUFFER
        self.bound = config.bind_to_port
        self.ipv4_compat = self._unmap = where.ipv4_compat
        # Any other socket can only have taken a connection to its own address.
        various = local.ip in {"0.0.0.0", "::"} or where.transparent
        self._fixed_local = None if various else local
        self._local_addresses: dict[tuple[Any, ...], Address] = {}
        self.local = local
        self.factory = lambda: self
        self._transports: dict[int, asyncio.Transport] = {}

    def use(self, config: Any, chains: tuple[LiveChain, ...]) -> None:
        """Serve new connections by these chains, those of `config` in its order."""
        self._config = config
        self._chains = chains
        self._only = chains[config.only_chain.number] if config.only_chain is not None else None

    # -- accepting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Decide what becomes of a new connection."""
        accepted = cast("asyncio.Transport", transport)
        if self._over_limit():
            accepted.abort()
            return
        self._choose(accepted, self._describe(accepted))

    def adopt(self, transport: asyncio.Transport, connection: AcceptedConnection, data: bytes) -> None:
        """Serve a connection that another listener has accepted and read `data` from."""
        self._enter(connection)
        self._choose(transport, connection, data)

    def accept_internal(
        self,
        transport: asyncio.Transport,
        local: Address,
        metadata: Mapping[str, Mapping[str, Any]],
        state: Mapping[str, Any],
        sharing: Mapping[str, int],
    ) -> None:
        """See `InternalListener`."""
        if self._over_limit():
            transport.abort()
            return
        connection = AcceptedConnection(self._next_id(), INTERNAL_CLIENT, local, self._now(), self._drain)
        connection.dynamic_metadata = metadata
        connection.filter_state = state
        connection.state_sharing = sharing
        self.adopt(transport, connection, b"")

    def _choose(
        self, transport: asyncio.Transport, connection: AcceptedConnection, data: bytes = b""
    ) -> None:
        """Find the filter chain and begin; `data` has been read already."""
        chain = self._only
        if chain is None:
            found = self._config.index.match(connection)
            if found is None:
                self._refuse_unmatched(transport, connection)
                return
            chain = self._chains[found.number]
        self._begin(transport, connection, chain, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """A connection went that was refused: nothing has been counted for it."""

    def _over_limit(self) -> bool:
        if self._overload is not None and self._overload.rejects_connection():
            self.stats.downstream_cx_overload_reject += 1
            return True
        values = self._runtime.values
        if not values:
            return False
        if (
            GLOBAL_LIMIT_KEY in values
            and not self._config.ignore_global_limit
            and self._global_count.total() >= self._runtime.integer(GLOBAL_LIMIT_KEY, 2**63)
        ):
            self.stats.downstream_global_cx_overflow += 1
            return True
        if self._limit_key in values and self._own_count.total() >= self._runtime.integer(
            self._limit_key, 2**63
        ):
            self.stats.downstream_cx_overflow += 1
            return True
        return False

    def _describe(self, transport: asyncio.Transport) -> AcceptedConnection:
        local = self._fixed_local
        if local is None:
            local = self._local_address(transport.get_extra_info("sockname"))
        remote = from_socket_name(transport.get_extra_info("peername"))
        if self._unmap and remote.ip.startswith("::ffff:"):
            remote = Address(remote.ip[7:], remote.port)
        elif remote.path == "@":
            remote = local  # Envoy's name for a client whose unix socket has none
        connection = AcceptedConnection(self._next_id(), remote, local, self._now(), self._drain)
        self._enter(connection)
        return connection

    def _enter(self, connection: AcceptedConnection) -> None:
        """Write on a connection whose it is."""
        config = self._config
        connection.drain = self._drain
        connection.listener_name = config.name
        connection.listener_address = self.local.text
        connection.buffer_limit = config.buffer_limit
        connection.listener_metadata = config.metadata

    def _local_address(self, name: Any) -> Address:
        known = self._local_addresses.get(name)
        if known is None:
            known = from_socket_name(name)
            if self._unmap and known.ip.startswith("::ffff:"):
                known = Address(known.ip[7:], known.port)
            if len(self._local_addresses) < _LOCAL_ADDRESSES_KEPT:
                self._local_addresses[name] = known
        return known

    def _refuse_unmatched(self, transport: asyncio.Transport, connection: AcceptedConnection) -> None:
        self.stats.no_filter_chain_match += 1
        connection.response_flags = ResponseFlag.NO_ROUTE_FOUND
        self._log(connection, "filter_chain_not_found")
        transport.abort()

    def _begin(
        self, transport: asyncio.Transport, connection: AcceptedConnection, chain: LiveChain, data: bytes
    ) -> None:
        connection.acceptor = self
        connection.chain = chain
        connection.drain = chain.drain
        chain.connections.add(connection.id)
        connection.filter_chain_name = chain.config.name
        connection.filter_chain_metadata = chain.config.metadata
        self._transports[connection.id] = transport
        stats = self.stats
        stats.downstream_cx_total += 1
        stats.downstream_cx_active += 1
        self._own_count.increase()
        self._global_count.increase()
        transport.set_write_buffer_limits(self._high_water)
        for gate in chain.gates:
            if not gate.on_new_connection(connection):
                _Refused(connection, self._services).take(transport, gate.reject_delay)
                return
        if chain.create_protocol is None:
            stats.network_extension_config_missing += 1  # as Envoy counts a chain without filters
            _Refused(connection, self._services).take(transport, 0.0)
        elif chain.tls is None:
            protocol = chain.create_protocol(connection)
            transport.set_protocol(protocol)
            protocol.connection_made(transport)
        else:
            chain.tls.start(transport, connection, chain.create_protocol, self._on_handshake_timeout)
        if data:
            replay(transport, data)

    def _on_handshake_timeout(self) -> None:
        self.stats.downstream_cx_transport_socket_connect_timeout += 1

    # -- the end

    def connection_closed(self, connection: AcceptedConnection) -> None:
        """Take a connection off the books and log it."""
        self._transports.pop(connection.id, None)
        if connection.chain is not None:
            connection.chain.connections.discard(connection.id)
        stats = self.stats
        stats.downstream_cx_active -= 1
        stats.downstream_cx_destroy += 1
        stats.downstream_cx_length_ms.record(int((self._now() - connection.start_time) * 1000))
        self._own_count.decrease()
        self._global_count.decrease()
        if self._access_log is not None:
            self._log(connection, None)

    def close_idle(self, silent: float) -> None:
        """Close connections whose protocol says that they have carried nothing for so many seconds."""
        until = self._now() - silent
        for transport in list(self._transports.values()):
            close_if_idle = getattr(transport.get_protocol(), "close_if_idle", None)
            if close_if_idle is not None:
                close_if_idle(until)

    def close_connections(self, of: LiveChain | None = None) -> None:
        """Cut every open connection, or those of one chain."""
        for number, transport in list(self._transports.items()):
            if of is None or number in of.connections:
                transport.abort()

    def _log(self, connection: AcceptedConnection, details: str | None) -> None:
        if self._access_log is None:
            return
        info = StreamInfo(connection, connection.start_time)
        info.response_complete = self._now()
        info.flags = connection.response_flags
        info.response_code_details = details or connection.response_code_details
        info.connection_termination_details = connection.termination_details
        self._access_log.log(info, "NotSet")


class _Refused(asyncio.Protocol):
    """A connection that gets no service: closed at once, or held for a while and not listened to."""

    def __init__(self, connection: AcceptedConnection, services: WorkerServices) -> None:
        self._connection = connection
        self._services = services
        self._transport: asyncio.Transport | None = None

    def take(self, transport: asyncio.Transport, delay: float) -> None:
        """Own `transport` and close it in `delay` seconds."""
        self._transport = transport
        transport.set_protocol(self)
        if delay > 0:
            self._services.timers.wake(self._services.loop.time() + delay, self)
        else:
            transport.abort()

    def on_wake(self, now: float) -> None:
        """The delay is over."""
        del now
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, be it ours or the peer's."""
        del exc
        self._transport = None
        self._connection.on_closed()
