"""Upstream hosts that die, hang, reset and come back by a schedule, and paced clients that count what fails."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
_BODY = b"body"
#: No linger: what is closed is reset.
_RESET = struct.pack("ii", 1, 0)
#: A request of ours is given up after so many seconds, which is a failure.
_PATIENCE = 20.0


class State(Enum):
    """What a host does to its clients."""

    WELL = "answers"
    DEAD = "listens no more, and its connections are closed"
    HANGS = "takes requests and answers none"
    RESETS = "resets each connection that brings a request"


class Change(NamedTuple):
    """At so many seconds a host of that number comes to be so."""

    at: float
    host: int
    state: State


def schedule(seed: str, hosts: int, seconds: float, *, most: int) -> list[Change]:
    """Troubles of 0.3 to 1.5 seconds, at most `most` at a time; everybody is well in the last two seconds."""
    chance = random.Random(seed)
    changes: list[Change] = []
    well_again = dict.fromkeys(range(hosts), 0.0)
    now = 0.2
    while now < seconds - 3.5:
        well = [host for host, when in well_again.items() if when <= now]
        if hosts - len(well) < most:
            host = chance.choice(well)
            until = now + chance.uniform(0.3, 1.5)
            changes.append(Change(now, host, chance.choice((State.DEAD, State.HANGS, State.RESETS))))
            changes.append(Change(until, host, State.WELL))
            # A host that is back has a moment's rest.
            well_again[host] = until + 0.1
        now += chance.uniform(0.05, 0.25)
    return sorted(changes, key=lambda change: change.at)


class Host:
    """One upstream on a port of its own. `seen` counts the requests that came whole, by path."""

    def __init__(self, seen: Counter[str]) -> None:
        self.seen = seen
        self.state = State.WELL
        self.port = 0
        self.live: set[asyncio.Transport] = set()
        self._server: asyncio.Server | None = None

    async def listen(self) -> None:
        """Take connections, on the same port as before if there was one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), "127.0.0.1", self.port, backlog=512
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def become(self, state: State) -> None:
        """Change, as a process that ends or starts: what was connected to it before is not any more."""
        before, self.state = self.state, state
        if state is State.DEAD or (state is State.WELL and before is State.HANGS):
            self._drop()
        if state is State.DEAD and self._server is not None:
            self._server.close()
            self._server = None
        if state is State.WELL and self._server is None:
            await self.listen()

    async def close(self) -> None:
        """End for good."""
        if self._server is not None:
            self._server.close()
        self._drop()
        # What was aborted is closed in the next turn of the loop.
        await asyncio.sleep(0)

    def _drop(self) -> None:
        for transport in list(self.live):
            transport.abort()


class _Connection(asyncio.Protocol):
    def __init__(self, host: Host) -> None:
        self._host = host
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._host.live.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._host.live.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, blank, rest = self._buffer.partition(b"\r\n\r\n")
            size = len(_BODY) if head.startswith(b"POST") else 0
            if not blank or len(rest) < size:
                return
            self._buffer = rest[size:]
            self._host.seen[head.split(b" ")[1].decode()] += 1
            if self._host.state is State.WELL:
                self._transport.write(_ANSWER)
            elif self._host.state is State.RESETS:
                raw: socket.socket = self._transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self._transport.abort()
                return


class Clients:
    """Requests at a steady pace to one proxy, each on a kept connection that is free or a new one."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        #: What was sent, and what came of what failed, by kind.
        self.sent: Counter[str] = Counter()
        self.failed: dict[str, Counter[str]] = {}

    async def play(self, kinds: Mapping[str, str], rate: float, seconds: float) -> None:
        """`rate` requests a second, in turn of each of `kinds`: the beginning of the path, and the method."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        tasks = []
        for number, kind in zip(range(int(rate * seconds)), _in_turn(list(kinds)), strict=False):
            await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
            tasks.append(loop.create_task(self._request(kind, kinds[kind], number)))
        await asyncio.gather(*tasks)

    def close(self) -> None:
        """Close what is kept."""
        for _, writer in self._free:
            writer.transport.abort()

    async def _request(self, kind: str, method: str, number: int) -> None:
        self.sent[kind] += 1
        try:
            async with asyncio.timeout(_PATIENCE):
                status = await self._exchange(f"/{kind}/{number}", method)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            status = type(error).__name__
        if status != "200":
            self.failed.setdefault(kind, Counter())[status] += 1

    async def _exchange(self, path: str, method: str) -> str:
        if self._free:
            reader, writer = self._free.pop()
        else:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            body = _BODY if method == "POST" else b""
            length = f"content-length: {len(body)}\r\n" if body else ""
            writer.write(f"{method} {path} HTTP/1.1\r\nhost: a\r\n{length}\r\n".encode() + body)
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.split(": ", 1) for line in head.decode().lower().split("\r\n")[1:-2])
            await reader.readexactly(int(fields["content-length"]))
        except BaseException:
            writer.transport.abort()
            raise
        if fields.get("connection") == "close":
            writer.transport.abort()
        else:
            self._free.append((reader, writer))
        return head.split(b" ")[1].decode()


def _in_turn(kinds: Sequence[str]) -> Iterator[str]:
    while True:
        yield from kinds


async def trouble(changes: Sequence[Change], fleets: Sequence[Sequence[Host]]) -> None:
    """Play the schedule on each of the fleets."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for change in changes:
        await asyncio.sleep(max(0.0, began + change.at - loop.time()))
        for fleet in fleets:
            await fleet[change.host].become(change.state)
