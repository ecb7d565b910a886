"""Steady load on one HTTP port from a thread: each request that fails is named.

Clients keep their connections, make one for each request, or speak HTTP/2. They do what good clients do: connect
again after `connection: close`, and send no stream on a connection that has said GOAWAY.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Self

from tests.support import http2_frames as h2

_REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
# :method GET, :path /, :scheme http, :authority a; all but the last by index.
_FIELDS = b"\x82\x84\x86\x41\x01a"
_STATUS_200 = b"\x88"
_PAUSE = 0.01
_ANSWER_SECONDS = 30.0


class SteadyLoad:
    """Use as a context manager. `answered` counts requests, told closes and GOAWAYs; `failed` what went wrong."""

    def __init__(self, port: int, *, keeping: int = 4, connecting: int = 2, http2: int = 2) -> None:
        self._port = port
        self._clients: list[Callable[[], Awaitable[None]]] = [
            *[self._keep] * keeping,
            *[self._connect] * connecting,
            *[self._http2] * http2,
        ]
        self._ending = False
        self.answered: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._thread.join(2 * _ANSWER_SECONDS)

    @property
    def requests(self) -> int:
        """Answered so far, of all kinds."""
        return self.answered["kept"] + self.answered["fresh"] + self.answered["http2"]

    async def _run(self) -> None:
        await asyncio.gather(*[client() for client in self._clients])

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port)

    async def _connect(self) -> None:
        while not self._ending:
            try:
                reader, writer = await self._open()
                await self._ask(reader, writer, "fresh")
                writer.close()
            except (OSError, EOFError, TimeoutError) as error:
                self.failed[f"fresh: {error!r}"] += 1
            await asyncio.sleep(_PAUSE)

    async def _keep(self) -> None:
        writer = None
        while not self._ending:
            try:
                if writer is None:
                    reader, writer = await self._open()
                if await self._ask(reader, writer, "kept"):
                    self.answered["told to close"] += 1
                    writer.close()
                    writer = None
            except (OSError, EOFError, TimeoutError) as error:
                self.failed[f"kept: {error!r}"] += 1
                writer = None
            await asyncio.sleep(_PAUSE)
        if writer is not None:
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: str) -> bool:
        """One request; whether the connection ends with it."""
        writer.write(_REQUEST)
        async with asyncio.timeout(_ANSWER_SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length or b"0"))
        if head.split(b" ", 2)[1] == b"200":
            self.answered[kind] += 1
        else:
            self.failed[f"{kind}: {head[:12]!r}"] += 1
        return b"\r\nconnection: close\r\n" in head

    async def _http2(self) -> None:
        while not self._ending:
            connection = _Http2(self)
            try:
                reader, writer = await self._open()
                await connection.run(reader, writer, lambda: self._ending)
                writer.close()
            except (OSError, EOFError, TimeoutError) as error:
                self.failed[f"http2: {error!r}, {len(connection.open)} open"] += max(1, len(connection.open))


class _Http2:
    def __init__(self, load: SteadyLoad) -> None:
        self._load = load
        self.open: set[int] = set()
        self._last: int | None = None

    async def run(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ending: Callable[[], bool]
    ) -> None:
        """Three streams at a time, until GOAWAY or the end."""
        writer.write(h2.PREFACE + h2.settings({}) + h2.window_update(0, 2**30))
        stream = 1
        while True:
            if self._last is None and not ending():
                for number in (stream, stream + 2, stream + 4):
                    self.open.add(number)
                    writer.write(h2.frame(h2.HEADERS, h2.END_STREAM | h2.END_HEADERS, number, _FIELDS))
                stream += 6
            while self.open:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await self._read(reader, writer)
            if self._last is not None or ending():
                return
            await asyncio.sleep(_PAUSE)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readexactly(9)
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
        payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
        failed: Counter[Any] = self._load.failed
        if kind == h2.SETTINGS and not flags & h2.ACK:
            writer.write(h2.frame(h2.SETTINGS, h2.ACK, 0, b""))
        elif kind == h2.GOAWAY:
            self._last = int.from_bytes(payload[:4], "big")
            self._load.answered["goaway"] += 1
            # What the other side says not to have processed may be sent again: that is no failure.
            self.open = {number for number in self.open if number <= self._last}
        elif kind == h2.RST_STREAM and stream in self.open:
            self.open.discard(stream)
            failed["http2: reset"] += 1
        elif kind == h2.HEADERS and not payload.startswith(_STATUS_200):
            failed["http2: status"] += 1
        if kind in {h2.DATA, h2.HEADERS} and flags & h2.END_STREAM and stream in self.open:
            self.open.discard(stream)
            self._load.answered["http2"] += 1
