"""A raw HTTP/1 client: sends exactly the bytes it is given and reports exactly what came back."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from tests.support.http_text import Message, parse_responses

_REQUEST_LINE = re.compile(rb"^([A-Z]+) [^\r\n]* HTTP/1\.[01]\r?\n", re.MULTILINE)


@dataclass
class Reply:
    """What one connection brought.

    `end` is "open" (a whole reply came and the connection stayed), "closed", "reset", or "timeout" (the time
    was over before a whole reply came). `responses` lists what could be parsed, `rest` the bytes after it.
    """

    raw: bytes
    end: str
    responses: list[Message]
    rest: bytes
    seconds: float

    @property
    def response(self) -> Message:
        """The last response; AssertionError if there is none."""
        assert self.responses, f"no response, connection {self.end}, bytes: {self.raw!r}"
        return self.responses[-1]

    @property
    def status(self) -> int:
        return self.response.status


class Client:
    """One connection. Use as a context manager.

    `port` is on 127.0.0.1, or give `path` of a unix socket. `source` binds another loopback address. `tls` is
    a client context, with `server_name` as SNI.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        path: str | None = None,
        source: str | None = None,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        timeout: float = 5.0,
    ) -> None:
        self.timeout = timeout
        if path is not None:
            raw = socket.socket(socket.AF_UNIX)
            raw.settimeout(timeout)
            raw.connect(path)
        else:
            raw = socket.create_connection((host, port), timeout, (source, 0) if source else None)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket: socket.socket = tls.wrap_socket(raw, server_hostname=server_name) if tls else raw
        except BaseException:
            raw.close()
            raise
        self._data = b""
        self._end = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Close with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def half_close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def send(self, data: bytes | Sequence[bytes], pause: float = 0.01) -> None:
        """Send bytes, or pieces with `pause` seconds between them; a peer that closed already is no error."""
        pieces = [data] if isinstance(data, bytes) else data
        for number, piece in enumerate(pieces):
            if number:
                time.sleep(pause)
            try:
                self.socket.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                return

    def receive(self, deadline: float) -> bool:
        """Read once, until monotonic time `deadline`; False if nothing more will come (see `end`)."""
        left = deadline - time.monotonic()
        if left <= 0:
            self._end = "timeout"
            return False
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(1 << 16)
        except TimeoutError:
            self._end = "timeout"
            return False
        except ConnectionResetError:
            self._end = "reset"
            return False
        except ssl.SSLError:
            self._end = "closed"
            return False
        if not data:
            self._end = "closed"
            return False
        self._data += data
        return True

    def read(
        self, methods: Sequence[str] = ("GET",), *, timeout: float | None = None, until: str = "reply"
    ) -> Reply:
        """Collect replies to requests with these methods.

        `until="reply"`: stop when each request has its final response; if that announces `connection: close`,
        half-close and wait for the end. `until="close"`: read until the peer closes. Bytes after a whole
        reply stay for the next call.
        """
        started = time.monotonic()
        deadline = started + (self.timeout if timeout is None else timeout)
        self._end = ""
        while True:
            responses, rest = parse_responses(self._data, methods)
            final = [message for message in responses if message.complete and _is_final(message)]
            whole = len(final) >= len(methods)
            closing = bool(final) and _says_close(final[-1])
            if until == "reply" and whole and not closing:
                self._end = "open"
                break
            if until == "reply" and closing:
                self.half_close()
            if not self.receive(deadline):
                break
        ended = self._end in ("closed", "reset")
        responses, rest = parse_responses(self._data, methods, ended=ended)
        raw = self._data[: len(self._data) - len(rest)] if self._end == "open" else self._data
        self._data = self._data[len(raw) :]
        return Reply(raw, self._end, responses, rest, time.monotonic() - started)

    def request(self, data: bytes | Sequence[bytes], **options: object) -> Reply:
        """Send and read; the methods are taken from the bytes."""
        self.send(data)
        return self.read(methods_of(data), **options)  # type: ignore[arg-type]


def methods_of(data: bytes | Sequence[bytes]) -> list[str]:
    """The methods of the requests in the bytes, at least one."""
    joined = data if isinstance(data, bytes) else b"".join(data)
    return [name.decode() for name in _REQUEST_LINE.findall(joined)] or ["GET"]


def _is_final(message: Message) -> bool:
    return message.status == 101 or message.status >= 200 or message.status < 100


def _says_close(message: Message) -> bool:
    return any("close" in value.lower() for value in message.all("connection"))


def exchange(
    port: int,
    data: bytes | Sequence[bytes],
    *,
    timeout: float = 5.0,
    until: str = "reply",
    methods: Sequence[str] | None = None,
    half_close: bool = False,
    pause: float = 0.01,
    **connection: object,
) -> Reply:
    """One connection: send (in pieces, if a list), read, close."""
    with Client(port, timeout=timeout, **connection) as client:  # type: ignore[arg-type]
        client.send(data, pause)
        if half_close:
            client.half_close()
        return client.read(methods or methods_of(data), until=until)


def get(
    port: int, target: str = "/", *, host: str = "example.com", fields: str = "", timeout: float = 5.0
) -> Reply:
    """A plain GET; `fields` are further lines, each with its CRLF."""
    return exchange(port, f"GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n".encode(), timeout=timeout)
