"""A stream of reports to a control plane (LRS, HDS): kept open, with reports that leave when they are due."""

from __future__ import annotations

import asyncio
import logging
from typing import ClassVar, Final

from google.protobuf.message import DecodeError

from xds_client.backoff import Backoff
from xds_client.errors import ConnectError
from xds_client.stream import Connector, Exchange, converse

logger = logging.getLogger("xds_client")

SHORTEST_INTERVAL: Final = 0.1
"""Seconds between two reports at least: a server that asks for less would get nothing else done, nor would we."""


class ReportStream:
    """See module. `what` and `way` ("to") name it in logs; an answer begins the interval of reports."""

    what: ClassVar[str]
    way: ClassVar[str]

    def __init__(self, loop: asyncio.AbstractEventLoop, connector: Connector, backoff: Backoff) -> None:
        self._loop = loop
        self._connector = connector
        self._backoff = backoff
        #: Seconds; None before the first answer, which says when to report.
        self._interval: float | None = None
        self._answered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect; idempotent."""
        if self._task is None:
            self._task = self._loop.create_task(self._run(), name=self.what)

    async def close(self) -> None:
        """End the stream."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._connector.close()

    def _count_end(self, *, failed: bool) -> None:
        """A stream has ended; unless it `failed`, the server has closed it."""
        raise NotImplementedError

    def _count_retry(self) -> None:
        """The next stream is about to be opened."""

    async def _send(self, exchange: Exchange) -> None:
        """Report for as long as the stream lasts."""
        raise NotImplementedError

    def _take(self, data: bytes) -> None:
        """An answer has come. Raises `DecodeError`, which ends the stream."""
        raise NotImplementedError

    async def _run(self) -> None:
        while True:
            error = ""
            try:
                await self._once()
            except ConnectError as failure:
                error = str(failure)
            except DecodeError as failure:
                error = f"an answer cannot be decoded: {failure}"
            except Exception as failure:
                # Whatever a library trips over, reports must not end for good.
                logger.exception("the stream of %s failed", self.what)
                error = f"{type(failure).__name__}: {failure}"
            self._count_end(failed=bool(error))
            delay = self._backoff.next()
            logger.warning(
                "%s %s %s: %s; next attempt in %.1f s",
                self.what,
                self.way,
                self._connector.target,
                error or "closed by the server",
                delay,
            )
            await asyncio.sleep(delay)
            self._count_retry()

    async def _once(self) -> None:
        """One stream, until it ends. Raises `ConnectError` and `DecodeError`."""
        exchange = await self._connector.open()
        self._answered.clear()
        await converse(exchange, self._send(exchange), self._receive(exchange))

    async def _receive(self, exchange: Exchange) -> None:
        while (data := await exchange.read()) is not None:
            self._take(data)

    async def _until_due(self) -> None:
        """Wait for the end of the interval, which `_begin_interval` begins anew."""
        while True:
            try:
                async with asyncio.timeout(self._interval):
                    await self._answered.wait()
            except TimeoutError:
                return
            self._answered.clear()

    def _begin_interval(self, seconds: float) -> None:
        self._interval = max(SHORTEST_INTERVAL, seconds)
        self._answered.set()
