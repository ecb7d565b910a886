"""Ends of connections that can close their halves one by one, as `ssl.SSLSocket` cannot."""

from __future__ import annotations

import contextlib
import socket
import ssl


class TlsEnd:
    """A connection over `raw`, shaken hands. With `server_name` it is the client's end."""

    def __init__(self, raw: socket.socket, context: ssl.SSLContext, server_name: str | None = None) -> None:
        self.raw = raw
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_name is None, server_hostname=server_name
        )
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
        self._flush()

    def send(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()

    def finish(self) -> None:
        """Say that no more will come; the connection stays."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._flush()

    def receive(self, until: bytes = b"") -> str:
        """What comes until it holds `until`, or till the end: then with " ended", " cut" without close_notify."""
        got = b""
        while not until or until not in got:
            try:
                data = self._tls.read(65536)
            except ssl.SSLWantReadError:
                if not self._fill():
                    return f"{got.decode()} cut"
                continue
            except ssl.SSLZeroReturnError:
                data = b""
            if not data:
                return f"{got.decode()} ended"
            got += data
        return got.decode()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self.raw.sendall(data)

    def _fill(self) -> bytes:
        data = self.raw.recv(65536)
        self._incoming.write(data)
        return data


class PlainEnd:
    """The same without TLS."""

    def __init__(self, raw: socket.socket) -> None:
        self.raw = raw

    def send(self, data: bytes) -> None:
        self.raw.sendall(data)

    def finish(self) -> None:
        self.raw.shutdown(socket.SHUT_WR)

    def receive(self, until: bytes = b"") -> str:
        """See `TlsEnd`."""
        got = b""
        while not until or until not in got:
            data = self.raw.recv(65536)
            if not data:
                return f"{got.decode()} ended"
            got += data
        return got.decode()
