"""Opening what logs are written to, and writing without ever waiting for a reader.

A file is opened for appending, so that several workers (and several processes) can share it. Standard output
and error may be a pipe or terminal whose reader has stopped; they get an open file description of their own in
non-blocking mode, because the mode of the inherited one is shared with whoever started us.
"""

from __future__ import annotations

import os
import socket
import stat
from typing import Final

#: Paths that stand for the process's own streams, whatever `/dev` says: re-opening them fails for sockets and
#: after a change of user.
STANDARD_STREAMS: Final = {"/dev/stdout": 1, "/dev/stderr": 2}
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_MODE: Final = 0o644

#: The largest write to a pipe that is never interleaved with another process's: Linux's PIPE_BUF.
PIPE_CHUNK: Final = 4096


class Descriptor:
    """An open log. `chunk` is the largest write that stays whole, 0 for any size."""

    __slots__ = ("_socket", "chunk", "fd")

    def __init__(self, path: str) -> None:
        """Raises `OSError` if `path` cannot be opened."""
        stream = STANDARD_STREAMS.get(path)
        self._socket: socket.socket | None = None
        self.fd = os.open(path, _FLAGS, _MODE) if stream is None else _own_description(stream)
        mode = os.fstat(self.fd).st_mode
        waits = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(self.fd)
        self.chunk = PIPE_CHUNK if waits else 0
        if stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=self.fd)

    def write(self, data: bytes) -> int:
        """Bytes taken, perhaps fewer than offered. Raises `BlockingIOError` where it would wait, or `OSError`."""
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        return os.write(self.fd, data)

    def close(self) -> None:
        """Release the descriptor."""
        if self._socket is not None:
            self._socket.close()
        else:
            os.close(self.fd)


def _own_description(stream: int) -> int:
    mode = os.fstat(stream).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
        try:
            return os.open(
                f"/proc/self/fd/{stream}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
            )
        except OSError:
            # No /proc, or the stream belongs to another user: share the description as it is.
            return os.dup(stream)
    return os.dup(stream)


def check_path(path: str) -> str | None:
    """Why `path` cannot be logged to, or None. Creates a missing file, as opening it later would."""
    if path in STANDARD_STREAMS:
        return None
    try:
        fd = os.open(path, _FLAGS, _MODE)
    except OSError as error:
        return error.strerror or str(error)
    os.close(fd)
    return None
