"""A stream of reports without a network, for the unit tests of LRS and HDS."""

from __future__ import annotations

import asyncio
from typing import Any

from xds_client.errors import ConnectError


class Exchange:
    """`sent` are the messages that came, of `kind`; what is put into `coming` is read, errors are raised."""

    target = "server"
    server = 0

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self.sent: asyncio.Queue[Any] = asyncio.Queue()
        self.coming: asyncio.Queue[Any] = asyncio.Queue()

    async def write(self, message: bytes) -> None:
        self.sent.put_nowait(self._kind.FromString(message))

    async def read(self) -> bytes | None:
        message = await self.coming.get()
        if isinstance(message, Exception):
            raise message
        data: bytes | None = message
        return data

    async def close(self) -> None:
        """Nothing is open."""


class Connector:
    """Opens these one after the other, and then no more."""

    target = "server"

    def __init__(self, *outcomes: Exchange | ConnectError) -> None:
        self.outcomes = list(outcomes)

    async def open(self) -> Any:
        if not self.outcomes:
            await asyncio.Event().wait()
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, ConnectError):
            raise outcome
        return outcome

    async def close(self) -> None:
        """Nothing is open."""
