"""Checks by TCP: connect, and if something is to be received, send and wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from proxy.upstream.cluster_config import ClusterConfig
from proxy.upstream.health_check.config import TcpCheck
from proxy.upstream.health_check.http_probe import BROKEN, Result, payload_found
from proxy.upstream.host import Host
from proxy.upstream.pool.connect import ConnectError, open_connection

#: Received bytes that are kept while what is wanted has not come; a host that sends more is not what was meant.
_MOST_BYTES = 1024 * 1024


class TcpProber:
    """The checks of one host, one after another on one connection if that may be used again.

    `on_lost` is called when the connection ends between two checks: a failure in itself, as in Envoy.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        check: TcpCheck,
        host: Host,
        config: ClusterConfig,
        transport_config: Any,
        on_lost: Callable[[], None],
        *,
        reuse: bool,
    ) -> None:
        self._loop = loop
        self._check = check
        self._host = host
        self._config = config
        self._transport_config = transport_config
        self._on_lost = on_lost
        self._reuse = reuse
        self._done: Callable[[Result], None] | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._connection: _Connection | None = None

    def start(self, done: Callable[[Result], None]) -> None:
        """Check once; `done` hears of the result unless `cancel` comes first."""
        self._done = done
        if self._connection is not None:
            self._connection.ask(self._check.send)
            return
        self._connecting = self._loop.create_task(
            self._connect(), name=f"health check {self._host.address} of {self._config.name}"
        )

    def cancel(self) -> None:
        """Give up and close the connection."""
        self._done = None
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        self._close()

    close = cancel

    async def _connect(self) -> None:
        connection = _Connection(self)
        try:
            await open_connection(self._loop, self._host, self._config, connection, self._transport_config)
        except ConnectError:
            self._connecting = None
            self._finish(BROKEN)
            return
        except asyncio.CancelledError:
            connection.close()
            raise
        self._connecting = None
        if not self._check.receive:
            connection.close()
            self._finish(Result())
        elif connection.ended:
            self._finish(BROKEN)
        else:
            self._connection = connection
            connection.ask(self._check.send)

    def received(self, connection: _Connection, data: bytearray) -> None:
        """More has come, `data` in all."""
        if connection is not self._connection or self._done is None:
            return
        if payload_found(self._check.receive, bytes(data)):
            data.clear()
            if not self._reuse:
                self._close()
            self._finish(Result())
        elif len(data) > _MOST_BYTES:
            self._close()
            self._finish(BROKEN)

    def lost(self, connection: _Connection) -> None:
        """The connection has ended, and not by us."""
        if connection is not self._connection:
            return
        self._connection = None
        if self._done is None:
            self._on_lost()
        else:
            self._finish(BROKEN)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _finish(self, result: Result) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(result)


class _Connection(asyncio.Protocol):
    def __init__(self, prober: TcpProber) -> None:
        self._prober = prober
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The loop's own class, which does not derive from asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, data: bytes) -> None:
        assert self._transport is not None
        if data:
            self._transport.write(data)
        if self._received:
            # A host that speaks first may have done so already.
            self._prober.received(self, self._received)

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._prober.received(self, self._received)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.ended = True
        self._prober.lost(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
