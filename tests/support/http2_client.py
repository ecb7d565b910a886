"""A raw HTTP/2 client: sends exactly the frames it is given and reports what came back, in comparable form."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from tests.support import http2_frames as h2
from tests.support.http2_peer import Http2Peer, StreamView


class Http2Client(Http2Peer):
    """One connection. Use as a context manager.

    Starts with the preface and SETTINGS of `settings`, unless `start` is false. `receive_buffer` limits the
    socket's buffer, so that a client that does not read is felt soon. `tls` is a client context, with
    `server_name` as SNI. `source` is the address that it connects from.
    """

    def __init__(
        self,
        port: int,
        *,
        settings: Mapping[int, int] | None = None,
        start: bool = True,
        receive_buffer: int | None = None,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        source: str = "",
        timeout: float = 5.0,
        **options: Any,
    ) -> None:
        raw = socket.socket()
        raw.settimeout(timeout)
        try:
            if receive_buffer is not None:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if source:
                raw.bind((source, 0))
            raw.connect(("127.0.0.1", port))
            connection = tls.wrap_socket(raw, server_hostname=server_name) if tls else raw
        except BaseException:
            raw.close()
            raise
        super().__init__(connection, **options)
        self.timeout = timeout
        if start:
            self.send(h2.PREFACE + h2.settings(settings or {}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def until(self, condition: Callable[[Self], bool], timeout: float | None = None) -> bool:
        """Read until the condition holds; False if the connection ends or the time is over before."""
        deadline = time.monotonic() + (self.timeout if timeout is None else timeout)
        while not condition(self):
            if not self.receive(deadline):
                return condition(self)
        return True

    def read(self, *stream_ids: int, timeout: float | None = None) -> StreamView:
        """Read until these streams have ended or were reset; the last of them, as far as it came."""
        self.until(lambda client: all(client.stream(number).done for number in stream_ids), timeout)
        return self.stream(stream_ids[-1])

    def read_to_end(self, timeout: float | None = None) -> str:
        """Read until the peer closes; `closed`, `reset`, or `open` if it does not in time."""
        self.until(lambda client: client.end != "open", timeout)
        return self.end

    def settle(self, timeout: float | None = None) -> bool:
        """A PING there and back: everything sent before has been handled. False if the connection ended."""
        payload = b"%08d" % (len(self.acked_pings) + 10_000_000)
        self.send(h2.ping(payload))
        return self.until(lambda client: payload in client.acked_pings, timeout)

    def request(self, stream_id: int, path: str = "/", **options: Any) -> StreamView:
        """A request without a body and its answer; `options` are those of `http2_frames.request`."""
        self.send(h2.request(stream_id, path, **options))
        return self.read(stream_id)

    def summary(self) -> dict[str, object]:
        """All streams, GOAWAYs (without debug data) and the end of the connection."""
        return {
            "streams": {number: view.summary() for number, view in sorted(self.streams.items())},
            "goaways": [(last, code) for last, code, _ in self.goaways],
            "end": self.end,
        }

    def verdict(self) -> tuple[object, ...]:
        """Only who ended what: (stream → status and end, GOAWAYs, end of the connection)."""
        return (
            {number: (view.status, view.end) for number, view in sorted(self.streams.items())},
            [(last, code) for last, code, _ in self.goaways],
            self.end,
        )


def exchange(
    port: int,
    frames: bytes | Sequence[bytes],
    *stream_ids: int,
    timeout: float = 5.0,
    pause: float = 0.0,
    **options: Any,
) -> Http2Client:
    """One connection: send (a list piece by piece if there is a `pause`), read until the streams are done.

    Without stream ids, read until the peer closes. The client that is returned is closed.
    """
    client = Http2Client(port, timeout=timeout, **options)
    with contextlib.closing(client):
        pieces = [frames] if isinstance(frames, bytes) else frames
        if pause:
            for piece in pieces:
                client.send(piece)
                time.sleep(pause)
        else:
            client.send(pieces)
        if stream_ids:
            client.read(*stream_ids, timeout=timeout)
        else:
            client.read_to_end(timeout)
    return client
