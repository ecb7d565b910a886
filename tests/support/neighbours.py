"""Origins that both sides of a pair share: one port on many loopback addresses; each says which address it is."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any, Self

from tests.support.configs import Json, address


def neighbour(number: int, **fields: Any) -> Json:
    """The endpoint 127.0.1.`number`; its port is `{{neighbours_port}}`."""
    return {"endpoint": {"address": address("{{neighbours_port}}", f"127.0.1.{number}")}, **fields}


class Neighbours:
    """Answers every request with the last number of the address that was asked. Use as a context manager."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("0.0.0.0", 0), backlog=512)
        self.port: int = self._socket.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, name="neighbours", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A thread that waits in accept() is woken by the shutdown, not by the close.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._thread.join(5.0)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        name = connection.getsockname()[0].rpartition(".")[2].encode()
        reply = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(name), name)
        unread = b""
        with connection:
            while True:
                try:
                    data = connection.recv(1 << 16)
                    unread += data
                    *heads, unread = unread.split(b"\r\n\r\n")
                    connection.sendall(reply * len(heads))
                except OSError:
                    break
                if not data:
                    break
        self._open.discard(connection)
