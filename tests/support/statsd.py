"""A server of statsd that keeps what it is told, over UDP or TCP; an origin for `Pair` of `differential`."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

_POLL_SECONDS = 0.02


class StatsdServer:
    """`lines` has every line in the order of arrival, `pieces` the datagrams."""

    requests: list[Any] = []  # noqa: RUF012 - no origin: nobody writes to it

    def __init__(self, *, stream: bool = False, port: int = 0) -> None:
        kind = socket.SOCK_STREAM if stream else socket.SOCK_DGRAM
        self._socket = socket.socket(socket.AF_INET, kind)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        self.lines: list[str] = []
        self.pieces: list[bytes] = []
        if stream:
            self._socket.listen()
        self._connections: list[socket.socket] = []
        self._closed = False
        self._thread = threading.Thread(target=self._accept if stream else self._receive, daemon=True)
        self._thread.start()

    def script(self, _script: Any) -> None:
        """It answers nothing."""

    def _receive(self) -> None:
        while not self._closed:
            try:
                data = self._socket.recv(65536)
            except OSError:
                return
            self.pieces.append(data)
            self.lines += data.decode().split("\n")

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        rest = b""
        while True:
            try:
                data = connection.recv(65536)
            except OSError:
                return
            if not data:
                return
            *whole, rest = (rest + data).split(b"\n")
            self.lines += [line.decode() for line in whole]

    def close(self) -> None:
        """Hear no more."""
        self._closed = True
        for one in (*self._connections, self._socket):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _parsed(self, kind: str) -> Iterator[tuple[str, str, float]]:
        """(name, tags in order, value times what its rate stands for) of the lines of a kind."""
        for line in list(self.lines):
            head, _, tags = line.partition("|#")
            name, _, rest = head.rpartition(":")
            value, found, *rate = rest.split("|")
            if found == kind:
                weight = round(1 / float(rate[0][1:])) if rate else 1
                yield name, ",".join(sorted(tags.split(","))), float(value) if kind != "ms" else weight

    def counters(self, part: str) -> dict[tuple[str, str], int]:
        """The sum of the deltas by name and tags, of names with `part`."""
        total: Counter[tuple[str, str]] = Counter()
        for name, tags, value in self._parsed("c"):
            if part in name:
                total[name, tags] += int(value)
        return dict(total)

    def gauges(self, part: str) -> dict[tuple[str, str], int]:
        """The last value by name and tags."""
        return {(name, tags): int(value) for name, tags, value in self._parsed("g") if part in name}

    def recorded(self, part: str) -> dict[tuple[str, str], int]:
        """How many values histograms have recorded."""
        total: Counter[tuple[str, str]] = Counter()
        for name, tags, weight in self._parsed("ms"):
            if part in name:
                total[name, tags] += int(weight)
        return dict(total)

    def wait_for(self, done: Callable[[], bool], limit: float = 10.0) -> None:
        """Until `done`; fails after `limit` seconds."""
        deadline = time.monotonic() + limit
        while not done():
            assert time.monotonic() < deadline, f"not told within {limit} s: {self.lines[-20:]}"
            time.sleep(_POLL_SECONDS)
