"""The ends of UDP tests: an origin that answers datagrams, and a client."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

Answers = Callable[[bytes], Sequence[bytes]]


def echo(data: bytes) -> Sequence[bytes]:
    """The datagram itself."""
    return (data,)


class UdpOrigin:
    """Answers each datagram on `port` with those of `answers`; `received` are the datagrams with their senders."""

    def __init__(self, answers: Answers = echo, host: str = "127.0.0.1") -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self.port: int = self._socket.getsockname()[1]
        self.received: list[tuple[bytes, tuple[str, int]]] = []
        self._answers = answers
        self._thread = threading.Thread(target=self._serve, name="udp origin", daemon=True)
        self._closed = False
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def datagrams(self) -> list[bytes]:
        """What came, without the senders."""
        return [data for data, _sender in self.received]

    def wait_for(self, count: int, timeout: float = 5.0) -> list[bytes]:
        """At least `count` datagrams; AssertionError if they don't come in time."""
        deadline = time.monotonic() + timeout
        while len(self.received) < count:
            assert time.monotonic() < deadline, (
                f"{len(self.received)} of {count} datagrams reached the origin"
            )
            time.sleep(0.005)
        return self.datagrams

    def send(self, data: bytes, client: tuple[str, int]) -> None:
        """Send something that was not asked for."""
        self._socket.sendto(data, client)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._thread.join(5)
            self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                data, sender = self._socket.recvfrom(1 << 16)
            except OSError:
                return
            if self._closed:
                return
            self.received.append((data, sender))
            for answer in self._answers(data):
                with contextlib.suppress(OSError):
                    self._socket.sendto(answer, sender)


class UdpClient:
    """A client of one proxy; `source` is the address that it sends from. Use as a context manager."""

    def __init__(self, port: int, *, host: str = "127.0.0.1", source: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((source, 0))
        # Connected, so that an answer from another address than the one asked is not taken.
        self.socket.connect((host, port))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self.socket.send(data)

    def receive(self, timeout: float = 5.0) -> bytes | None:
        """The next datagram, None if none comes in time or nobody is there."""
        self.socket.settimeout(timeout)
        try:
            return self.socket.recv(1 << 16)
        except OSError:
            return None

    def ask(self, data: bytes, timeout: float = 5.0) -> bytes | None:
        """Send a datagram and take the next one."""
        self.send(data)
        return self.receive(timeout)

    def close(self) -> None:
        self.socket.close()


def udp_address(port: str | int, host: str = "127.0.0.1") -> dict[str, Any]:
    """An Address message for datagrams."""
    return {"socket_address": {"protocol": "UDP", "address": host, "port_value": port}}
