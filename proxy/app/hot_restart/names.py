"""Where a process waits for its successor: a unix socket whose name is made of path, base id and epoch.

`--socket-path` gives the beginning; with "@" the name is abstract, so that it goes with the process. It is another
name than Envoy's, which speaks another protocol: both may run on one host with the same base id.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import suppress
from typing import Final

from proxy.app.command_line import Options
from proxy.base.errors import UsageError

_MAX_PATH: Final = 107  # of sun_path, without the zero at the end
_CREDENTIALS: Final = struct.Struct("3i")
_BACKLOG: Final = 8
_DEFAULT_MODE: Final = 0o600


def place_of(options: Options, base_id: int, epoch: int) -> str:
    """The path, or the abstract name with "@" in front, of the process of that epoch. Raises `UsageError`."""
    place = f"{options.socket_path}_outrider_{base_id}_{epoch}"
    if len(os.fsencode(place)) > _MAX_PATH:
        raise UsageError(f"error: --socket-path {options.socket_path} is too long for a unix socket")
    return place


def _address(place: str) -> str:
    return "\0" + place[1:] if place.startswith("@") else place


def bind_place(options: Options, base_id: int, epoch: int) -> socket.socket:
    """A socket that listens in that place, without blocking. Raises `OSError`."""
    place = place_of(options, base_id, epoch)
    if not place.startswith("@") and not _answers(place):
        with suppress(FileNotFoundError):
            os.unlink(place)
    waiting = _new_socket()
    try:
        waiting.bind(_address(place))
        if not place.startswith("@"):
            os.chmod(place, options.socket_mode or _DEFAULT_MODE)
        waiting.listen(_BACKLOG)
    except OSError:
        waiting.close()
        raise
    waiting.setblocking(False)
    return waiting


def connect_place(options: Options, base_id: int, epoch: int, seconds: float) -> socket.socket:
    """A connection to the process of that epoch, which belongs to our user. Raises `OSError`."""
    connection = _new_socket()
    connection.settimeout(seconds)
    try:
        connection.connect(_address(place_of(options, base_id, epoch)))
        if peer_user(connection) != os.geteuid():
            raise PermissionError(errno.EPERM, "it belongs to another user")
    except OSError:
        connection.close()
        raise
    return connection


def release_place(options: Options, base_id: int, epoch: int) -> None:
    """Remove the file of a socket that is not abstract."""
    place = place_of(options, base_id, epoch)
    if not place.startswith("@"):
        with suppress(OSError):
            os.unlink(place)


def peer_user(connection: socket.socket) -> int:
    """The user id of the process at the other end."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[1])


def _answers(place: str) -> bool:
    probe = _new_socket()
    try:
        probe.connect(place)
    except OSError:
        return False
    finally:
        probe.close()
    return True


def _new_socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
