"""The interface of UDP listener filters, and the registry that finds them by configuration type.

A UDP listener has no connections and no filter chains: its filter is given each datagram and owns whatever it makes
of it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, Final, Protocol

from msgspec import Struct

from proxy.base.address import Address
from proxy.base.services import WorkerServices
from proxy.config.context import CompileContext

#: Where a datagram came from, as the socket names it: (ip, port), and for IPv6 flow information and scope.
Peer = tuple[Any, ...]

# Envoy's default of `max_rx_datagram_size`, in bytes.
_DEFAULT_SIZE: Final = 1500
_GRO_DATAGRAMS: Final = 16
_MOST_BYTES: Final = 65535

#: Modules with a `FACTORY`.
_MODULES: Final = ("proxy.udp_proxy.filter",)


class DatagramEnd(Protocol):
    """A local address that datagrams came to; the same object for the same address, so that it may be a key."""

    address: Address

    def send(self, data: bytes, peer: Peer) -> None:
        """Send a datagram from here. Raises `OSError`."""


class UdpListenerFilter(Protocol):
    """The filter of one UDP listener in a worker."""

    def on_datagram(self, end: DatagramEnd, peer: Peer, data: bytes, now: float) -> None:
        """A datagram has come; `now` is the monotonic second of the batch that it is in."""

    def on_receive_error(self) -> None:
        """The listener's socket could not be read."""

    def close(self) -> None:
        """The listener has stopped: nothing comes any more, and nothing may be sent."""


class UdpListenerFilterFactory(Struct, frozen=True):
    """How to make one kind of UDP listener filter."""

    name: str
    type_name: str
    compile: Callable[[Any, str, CompileContext], Any]
    create: Callable[[Any, WorkerServices], UdpListenerFilter]


def ip_of(peer: Peer) -> str:
    """The IP address of a sender; one that came by IPv4 to a socket for both is an IPv4 address."""
    ip: str = peer[0]
    return ip.removeprefix("::ffff:")


def datagram_limit(message: Any, *, prefer_gro: bool) -> int:
    """The largest datagram that a `core.v3.UdpSocketConfig` lets in, in bytes; `prefer_gro` is its default.

    With `prefer_gro` Envoy reads into a buffer for many datagrams, which one larger datagram may fill.
    """
    limit = message.max_rx_datagram_size.value if message.HasField("max_rx_datagram_size") else _DEFAULT_SIZE
    if message.prefer_gro.value if message.HasField("prefer_gro") else prefer_gro:
        limit *= _GRO_DATAGRAMS
    return min(int(limit), _MOST_BYTES)


def udp_listener_filters() -> dict[str, UdpListenerFilterFactory]:
    """Every factory by the full name of its config message."""
    found: dict[str, UdpListenerFilterFactory] = {}
    for name in _MODULES:
        factory: UdpListenerFilterFactory = import_module(name).FACTORY
        found[factory.type_name] = factory
    return found
