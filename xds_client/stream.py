"""Keeps the stream of a mux open: connects, sends what is due, hands on what comes, and tries again.

The transport is behind `Connector`; nothing here knows of gRPC.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final, Protocol

from xds_client.api import StreamStatus
from xds_client.backoff import Backoff, RequestBucket
from xds_client.errors import ConnectError
from xds_client.messages import decode_response
from xds_client.mux import Mux

logger = logging.getLogger("xds_client")

MAX_WAITING_RESPONSES: Final = 16
"""Responses read ahead of the one that is applied; the transport's flow control holds back the rest."""


class Exchange(Protocol):
    """One open stream of messages. `server` tells which of several servers it is, from 0."""

    target: str
    server: int

    async def write(self, message: bytes) -> None:
        """Send one message. Raises `ConnectError`."""
        ...

    async def read(self) -> bytes | None:
        """The next message, None at the orderly end of the stream. Raises `ConnectError`."""
        ...

    async def close(self) -> None:
        """End it."""
        ...


class Connector(Protocol):
    """Opens streams to one of the servers of a source."""

    target: str

    async def open(self) -> Exchange:
        """Connect and open a stream. Raises `ConnectError` when no server can be reached."""
        ...

    async def close(self) -> None:
        """Give up what is kept between streams."""
        ...


async def converse(
    exchange: Exchange, sending: Coroutine[Any, Any, None], receiving: Coroutine[Any, Any, None]
) -> None:
    """Do both at once until one ends, then close `exchange`; raises what it ended with."""
    sender, receiver = asyncio.ensure_future(sending), asyncio.ensure_future(receiving)
    try:
        done, _ = await asyncio.wait((sender, receiver), return_when=asyncio.FIRST_COMPLETED)
        # The receiver knows the status of the stream; a failed write knows only that it has ended.
        if receiver not in done:
            done, _ = await asyncio.wait((receiver,), timeout=1.0)
        for task in done or (sender,):
            task.result()
    finally:
        sender.cancel()
        receiver.cancel()
        await asyncio.gather(sender, receiver, return_exceptions=True)
        await exchange.close()


class StreamRunner:
    """See module. `node` goes with every request, or with the first of a stream alone."""

    def __init__(
        self,
        mux: Mux,
        connector: Connector,
        node: Any,
        backoff: Backoff,
        bucket: RequestBucket | None,
        *,
        node_on_first_only: bool,
    ) -> None:
        self.mux = mux
        self._connector = connector
        self._node = node
        self._backoff = backoff
        self._bucket = bucket
        self._first_only = node_on_first_only
        self._due = asyncio.Event()
        self._connected_since = 0.0
        self._last_error = ""
        self._next_retry = 0.0
        self._target = connector.target
        self._task: asyncio.Task[None] | None = None
        mux.wake = self._due.set

    def start(self) -> None:
        """Begin to connect; idempotent."""
        if self._task is None:
            self._task = self.mux.loop.create_task(self._run(), name=f"xds_client stream {self.mux.source}")

    async def close(self) -> None:
        """End the stream and whatever is being applied."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.mux.close()
        await self._connector.close()

    def status(self) -> StreamStatus:
        """The snapshot for admin pages."""
        return StreamStatus(
            self.mux.source,
            self._target,
            bool(self._connected_since),
            self.mux.counters.identifier,
            self._last_error,
            self._connected_since,
            self._next_retry,
        )

    async def _run(self) -> None:
        while True:
            error = "closed by the server"
            try:
                await self._once()
            except ConnectError as failure:
                error = str(failure)
            except ValueError as failure:
                # What cannot be decoded has no nonce to refuse it by.
                error = str(failure)
            except Exception as failure:
                # Whatever a library trips over, the proxy must not lose its control plane for good.
                logger.exception("%s: the stream failed", self.mux.source)
                error = f"{type(failure).__name__}: {failure}"
            self._disconnected(error)
            delay = self._backoff.next()
            self._next_retry = self.mux.clock() + delay
            logger.warning(
                "%s: stream to %s: %s; next attempt in %.1f s", self.mux.source, self._target, error, delay
            )
            await asyncio.sleep(delay)
            self._next_retry = 0.0

    def _disconnected(self, error: str) -> None:
        self._last_error = error
        self._connected_since = 0.0
        self.mux.counters.connected_state = 0
        self.mux.counters.pending_requests = 0
        self.mux.disconnected()

    async def _once(self) -> None:
        exchange = await self._connector.open()
        self._target = exchange.target
        self._connected_since = self.mux.clock()
        self.mux.counters.connected_state = exchange.server + 1
        self._due.clear()
        self.mux.connected()
        await converse(exchange, self._send(exchange), self._receive(exchange))

    async def _send(self, exchange: Exchange) -> None:
        first = True
        counters = self.mux.counters
        while True:
            await self._due.wait()
            self._due.clear()
            while self.mux.due:
                while self._bucket is not None and (wait := self._bucket.take(self.mux.loop.time())):
                    counters.rate_limit_enforced += 1
                    counters.pending_requests = self.mux.due
                    await asyncio.sleep(wait)
                request = self.mux.next_request()
                if request is None:
                    break
                if first or not self._first_only:
                    request.node.CopyFrom(self._node)
                first = False
                await exchange.write(request.SerializeToString())
            counters.pending_requests = 0

    async def _receive(self, exchange: Exchange) -> None:
        while True:
            data = await exchange.read()
            if data is None:
                return
            response = decode_response(data, delta=self.mux.delta)
            self._backoff.reset()
            self._last_error = ""
            self.mux.received(response)
            await self.mux.room(MAX_WAITING_RESPONSES)
