"""Connections to hosts that come from the client's address, as if there were no proxy.

The answers come back here only if they are routed so: hosts that have this machine for their gateway, and a routing
rule for the mark on this machine. Source: Documentation/networking/tproxy.rst.
"""

from __future__ import annotations

import socket
from typing import Any, Final, NamedTuple

from msgspec import Struct

#: linux/in.h and linux/in6.h; the socket module has no names for them.
_IP_TRANSPARENT: Final = 19
_IPV6_TRANSPARENT: Final = 75
_IP_BIND_ADDRESS_NO_PORT: Final = 24


class UpstreamSource(Struct, frozen=True):
    """The IP address that connections to hosts have instead of this machine's, and their SO_MARK, 0 for none."""

    ip: str
    mark: int = 0

    def apply(self, sock: socket.socket) -> None:
        """Bind `sock`, which is not connected yet; the kernel chooses the port. Raises `OSError`."""
        if self.mark:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self.mark)
        if ":" in self.ip:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
        # The port is chosen at `connect`, so that one is free as long as one is for that host.
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((self.ip, 0))


class SourcedKey(NamedTuple):
    """A key of `Host.pools` whose connections come from `source`; `key` is what it is without that."""

    key: Any
    source: UpstreamSource
