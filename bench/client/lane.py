"""What carries one request at a time: a connection of HTTP/1.1 or TCP, or one stream at a time of HTTP/2."""

from __future__ import annotations

import asyncio
import ssl
from abc import ABC, abstractmethod
from time import monotonic
from typing import TYPE_CHECKING, cast

from bench.client.requests import Request

if TYPE_CHECKING:
    from bench.client.load import Load


def connect_failure(error: OSError) -> str:
    """The kind of error that a failed connection counts as."""
    if isinstance(error, ssl.SSLError):
        return "certificate" if isinstance(error, ssl.SSLCertVerificationError) else "TLS"
    if isinstance(error, TimeoutError):
        return "connect timeout"
    return "connect refused" if isinstance(error, ConnectionRefusedError) else "connect"


class Lane(ABC):
    """Sends what the load gives it and tells it of each end.

    `due` is when the present request should have been sent, `sent` when it was (or its connection begun);
    `sent` is 0 while there is none.
    """

    def __init__(self, load: Load) -> None:
        self.load = load
        self.due = 0.0
        self.sent = 0.0
        self.request: Request

    def start(self, request: Request, due: float) -> None:
        """Send a request; the lane must be free."""
        self.request = request
        self.due = due
        self.sent = monotonic()
        self.send()

    @abstractmethod
    def send(self) -> None:
        """Send `request`, on a new connection if there is none."""

    @abstractmethod
    def drop(self, *, abort: bool = False) -> None:
        """Leave the connection, with `abort` what was to be written with it; what still comes is not heard."""

    def close(self) -> None:
        """The run is over."""
        self.sent = 0.0
        self.drop()

    def finish(self, status: str, failure: str = "", *, keep: bool = True) -> None:
        """The reply is complete; the connection is kept if it may be."""
        due, request = self.due, self.request
        self.sent = 0.0
        if not keep or self.load.options.new_connection:
            self.drop()
        now = monotonic()
        self.load.tally.answered(due, now, status, request.name, failure)
        self.load.freed(self, now)

    def fail(self, kind: str) -> None:
        """The request is lost, and with HTTP/1.1 and TCP the connection with it."""
        due = self.due
        self.sent = 0.0
        self.drop(abort=True)
        now = monotonic()
        self.load.tally.failed(due, now, kind)
        self.load.failed(self, now, kind)


class ConnectionLane(Lane, asyncio.Protocol):
    """A connection of its own; it connects when a request finds it unconnected."""

    def __init__(self, load: Load) -> None:
        super().__init__(load)
        self.transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None

    def send(self) -> None:
        """See `Lane`."""
        self.begin_reply()
        if self.transport is not None:
            self.transport.write(self.request.data)
        else:
            self._connecting = asyncio.get_running_loop().create_task(self._connect(), name="bench connect")

    def begin_reply(self) -> None:
        """Expect the reply to `request`."""

    def end_of_reply(self) -> bool:
        """The peer has closed; whether that completes the reply."""
        return False

    async def _connect(self) -> None:
        load = self.load
        try:
            transport, _ = await load.connect(lambda: self)
        except OSError as error:
            self.fail(connect_failure(error))
        else:
            if self.sent:
                load.tally.connections += 1
                transport.write(self.request.data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = cast("asyncio.Transport", transport)

    def drop(self, *, abort: bool = False) -> None:
        """See `Lane`."""
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.set_protocol(_Deaf())
            if abort:
                transport.abort()
            else:
                transport.close()
        if self._connecting is not None:
            if not self._connecting.done() and self._connecting is not asyncio.current_task():
                self._connecting.cancel()
            self._connecting = None

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.transport = None
        if not self.sent:
            return
        if error is None and self.end_of_reply():
            return
        self.fail("reset" if error is not None else "closed")


class _Deaf(asyncio.Protocol):
    """Of a connection that is being closed."""
