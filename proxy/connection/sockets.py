"""Listening sockets, made where the privileges and the ports are: in the controller.

`SO_REUSEPORT` gives each worker a socket and a kernel queue of its own. A socket is bound here and starts to
listen in `start_listening`, so that nothing is queued before somebody can serve it.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from contextlib import suppress
from typing import Final

from msgspec import Struct

from proxy.base.address import Address, from_socket_name
from proxy.base.errors import UsageError

#: States of `envoy.config.core.v3.SocketOption`: when an option is applied.
PREBIND, BOUND, LISTENING = 0, 1, 2

_IPV6_FREEBIND: Final = 78  # linux/in6.h; the socket module does not name these
_IPV6_TRANSPARENT: Final = 75
_IP_TRANSPARENT: Final = 19
_IP_FREEBIND: Final = 15
_SO_MEMINFO: Final = 55  # asm-generic/socket.h; the numbers are those of linux/sock_diag.h
_MEMINFO_NUMBERS: Final = 9
_MEMINFO_DROPS: Final = 8

#: `listen` cuts the backlog to net.core.somaxconn; Envoy leaves it at that by default.
DEFAULT_BACKLOG: Final = 2**31 - 1

_REMEDIES: Final = {
    errno.EADDRINUSE: "another process listens there: stop it or choose another port (`ss -lntp` names it)",
    errno.EACCES: "no permission: a port below 1024 needs CAP_NET_BIND_SERVICE, a path a writable directory",
    errno.EPERM: "no permission: `transparent` needs CAP_NET_ADMIN",
    errno.EADDRNOTAVAIL: "no interface of this machine has that address: correct it or set `freebind`",
    errno.EAFNOSUPPORT: "the kernel has no support for this address family",
    errno.ENOENT: "the directory of the socket does not exist",
    errno.EMFILE: "too many open files: raise the limit (`ulimit -n`, LimitNOFILE=)",
}


class SocketOption(Struct, frozen=True):
    """One `setsockopt`. `state` is `PREBIND`, `BOUND` or `LISTENING`."""

    level: int
    name: int
    value: int | bytes
    state: int = PREBIND
    description: str = ""


class ListenAddress(Struct, frozen=True):
    """One address of a listener with everything that its sockets need.

    `mode` is the permission of a unix socket, 0 leaves it to the umask. `ipv4_compat` lets an IPv6 socket
    take IPv4 connections too. `fast_open_queue` 0 leaves TCP fast open off. `udp` is for datagrams: nobody listens.
    """

    address: Address
    mode: int = 0
    ipv4_compat: bool = False
    reuse_port: bool = True
    freebind: bool = False
    transparent: bool = False
    backlog: int = DEFAULT_BACKLOG
    fast_open_queue: int = 0
    options: tuple[SocketOption, ...] = ()
    udp: bool = False


def open_sockets(listener: str, where: ListenAddress, workers: int) -> list[socket.socket]:
    """One bound, non-blocking socket per worker, not yet listening.

    Port 0 is chosen by the kernel once, for all. Without `SO_REUSEPORT` (and for a unix socket) every worker
    gets the same socket under a descriptor of its own. Raises `UsageError`.
    """
    first = _open(listener, where, where.address)
    sockets = [first]
    try:
        shared = not where.reuse_port or bool(where.address.path)
        bound = where.address
        if not bound.path and bound.port == 0:
            bound = Address(bound.ip, first.getsockname()[1])
        while len(sockets) < workers:
            sockets.append(first.dup() if shared else _open(listener, where, bound))
    except BaseException:
        for one in sockets:
            one.close()
        raise
    return sockets


def start_listening(listener: str, where: ListenAddress, sockets: list[socket.socket]) -> None:
    """Let connections come in; to be called again when `stop_listening` has been. Raises `UsageError`."""
    try:
        for one in sockets:
            if where.udp:
                _apply(one, where, LISTENING)
                continue
            if where.fast_open_queue and not where.address.path:
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, where.fast_open_queue)
            one.listen(where.backlog)
            _apply(one, where, LISTENING)
    except OSError as error:
        raise _refused(listener, "listen on", where.address, error) from error


def stop_listening(sockets: list[socket.socket]) -> None:
    """Refuse connections at once, in every process that holds one of these sockets.

    Closing would not do: the socket lives on in the other process, and its queue would go on filling.
    """
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def local_address(where: socket.socket) -> Address:
    """The address that a socket is bound to, with the real port."""
    return from_socket_name(where.getsockname())


def remove_socket_file(where: ListenAddress) -> None:
    """Delete the file of a unix socket that nobody uses any more."""
    if where.address.path and not where.address.path.startswith("@"):
        with suppress(OSError):
            os.unlink(where.address.path)


def _open(listener: str, where: ListenAddress, address: Address) -> socket.socket:
    opened = None
    try:
        opened = socket.socket(address.family, socket.SOCK_DGRAM if where.udp else socket.SOCK_STREAM)
        opened.setblocking(False)
        _prepare(opened, where)
        if address.path and not address.path.startswith("@"):
            _remove_stale(address.path)
        opened.bind(address.sockaddr)
        if where.mode and not address.path.startswith("@"):
            os.chmod(address.path, where.mode)
        _apply(opened, where, BOUND)
    except OSError as error:
        if opened is not None:
            opened.close()
        raise _refused(listener, "bind", address, error) from error
    return opened


def _prepare(opened: socket.socket, where: ListenAddress) -> None:
    if not where.address.path:
        if not where.udp:  # there it would let another process share the port
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if where.reuse_port:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        six = where.address.family == socket.AF_INET6
        if six:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if where.ipv4_compat else 1)
        level = socket.IPPROTO_IPV6 if six else socket.IPPROTO_IP
        if where.transparent:
            make_transparent(opened)
        if where.freebind:
            opened.setsockopt(level, _IPV6_FREEBIND if six else _IP_FREEBIND, 1)
    _apply(opened, where, PREBIND)


def make_transparent(one: socket.socket) -> None:
    """Let a socket have an address that no interface has. Raises `OSError` without CAP_NET_ADMIN."""
    if one.family == socket.AF_INET6:
        one.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
    else:
        one.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)


def datagrams_dropped(one: socket.socket) -> int:
    """Datagrams that came for a socket and found no room in it, since it was opened."""
    numbers = one.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * _MEMINFO_NUMBERS)
    return int.from_bytes(numbers[4 * _MEMINFO_DROPS :][:4], sys.byteorder)


def _apply(opened: socket.socket, where: ListenAddress, state: int) -> None:
    for option in where.options:
        if option.state == state:
            opened.setsockopt(option.level, option.name, option.value)


def _remove_stale(path: str) -> None:
    """Make room as Envoy does, which leaves its sockets behind; anything but a socket stays where it is."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)


def _refused(listener: str, action: str, address: Address, error: OSError) -> UsageError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    remedy = _REMEDIES.get(error.errno or 0, "")
    return UsageError(
        f"listener {listener!r}: cannot {action} {address}: {reason}" + (f" ({remedy})" if remedy else "")
    )
