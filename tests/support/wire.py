"""A TCP connection path that can be disturbed: it stalls, forgets, tears, drips and refuses.

with Wire(server_port) as wire:
    # clients connect to wire.port
    wire.stall()
    wire.mend()
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any, Self

_CHUNK = 64 * 1024
_PAUSE = 0.02
#: Frames of HTTP/2 that only keep a connection going are shorter.
_MESSAGE = 200
_DRIP = 512
_RESET = struct.pack("ii", 1, 0)


class Wire:
    """See module. Everything but `port` may be called from a test; the sockets live on a thread of their own."""

    def __init__(self, target: int) -> None:
        self.torn = 0
        """How many messages were cut in the middle."""
        self._target = target
        self._flows = asyncio.Event()
        self._flows.set()
        self._dripping = False
        self._tear = False
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def mend(self) -> None:
        """Carry everything again. Connections that were forgotten stay so."""
        self._dripping = self._tear = False
        self._loop.call_soon_threadsafe(self._flows.set)
        self._call(self._listen)

    def stall(self) -> None:
        """Carry nothing; connections come about, and nobody is told anything."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def drip(self) -> None:
        """Carry what the server says a few bytes at a time."""
        self._dripping = True

    def tear(self) -> None:
        """Reset the connection in the middle of the next message from the server."""
        self._tear = True

    def forget(self) -> None:
        """Half-open: the server sees its connections closed, the clients are not told and get no answer."""
        self._call(self._forget)

    def refuse(self) -> None:
        """Reset every connection and refuse new ones."""
        self._call(self._refuse)

    def _call(self, work: Callable[[], Any]) -> None:
        asyncio.run_coroutine_threadsafe(work(), self._loop).result(10)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _forget(self) -> None:
        for link in self._links:
            link.forgotten = True
            link.server[1].close()

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for link in list(self._links):
            link.reset()

    async def _close(self) -> None:
        await self._refuse()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._flows.wait()
            server = await asyncio.open_connection("127.0.0.1", self._target)
            link = _Link((reader, writer), server)
            self._links.add(link)
            try:
                await asyncio.gather(
                    self._pump(link, reader, server[1], answers=False),
                    self._pump(link, server[0], writer, answers=True),
                )
            finally:
                self._links.discard(link)
                server[1].close()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _pump(
        self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        while data := await reader.read(_CHUNK):
            await self._flows.wait()
            if link.forgotten:
                continue
            if answers and self._tear and len(data) > _MESSAGE:
                self._tear = False
                self.torn += 1
                writer.write(data[: len(data) // 2])
                await writer.drain()
                await asyncio.sleep(_PAUSE)
                link.reset()
                return
            while answers and self._dripping and data:
                writer.write(data[:_DRIP])
                await writer.drain()
                data = data[_DRIP:]
                await asyncio.sleep(_PAUSE)
            writer.write(data)
            await writer.drain()
        if not link.forgotten:
            with contextlib.suppress(OSError):
                writer.close()


class _Link:
    """A client's connection, and the one to the server on its behalf."""

    def __init__(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.client = client
        self.server = server
        self.forgotten = False

    def reset(self) -> None:
        """Reset the client's connection, close the other."""
        writer = self.client[1]
        with contextlib.suppress(OSError):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()
        self.server[1].close()
