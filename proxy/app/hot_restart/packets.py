"""One end of a connection between two processes of a hot restart, on an event loop."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from proxy.app.hot_restart.messages import MAX_DESCRIPTORS, MAX_PACKET_BYTES
from proxy.base.errors import HotRestartError

logger = logging.getLogger("proxy.app.hot_restart")

# So many bytes wait for a process that does not read; then it is given up.
_MAX_WAITING_BYTES: Final = 256 * 1024 * 1024
_FLAGS: Final = socket.MSG_CMSG_CLOEXEC


def receive(connection: socket.socket) -> tuple[bytes, list[socket.socket]]:
    """One packet with its sockets; b"" at the end. Raises `HotRestartError` and `OSError`."""
    packet, descriptors, flags, _peer = socket.recv_fds(
        connection, MAX_PACKET_BYTES + 1, MAX_DESCRIPTORS, _FLAGS
    )
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        for descriptor in descriptors:
            os.close(descriptor)
        raise HotRestartError("a packet that is too long")
    sockets: list[socket.socket] = []
    try:
        for descriptor in descriptors:
            sockets.append(socket.socket(fileno=descriptor))  # noqa: PERF401 - those before it are to be closed
    except OSError as error:
        for one in sockets:
            one.close()
        for descriptor in descriptors[len(sockets) :]:
            os.close(descriptor)
        raise HotRestartError("a descriptor that is no socket") from error
    return packet, sockets


class PacketConnection:
    """`on_packet` gets each packet with the sockets that came with it, which are its own then; it may raise
    `HotRestartError`, which ends the connection. `on_lost` is called once, unless `close` was."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: socket.socket,
        on_packet: Callable[[bytes, list[socket.socket]], None],
        on_lost: Callable[[str], None],
    ) -> None:
        connection.setblocking(False)
        self._loop = loop
        self._socket = connection
        self._on_packet = on_packet
        self._on_lost = on_lost
        self._waiting: deque[tuple[bytes, list[socket.socket]]] = deque()
        self._waiting_bytes = 0
        self._reset = False
        self.closed = False
        # libuv watches no longer once an error waits in a socket, as when the other end closes unread.
        # What it watches here has none.
        self._watch = select.epoll()
        self._watch.register(connection, select.EPOLLIN)
        loop.add_reader(self._watch, self._read)

    def send(self, packet: bytes, sockets: Sequence[socket.socket] = ()) -> None:
        """Queue one packet; `sockets` stay the caller's. Nothing happens after the end."""
        if self.closed:
            return
        self._waiting.append((packet, [one.dup() for one in sockets]))
        self._waiting_bytes += len(packet)
        if self._waiting_bytes > _MAX_WAITING_BYTES:
            self._lose("it does not read")
        else:
            self._write()

    def flush(self, seconds: float) -> None:
        """Send what waits, blocking for at most so long."""
        if not self.closed:
            self._loop.remove_writer(self._socket)
            self._socket.settimeout(seconds)
            self._write()

    def close(self) -> None:
        """End it; `on_lost` is not called."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._watch)
        self._watch.close()
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._drop_waiting()

    def _drop_waiting(self) -> None:
        for _packet, sockets in self._waiting:
            for one in sockets:
                one.close()
        self._waiting.clear()
        self._waiting_bytes = 0

    def _read(self) -> None:
        if self.closed:
            return
        try:
            packet, sockets = receive(self._socket)
            if packet:
                self._on_packet(packet, sockets)
                return
            reason = "it has ended"
        except BlockingIOError:
            return
        except ConnectionResetError:
            # It had not read all that we said when it closed. What it has said before is still there.
            if not self._reset:
                self._reset = True
                self._loop.call_soon(self._read)
                return
            reason = "it has ended"
        except (OSError, HotRestartError) as error:
            reason = str(error)
        self._lose(reason)

    def _write(self) -> None:
        while self._waiting:
            packet, sockets = self._waiting[0]
            try:
                socket.send_fds(self._socket, [packet], [one.fileno() for one in sockets])
            except BlockingIOError:
                self._loop.add_writer(self._socket, self._write)
                return
            except OSError as error:
                # What it has said before it went is still to be read, and then its end.
                logger.debug("the other process of the hot restart does not listen: %s", error)
                self._drop_waiting()
                break
            self._waiting.popleft()
            self._waiting_bytes -= len(packet)
            for one in sockets:
                one.close()
        self._loop.remove_writer(self._socket)

    def _lose(self, reason: str) -> None:
        if not self.closed:
            self.close()
            self._on_lost(reason)
