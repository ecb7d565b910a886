"""TLS clients that wrk cannot play: one that resumes its session each time, and connections that do nothing."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator

from bench.load.children import cpus, pinned
from bench.load.generator import HOST, Load

_REQUEST = f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
_TIMEOUT = 20.0


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _connect(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), _TIMEOUT)
    # Or the request waits until the last flight of the handshake is acknowledged.
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def run_resumed(port: int, duration: float) -> Load:
    """One connection after another, each with the session of the one before; not to be resumed is an error."""
    context = _context()
    session: ssl.SSLSession | None = None
    times: list[float] = []
    errors = 0
    with pinned(cpus()[1]):
        started = now = time.monotonic()
        while now - started < duration:
            begun = now
            with (
                _connect(port) as plain,
                context.wrap_socket(plain, server_hostname=HOST, session=session) as secured,
            ):
                secured.sendall(_REQUEST)
                head = secured.recv(65536)
                while secured.recv(65536):
                    pass
                errors += not head.startswith(b"HTTP/1.1 2")
                errors += session is not None and not secured.session_reused
                session = secured.session
            now = time.monotonic()
            times.append(now - begun)
    times.sort()
    middle, late = times[len(times) // 2], times[len(times) * 99 // 100]
    return Load(len(times), errors, now - started, middle * 1000, late * 1000)


@contextlib.contextmanager
def idle_connections(port: int, count: int, *, tls: bool) -> Iterator[None]:
    """`count` connections that have had one answer each, and stay."""
    context = _context()
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            made = _connect(port)
            if tls:
                made = context.wrap_socket(made, server_hostname=HOST)
            stack.enter_context(made)
            made.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            made.recv(65536)
        yield
