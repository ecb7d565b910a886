"""A UDP listener: its part of the config, and the live one that reads datagrams in a worker.

Each worker has a socket of its own (`SO_REUSEPORT`), and the kernel keeps a pair of addresses on one of them. The
sockets are never shut down: a shut socket could not send any more either, and one that is only closed leaves the
group at once.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Final

from msgspec import Struct

from proxy.base.address import Address
from proxy.base.services import WorkerServices
from proxy.base.stats import StatGroup
from proxy.base.stream_info import DrainState, GradualDrain
from proxy.config.any_unpack import unpack_extension
from proxy.config.context import CompileContext
from proxy.connection.sockets import ListenAddress, datagrams_dropped, local_address
from proxy.filters.udp import Peer, UdpListenerFilterFactory, datagram_limit, udp_listener_filters

if TYPE_CHECKING:
    from proxy.downstream.listener import ListenerConfig
    from proxy.downstream.listener_stats import ListenerStats

# Datagrams read at most before other sockets have their turn.
_BATCH: Final = 128
# Local addresses of a wildcard socket that are remembered; beyond, all are forgotten and their sessions idle out.
_MOST_ENDS: Final = 4096

_IP_PKTINFO: Final = 8  # linux/in.h; the socket module does not name it
_PKTINFO: Final = struct.Struct("=I4s4s")  # interface, source to send from, destination of what came
_PKTINFO6: Final = struct.Struct("=16sI")
_ANCILLARY_BYTES: Final = socket.CMSG_SPACE(_PKTINFO6.size) + socket.CMSG_SPACE(_PKTINFO.size)


class UdpListenerConfig(Struct, frozen=True):
    """What only a UDP listener has. Larger datagrams than `max_datagram_size` bytes are dropped.

    `filter` is the factory with its compiled config; None reads and drops everything.
    """

    max_datagram_size: int
    filter: tuple[UdpListenerFilterFactory, Any] | None


def compile_udp_listener(message: Any, path: str, ctx: CompileContext) -> UdpListenerConfig:
    """Compile the UDP part of a `Listener`; problems go to `ctx`."""
    chains = len(message.filter_chains) + message.HasField("default_filter_chain")
    if chains:
        ctx.problem(
            f"{path}.filter_chains", f"{chains} filter chain(s) specified for connection-less UDP listener"
        )
    for bound, at in (
        (message.bind_to_port, "bind_to_port"),
        (message.deprecated_v1.bind_to_port, "deprecated_v1.bind_to_port"),
    ):
        holder = message if "." not in at else message.deprecated_v1
        if holder.HasField("bind_to_port") and not bound.value:
            ctx.problem(f"{path}.{at}", "bind_to_port: false is not supported for UDP listeners")
    if message.HasField("enable_reuse_port") and not message.enable_reuse_port.value:
        ctx.problem(
            f"{path}.enable_reuse_port",
            "UDP listeners need SO_REUSEPORT: without it the datagrams of one client reach all workers in turn",
        )
    found = [
        _compile_filter(one, f"{path}.listener_filters[{i}]", ctx)
        for i, one in enumerate(message.listener_filters)
    ]
    if not found:
        ctx.warning(f"{path}.listener_filters", "without a UDP listener filter every datagram is dropped")
    if len(found) > 1:
        ctx.warning(
            f"{path}.listener_filters[1]", "is never asked: the filter before it takes every datagram"
        )
    return UdpListenerConfig(
        datagram_limit(message.udp_listener_config.downstream_socket_config, prefer_gro=False),
        found[0] if found else None,
    )


def _compile_filter(
    message: Any, path: str, ctx: CompileContext
) -> tuple[UdpListenerFilterFactory, Any] | None:
    if message.WhichOneof("config_type") == "config_discovery":
        ctx.problem(f"{path}.config_discovery", "is not supported for filters of UDP listeners")
        return None
    if message.HasField("filter_disabled"):
        ctx.problem(f"{path}.filter_disabled", "is not supported for filters of UDP listeners")
    unpacked = unpack_extension(message, path, ctx)
    if unpacked is None:
        return None
    factory = udp_listener_filters().get(unpacked.DESCRIPTOR.full_name)
    if factory is None:
        ctx.problem(f"{path}.typed_config", f"{unpacked.DESCRIPTOR.full_name} is not a UDP listener filter")
        return None
    return factory, factory.compile(unpacked, f"{path}.typed_config", ctx)


class UdpListenerStats(StatGroup):
    """`listener.<address>.udp.*` of one worker; `sockets` are asked what the kernel dropped when somebody reads."""

    COUNTERS: ClassVar[tuple[str, ...]] = ("downstream_rx_datagram_dropped",)

    downstream_rx_datagram_dropped: int

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.sockets: list[socket.socket] = []

    def counters(self) -> dict[str, int]:
        """With what the kernel had to drop because nobody read in time."""
        values = super().counters()
        values[f"{self.prefix}downstream_rx_datagram_dropped"] += sum(map(datagrams_dropped, self.sockets))
        return values


class _End:
    """The only address of a socket; see `DatagramEnd`."""

    __slots__ = ("_sendto", "address")

    def __init__(self, sock: socket.socket, address: Address) -> None:
        self.address = address
        self._sendto = sock.sendto

    def send(self, data: bytes, peer: Peer) -> None:
        """See `DatagramEnd`."""
        self._sendto(data, peer)


class _ChosenEnd:
    """One of the addresses of a wildcard socket: what is sent must say which."""

    __slots__ = ("_ancillary", "_sendmsg", "address")

    def __init__(self, sock: socket.socket, address: Address, packed: bytes) -> None:
        self.address = address
        self._sendmsg = sock.sendmsg
        if len(packed) == 4:
            self._ancillary = [(socket.IPPROTO_IP, _IP_PKTINFO, _PKTINFO.pack(0, packed, bytes(4)))]
        else:
            self._ancillary = [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _PKTINFO6.pack(packed, 0))]

    def send(self, data: bytes, peer: Peer) -> None:
        """See `DatagramEnd`."""
        self._sendmsg([data], self._ancillary, 0, peer)


class UdpListener:
    """One UDP listener in one worker; it has the interface of `proxy.downstream.listener.Listener`.

    There are no connections that could outlive it: what its filter keeps ends when it stops, as in Envoy.
    """

    active = 0
    pending = 0

    def __init__(self, config: ListenerConfig, services: WorkerServices, stats: ListenerStats) -> None:
        assert config.udp is not None
        self.config = config
        self.drain_state = DrainState()
        self.stats = stats
        self.local_addresses: list[Address] = []
        self._services = services
        self._limit = config.udp.max_datagram_size
        self._sockets: list[socket.socket] = []
        self._udp_stats = services.stats.shared(UdpListenerStats, f"{config.stat_prefix}udp.")
        made = config.udp.filter
        self._filter = None if made is None else made[0].create(made[1], services)

    async def start(
        self, sockets: list[socket.socket], further: Iterable[tuple[int, socket.socket]] = ()
    ) -> None:
        """Read from `sockets`, one for each of the config's addresses, and from `further` ones, each with the
        number of its address; they belong to the listener now.
        """
        addresses = self.config.addresses
        others = ((addresses[number], one) for number, one in further)
        for where, one in (*zip(addresses, sockets, strict=True), *others):
            address = local_address(one)
            self.local_addresses.append(address)
            self._sockets.append(one)
            # What was dropped before is the count of whoever had the socket then.
            self._udp_stats.downstream_rx_datagram_dropped -= datagrams_dropped(one)
            self._udp_stats.sockets.append(one)
            self._services.loop.add_reader(one.fileno(), self._reader(one, where, address))

    def _reader(self, one: socket.socket, where: ListenAddress, address: Address) -> Any:
        if where.address.ip not in {"0.0.0.0", "::"}:
            end = _End(one, address)
            return lambda: self._read(one, end)
        if address.family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            one.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        unknown = _End(one, address)  # of what came before the option was set
        ends: dict[bytes, _ChosenEnd] = {}
        return lambda: self._read_wildcard(one, unknown, ends)

    def _read(self, one: socket.socket, end: _End) -> None:
        taker = self._filter
        limit = self._limit
        receive = one.recvfrom
        now = self._services.loop.time()
        for _ in range(_BATCH):
            try:
                data, peer = receive(limit + 1)
            except BlockingIOError:
                return
            except OSError:
                if taker is not None:
                    taker.on_receive_error()
                return
            if len(data) > limit:
                self._udp_stats.downstream_rx_datagram_dropped += 1
            elif taker is not None:
                taker.on_datagram(end, peer, data, now)

    def _read_wildcard(self, one: socket.socket, unknown: _End, ends: dict[bytes, _ChosenEnd]) -> None:
        taker = self._filter
        limit = self._limit
        now = self._services.loop.time()
        for _ in range(_BATCH):
            try:
                data, ancillary, flags, peer = one.recvmsg(limit, _ANCILLARY_BYTES)
            except BlockingIOError:
                return
            except OSError:
                if taker is not None:
                    taker.on_receive_error()
                return
            if flags & socket.MSG_TRUNC:
                self._udp_stats.downstream_rx_datagram_dropped += 1
                continue
            packed = _destination(ancillary)
            end = ends.get(packed)
            if end is None and packed:
                if len(ends) >= _MOST_ENDS:
                    ends.clear()
                family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
                ip = socket.inet_ntop(family, packed).removeprefix("::ffff:")
                address = Address(ip, unknown.address.port)
                end = ends[packed] = _ChosenEnd(one, address, packed)
            if taker is not None:
                taker.on_datagram(end or unknown, peer, data, now)

    def refuse(self, shared: Collection[int] = ()) -> None:  # noqa: ARG002  (as `Listener.refuse`)
        """Stop: there is nothing that the kernel has accepted already."""
        self.stop()

    def stop(self) -> None:
        """Read no more, and end what the filter keeps."""
        for one in self._sockets:
            self._services.loop.remove_reader(one.fileno())
            self._udp_stats.downstream_rx_datagram_dropped += datagrams_dropped(one)
            self._udp_stats.sockets.remove(one)
        if self._filter is not None:
            self._filter.close()
            self._filter = None
        for one in self._sockets:
            with suppress(OSError):
                one.close()
        self._sockets.clear()

    def drain(self) -> None:
        """As `stop`: a datagram announces nothing."""
        self.announce_drain(True)
        self.stop()

    def announce_drain(self, draining: bool | GradualDrain) -> None:
        """Note it: a datagram announces nothing."""
        self.drain_state.draining = draining

    def close_idle(self, silent: float) -> None:
        """There are no connections."""

    def close_connections(self) -> None:
        """There are no connections."""

    def __repr__(self) -> str:
        state = "active" if self._sockets else "stopped"
        return f"<UdpListener {self.config.name} {self.config.addresses[0].address} {state}>"


def _destination(ancillary: list[tuple[int, int, bytes]]) -> bytes:
    """The packed address that a datagram was sent to, b"" if the kernel did not say."""
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            return bytes(data[8:12])
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            return bytes(data[:16])
    return b""
