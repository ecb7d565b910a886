"""A scripted origin: keeps the exact bytes that each connection brought and answers as the test says.

One thread per connection; no asyncio, so that it works beside any loop. It understands just enough HTTP/1 to
know where a request ends; a script may take over the connection and do anything.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from tests.support.http_text import Message, parse_request

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-type: text/plain\r\n\r\nhello"


@dataclass
class Answer:
    """Bytes to send, in `pieces` with `pause` seconds between them, after `delay` seconds.

    `end`: "open" keeps the connection for the next request, "close" closes it, "reset" resets it.
    """

    pieces: bytes | Sequence[bytes] = HELLO
    end: str = "open"
    delay: float = 0.0
    pause: float = 0.01


class OriginConnection:
    """One accepted connection, from the side of a script."""

    def __init__(self, raw: socket.socket) -> None:
        self.socket = raw
        self.received = bytearray()
        self.ended = ""
        self._unread = b""

    def receive(self, timeout: float = 10.0) -> bytes:
        """The next bytes, b'' at the end of the stream, on a reset or on timeout."""
        if self._unread:
            data, self._unread = self._unread, b""
            return data
        try:
            self.socket.settimeout(timeout)
            data = self.socket.recv(1 << 16)
        except TimeoutError:
            return b""
        except OSError:
            self.ended = self.ended or "reset"
            return b""
        if not data:
            self.ended = self.ended or "closed"
        self.received += data
        return data

    def read_request(self) -> Message | None:
        """The next whole request, None if the stream ends before."""
        data = b""
        while True:
            try:
                message = parse_request(data)
            except ValueError:
                message = None
            if message is not None and message.complete:
                self._unread = data[len(message.raw) :]
                return message
            more = self.receive(timeout=60.0)
            if not more:
                return None
            data += more

    def send(self, data: bytes) -> None:
        """Send; a peer that is gone is no error."""
        with contextlib.suppress(OSError):
            self.socket.sendall(data)

    def reset(self) -> None:
        """Close with a TCP reset."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()

    def half_close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)


# What a script may be: bytes, an Answer, a list of those (one per request, the last one stays), or a function
# of request and connection that returns an answer, or None when it has answered itself.
Scripted = bytes | Answer
Script = Scripted | Sequence[Scripted] | Callable[[Message, OriginConnection], Scripted | None]


@dataclass
class _State:
    script: Script = HELLO
    answered: int = 0
    requests: list[Message] = field(default_factory=list)


class Origin:
    """A listening origin on `port`. Use as a context manager, or call `close`.

    `take_over`, if given, gets each raw connection instead of the HTTP reading loop.
    """

    def __init__(
        self,
        script: Script = HELLO,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        path: str | None = None,
        tls: ssl.SSLContext | None = None,
        take_over: Callable[[OriginConnection], None] | None = None,
    ) -> None:
        if path is not None:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(path)
            self.port = 0
        else:
            self._listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind((host, port))
            self.port = self._listener.getsockname()[1]
        self._listener.listen(128)
        self._tls = tls
        self._take_over = take_over
        self._lock = threading.Lock()
        self._state = _State(script)
        self._connections: list[OriginConnection] = []
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._accepting = threading.Thread(target=self._accept, name="origin", daemon=True)
        self._accepting.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def script(self, script: Script) -> None:
        """Answer so from now on, and forget the requests seen so far."""
        with self._lock:
            self._state = _State(script)

    @property
    def requests(self) -> list[Message]:
        """Every whole request since `script` was last called; `raw` has its exact bytes."""
        with self._lock:
            return list(self._state.requests)

    @property
    def connections(self) -> list[OriginConnection]:
        """Every connection since the start; `received` has its exact bytes, whole requests or not."""
        with self._lock:
            return list(self._connections)

    def wait_for_requests(self, count: int, timeout: float = 5.0) -> list[Message]:
        """At least `count` requests; AssertionError if they don't come in time."""
        deadline = time.monotonic() + timeout
        while len(self.requests) < count:
            assert time.monotonic() < deadline, f"{len(self.requests)} of {count} requests reached the origin"
            time.sleep(0.005)
        return self.requests

    def close_connections(self) -> None:
        """End every connection from this side."""
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(5)
        self._listener.close()
        self.close_connections()
        for thread in self._threads:
            thread.join(5)
        for connection in self.connections:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(raw,), name="origin-connection", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, raw: socket.socket) -> None:
        if self._tls is not None:
            raw.settimeout(10)
            try:
                raw = self._tls.wrap_socket(raw, server_side=True)
            except OSError:
                raw.close()
                return
        if raw.family != socket.AF_UNIX:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = OriginConnection(raw)
        with self._lock:
            self._connections.append(connection)
        try:
            if self._take_over is not None:
                self._take_over(connection)
            else:
                self._answer_requests(connection)
        finally:
            connection.close()

    def _answer_requests(self, connection: OriginConnection) -> None:
        while (request := connection.read_request()) is not None:
            with self._lock:
                state = self._state
                state.requests.append(request)
                number = state.answered
                state.answered += 1
            script = state.script
            answer: Scripted | None
            if callable(script):
                answer = script(request, connection)
            elif isinstance(script, (bytes, Answer)):
                answer = script
            else:
                answer = script[min(number, len(script) - 1)]
            if answer is None:
                continue
            if isinstance(answer, bytes):
                answer = Answer(answer)
            self._send(connection, answer)
            if answer.end == "reset":
                connection.reset()
                return
            if answer.end == "close":
                return

    @staticmethod
    def _send(connection: OriginConnection, answer: Answer) -> None:
        if answer.delay:
            time.sleep(answer.delay)
        pieces = [answer.pieces] if isinstance(answer.pieces, bytes) else answer.pieces
        for number, piece in enumerate(pieces):
            if number:
                time.sleep(answer.pause)
            connection.send(piece)
