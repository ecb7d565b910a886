"""Asks the kernel where a redirected connection was going.

Sources: linux/netfilter_ipv4.h and linux/netfilter_ipv6/ip6_tables.h (SO_ORIGINAL_DST, the same number in both),
Documentation/networking/tproxy.rst.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from struct import Struct
from typing import Any, Final

from proxy.base.address import Address

_SO_ORIGINAL_DST: Final = 80
_IP_TRANSPARENT: Final = 19
_IPV6_TRANSPARENT: Final = 75
_SOCKADDR_IN: Final = Struct(">2xH4s8x")
_SOCKADDR_IN6: Final = Struct(">2xH4x16s4x")


def original_destination(connection: Any, local: Address) -> Address | None:
    """What netfilter's REDIRECT or DNAT replaced; `local` itself on a transparent socket; else None.

    `connection` is the accepted socket, `local` its own address.
    """
    six = ":" in local.ip
    level, layout, family = (
        (socket.IPPROTO_IPV6, _SOCKADDR_IN6, socket.AF_INET6)
        if six
        else (socket.IPPROTO_IP, _SOCKADDR_IN, socket.AF_INET)
    )
    try:
        port, packed = layout.unpack(connection.getsockopt(level, _SO_ORIGINAL_DST, layout.size))
    except OSError:
        return local if _is_transparent(connection, level, six) else None
    return Address(socket.inet_ntop(family, packed), port)


def _is_transparent(connection: Any, level: int, six: bool) -> bool:
    try:
        return bool(connection.getsockopt(level, _IPV6_TRANSPARENT if six else _IP_TRANSPARENT))
    except OSError:
        return False


def is_local(ip: str) -> bool:
    """Whether this machine has that address, as far as binding to it tells."""
    with (
        suppress(OSError),
        socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM) as probe,
    ):
        probe.bind((ip, 0))
        return True
    return False
