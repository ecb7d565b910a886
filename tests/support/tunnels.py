"""Both ends of a tunnel through a proxy, driven by one thread: what one end sends, the other is to see.

The near end is a client, the far end what a scripted origin got; each speaks HTTP/1, HTTP/2 or (far) nothing but
bytes. All have the methods of `End`.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from tests.support import http2_frames as h2
from tests.support.client import Client
from tests.support.compare import masked
from tests.support.http2_client import Http2Client
from tests.support.http2_frames import Code
from tests.support.http2_origin import OriginStream
from tests.support.http_text import Message, parse_fields
from tests.support.origin import Answer, OriginConnection

#: Names and values of fields.
Fields = Sequence[tuple[str, str]]
#: How long to wait for what is to come, and to see that nothing more does.
_PATIENCE = 2.0
_SILENCE = 0.25


class End:
    """One end. `expect` waits until everything that was received is `data`; `view` is what can be compared."""

    def send(self, data: bytes) -> None:
        raise NotImplementedError

    def expect(self, data: bytes) -> bool:
        raise NotImplementedError

    def finish(self) -> None:
        """Send no more: half-close."""
        raise NotImplementedError

    def reset(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Leave, without a word."""
        raise NotImplementedError

    def view(self, *, ends: bool = True) -> tuple[object, ...]:
        """(head, bytes, how it ended), `ends` tells that an end is to come."""
        raise NotImplementedError


class TextEnd(End):
    """A socket with an HTTP/1 head in front of the bytes (unless `head` says that there was none)."""

    def __init__(self, connection: socket.socket, received: bytes = b"", *, head: bool = True) -> None:
        self.socket = connection
        self.received = received
        self.end = "open"
        self._head = head

    @property
    def payload(self) -> bytes:
        return self.received.partition(b"\r\n\r\n")[2] if self._head else self.received

    def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.socket.sendall(data)

    def receive(self, deadline: float) -> bool:
        """Read once; False at the end or when the time is over."""
        if self.end != "open":
            return False
        try:
            self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
            data = self.socket.recv(1 << 16)
        except TimeoutError:
            return False
        except OSError:
            self.end = "reset"
            return False
        if not data:
            self.end = "closed"
        self.received += data
        return bool(data)

    def expect(self, data: bytes) -> bool:
        deadline = time.monotonic() + _PATIENCE
        while self.payload != data and self.receive(deadline):
            pass
        return self.payload == data

    def wait_head(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while b"\r\n\r\n" not in self.received and self.receive(deadline):
            pass

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        OriginConnection(self.socket).reset()

    def close(self) -> None:
        self.socket.close()

    def view(self, *, ends: bool = True) -> tuple[object, ...]:
        deadline = time.monotonic() + (_PATIENCE if ends else _SILENCE)
        while self.receive(deadline):
            pass
        head: object = None
        if self._head:
            first, _, fields = self.received.partition(b"\r\n\r\n")[0].partition(b"\r\n")
            head = (first, sorted(masked(parse_fields(fields))))
        return head, self.payload, self.end


class NearText(TextEnd):
    """A client of HTTP/1."""

    def __init__(self, port: int, *, source: str | None = None) -> None:
        super().__init__(Client(port, source=source).socket)

    def ask(
        self, path: str = "/", authority: str = "a", *, protocol: str = "websocket", fields: Fields = ()
    ) -> None:
        """Ask for an upgrade to `protocol`; without one, CONNECT to the authority."""
        if protocol:
            head = (
                f"GET {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: Upgrade\r\nupgrade: {protocol}\r\n"
            )
        else:
            head = f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n"
        self.send((head + "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n").encode())

    @property
    def local_port(self) -> int:
        return int(self.socket.getsockname()[1])

    @property
    def status(self) -> int:
        """Of the answer, for which it waits; 0 if there is none."""
        self.wait_head()
        return int(self.received[9:12] or 0)


class NearFrames(End):
    """Stream 1 of a client of HTTP/2."""

    def __init__(self, port: int, **options: Any) -> None:
        self.client = Http2Client(port, timeout=_PATIENCE, **options)
        self.stream = self.client.stream(1)

    def ask(
        self, path: str = "/", authority: str = "a", *, protocol: str = "websocket", fields: Fields = ()
    ) -> None:
        """Ask for an upgrade to `protocol` (RFC 8441); without one, CONNECT to the authority."""
        pseudo = [(":method", "CONNECT"), (":authority", authority)]
        if protocol:
            pseudo += [(":scheme", "http"), (":path", path), (":protocol", protocol)]
        self.client.send(h2.headers(1, [*pseudo, *fields]))

    @property
    def local_port(self) -> int:
        return int(self.client.socket.getsockname()[1])

    @property
    def status(self) -> int:
        self.client.until(lambda client: bool(client.stream(1).heads) or client.stream(1).done)
        return self.stream.status

    def send(self, data: bytes) -> None:
        self.client.send(h2.data(1, data))

    def expect(self, data: bytes) -> bool:
        return self.client.until(lambda client: bytes(client.stream(1).body) == data)

    def finish(self) -> None:
        self.client.send(h2.data(1, end=True))

    def reset(self) -> None:
        self.client.send(h2.rst_stream(1, Code.CANCEL))

    def close(self) -> None:
        self.client.close()

    def view(self, *, ends: bool = True) -> tuple[object, ...]:
        if ends:
            self.client.read(1)
        self.client.settle()
        if not ends:
            self.client.until(lambda _: False, _SILENCE)
        return (*self.stream.summary(), self.client.end)


class FarFrames(End):
    """A stream that an HTTP/2 origin got."""

    def __init__(self, stream: OriginStream) -> None:
        self.stream = stream
        self._finished = False

    def answer(self, status: int, fields: Fields = (), *, end: bool = False) -> None:
        self.stream.head(status, fields, end=end)

    def answer_whole(self, status: int, body: bytes) -> None:
        """A head, a body and the end, in one segment."""
        head = h2.response(self.stream.id, status, [])
        self.stream.connection.send(head + h2.data(self.stream.id, body, end=True))

    def send(self, data: bytes) -> None:
        self.stream.data(data)

    def expect(self, data: bytes) -> bool:
        return self.stream.wait(lambda view: bytes(view.body) == data, _PATIENCE)

    def finish(self) -> None:
        self._finished = True
        self.stream.data(b"", end=True)

    def reset(self) -> None:
        self.stream.reset()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.stream.connection.socket.shutdown(socket.SHUT_RDWR)

    def view(self, *, ends: bool = True) -> tuple[object, ...]:
        if not ends:
            time.sleep(_SILENCE)
        elif self._finished and self.stream.wait(lambda view: view.done, 1.0):
            self.stream.connection.settle()
        else:
            self.stream.wait(lambda view: view.reset is not None, 1.0)
        return (*self.stream.view.summary(), self.stream.connection.end)


class FarText(TextEnd):
    """A connection that an HTTP/1 origin got."""

    def answer(self, status: int, fields: Fields = (), *, end: bool = False) -> None:
        """Without a length the body lasts until the close; `end` says that there is none."""
        head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields)
        self.send((head + ("content-length: 0\r\n" if end else "") + "\r\n").encode())

    def answer_whole(self, status: int, body: bytes) -> None:
        """A head, a body and the end, in one segment."""
        self.send(f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        self.finish()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class Arrivals:
    """Hands each request (or connection) that an origin gets to the thread of the test, until `release`.

    `text`, `frames` and `raw` are the scripts of an `Origin`, of an `Http2Origin`, and what takes over the
    connections of an `Origin`.
    """

    def __init__(self) -> None:
        self._queue: queue.Queue[Any] = queue.Queue()
        self._over = threading.Event()

    def hand_over(self, end: End) -> None:
        """Give `end` to the thread of the test, and wait for `release`."""
        over = self._over
        self._queue.put(end)
        over.wait(20)

    def text(self, request: Message, connection: OriginConnection) -> Answer:
        self.hand_over(FarText(connection.socket, bytes(connection.received)))
        return Answer(b"", end="close")

    def frames(self, stream: OriginStream) -> None:
        self.hand_over(FarFrames(stream))

    def raw(self, connection: OriginConnection) -> None:
        self.hand_over(FarText(connection.socket, head=False))

    def next(self, timeout: float = _PATIENCE) -> Any:
        """The next far end; queue.Empty if none comes in time."""
        return self._queue.get(timeout=timeout)

    def release(self) -> None:
        """Let the scripts end, and forget what nobody asked for."""
        self._over.set()
        self._over = threading.Event()
        while not self._queue.empty():
            self._queue.get()
