"""Our own load generator, used where wrk is not installed and for clients that wrk cannot play.

Closed loop: each of `--connections` sends its next request when the reply to the last is there, and with
`--interval` not before so many seconds have passed; times then count from when a request was due. Prints
one JSON object: requests, errors, seconds, p50_ms, p99_ms. Modes: `keepalive`, `close` (a connection for each
request), `reconnect` (the same, but only the client closes), `paths` (a new path each time), `post` (a body of
2,000 bytes), `abort` (every second request is given up by closing the connection right after sending it).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import cast

import uvloop

_PATHS = 5000
_BODY = b"x" * 2000
MODES = ("keepalive", "close", "reconnect", "paths", "post", "abort")


@dataclass
class Tally:
    """What all connections have seen; times are seconds."""

    stop_at: float
    interval: float = 0.0
    times: list[float] = field(default_factory=list)
    requests: int = 0
    errors: int = 0

    def running(self) -> bool:
        """Whether another request may start."""
        return time.monotonic() < self.stop_at


def request_bytes(mode: str, host: str, number: int) -> bytes:
    """The request with this number (from 0) of a connection."""
    path = f"/path/{number % _PATHS}/item" if mode == "paths" else "/"
    head = f"{'POST' if mode == 'post' else 'GET'} {path} HTTP/1.1\r\nHost: {host}\r\n"
    if mode == "post":
        return head.encode() + b"Content-Length: %d\r\n\r\n" % len(_BODY) + _BODY
    return head.encode() + (b"Connection: close\r\n\r\n" if mode == "close" else b"\r\n")


class ClientProtocol(asyncio.Protocol):
    """One connection; `lost` is done when it is over."""

    def __init__(self, mode: str, host: str, tally: Tally, lost: asyncio.Future[None]) -> None:
        self._mode = mode
        self._host = host
        self._tally = tally
        self._lost = lost
        self._data = b""
        self._sent = 0.0
        self._due = 0.0
        self._number = 0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def _next(self) -> None:
        if not self._tally.running():
            self._sent = 0.0
            self._transport.close()
            return
        now = time.monotonic()
        due = self._due + self._tally.interval
        if self._tally.interval and due > now:
            self._sent = 0.0
            asyncio.get_running_loop().call_later(due - now, self._next)
            return
        self._due = self._sent = due if self._tally.interval and self._due else now
        self._transport.write(request_bytes(self._mode, self._host, self._number))
        self._number += 1
        if self._mode == "abort" and self._number % 2 == 0:
            self._sent = 0.0
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Count a whole reply, then go on."""
        data = self._data + data if self._data else data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._data = data
            return
        length = data[:end].lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if len(data) < end + 4 + int(length or 0):
            self._data = data
            return
        self._data = b""
        tally = self._tally
        tally.times.append(time.monotonic() - self._sent)
        tally.requests += 1
        tally.errors += not data.startswith(b"HTTP/1.1 2")
        if self._mode in {"close", "reconnect"}:
            self._sent = 0.0
            self._transport.close()
        else:
            self._next()

    def connection_lost(self, error: Exception | None) -> None:
        """A connection that ends with a request unanswered is an error."""
        del error
        self._tally.errors += bool(self._sent)
        self._lost.set_result(None)


async def _worker(port: int, mode: str, host: str, tally: Tally) -> None:
    loop = asyncio.get_running_loop()

    def protocol() -> ClientProtocol:
        return ClientProtocol(mode, host, tally, lost)

    while tally.running():
        lost = loop.create_future()
        try:
            await loop.create_connection(protocol, "127.0.0.1", port)
        except OSError:
            tally.errors += 1
            await asyncio.sleep(0.01)
            continue
        await lost


async def _run(
    port: int, mode: str, host: str, connections: int, duration: float, interval: float
) -> dict[str, float]:
    started = time.monotonic()
    tally = Tally(started + duration, interval)
    await asyncio.wait_for(
        asyncio.gather(*(_worker(port, mode, host, tally) for _ in range(connections))), duration + 15
    )
    times = sorted(tally.times) or [0.0]
    return {
        "requests": tally.requests,
        "errors": tally.errors,
        "seconds": time.monotonic() - started,
        "p50_ms": times[len(times) // 2] * 1000,
        "p99_ms": times[len(times) * 99 // 100] * 1000,
    }


def main() -> None:
    """Run and print the result as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.load.client")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--mode", choices=MODES, default="keepalive")
    parser.add_argument("--host", default="bench.example.com")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--duration", type=float, default=4.0, help="seconds")
    parser.add_argument("--interval", type=float, default=0.0, help="least seconds from request to request")
    given = parser.parse_args()
    run = _run(given.port, given.mode, given.host, given.connections, given.duration, given.interval)
    print(json.dumps(uvloop.run(run)))


if __name__ == "__main__":
    main()
