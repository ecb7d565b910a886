"""Backends that close idle connections at their own time: no request may fail, none may be made twice."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from tests.support.configs import cluster, http_proxy
from tests.support.outrider import subject

#: 10,000 with OUTRIDER_TEST_LOAD=1.
REQUESTS = 10_000 if os.environ.get("OUTRIDER_TEST_LOAD") else 1_200
CLIENTS = 20


class Backend(asyncio.Protocol):
    """Answers whole requests in one read; closes after `idle()` seconds without one, whatever is on its way."""

    def __init__(
        self, seen: Counter[str], idle: Callable[[], float], field: str, live: set[asyncio.Transport]
    ) -> None:
        self._seen = seen
        self._live = live
        self._idle = idle
        self._answer = f"HTTP/1.1 200 OK\r\n{field}content-length: 2\r\n\r\nok".encode()
        self._buffer = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._live.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._live.discard(self._transport)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, blank, rest = self._buffer.partition(b"\r\n\r\n")
            size = 4 if head.startswith(b"POST") else 0
            if not blank or len(rest) < size:
                return
            self._buffer = rest[size:]
            self._seen[head.split(b" ")[1].decode()] += 1
            self._transport.write(self._answer)
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(self._idle(), self._transport.close)


async def _client(port: int, numbers: list[int], pause: Callable[[], float]) -> list[str]:
    """Sends GET and POST in turn on one connection; the statuses that are not 200."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    failures = []
    for number in numbers:
        method = "POST" if number % 3 == 0 else "GET"
        length = "content-length: 4\r\n" if method == "POST" else ""
        body = "body" if method == "POST" else ""
        writer.write(f"{method} /{number} HTTP/1.1\r\nhost: a\r\n{length}\r\n{body}".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        size = next(
            int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
        )
        answer = await reader.readexactly(size)
        if b" 200 " not in head[:20]:
            failures.append(f"{method} {head[:40]!r} {answer!r}")
        await asyncio.sleep(pause())
    writer.close()
    return failures


async def _load(
    idle: Callable[[], float],
    field: str,
    requests: int,
    pause: Callable[[], float],
    through: Callable[
        [int, Callable[[int], Awaitable[list[str]]]], Awaitable[tuple[list[str], dict[str, int]]]
    ],
) -> tuple[list[str], Counter[str], dict[str, int]]:
    seen: Counter[str] = Counter()
    live: set[asyncio.Transport] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: Backend(seen, idle, field, live), "127.0.0.1", 0
    )
    port = server.sockets[0].getsockname()[1]
    clients = min(CLIENTS, requests)

    async def play(proxy_port: int) -> list[str]:
        parts = [list(range(first, requests, clients)) for first in range(clients)]
        found = await asyncio.gather(*(_client(proxy_port, part, pause) for part in parts))
        return [failure for one in found for failure in one]

    try:
        failures, stats = await through(port, play)
    finally:
        server.close()
        for transport in live:
            transport.abort()
        # What was aborted is closed in the next turn of the loop.
        await asyncio.sleep(0)
    return failures, seen, stats


async def _through(
    port: int, play: Callable[[int], Awaitable[list[str]]]
) -> tuple[list[str], dict[str, int]]:
    config = http_proxy(clusters=[cluster("origin", port)])
    proxy = await asyncio.to_thread(subject(), config)
    try:
        failures = await play(proxy.port)
        return failures, await asyncio.to_thread(proxy.stats, "cluster.origin.")
    finally:
        await asyncio.to_thread(proxy.close)


@pytest.mark.parametrize("case", ["at random", "after 50 ms", "as told"])
def test_no_request_fails_or_is_made_twice(case: str) -> None:
    chance = random.Random(case)
    field, requests = "", REQUESTS
    idle: Callable[[], float] = lambda: chance.uniform(0.02, 0.1)  # noqa: E731
    pause: Callable[[], float] = lambda: chance.choice((0, 0, 0.01, 0.03, 0.06))  # noqa: E731
    if case == "after 50 ms":
        idle = lambda: 0.05  # noqa: E731
        pause = lambda: chance.choice((0, 0.045, 0.05, 0.055))  # noqa: E731
    elif case == "as told":
        field, requests = "keep-alive: timeout=1\r\n", 60
        idle = lambda: 1.0  # noqa: E731
        pause = lambda: chance.uniform(0.9, 1.05)  # noqa: E731
    failures, seen, stats = asyncio.run(_load(idle, field, requests, pause, _through))
    assert failures == []
    assert len(seen) == requests
    assert [path for path, times in seen.items() if times > 1] == []
    if case == "as told":
        assert stats.get("cluster.origin.upstream_rq_stale_retry", 0) == 0
