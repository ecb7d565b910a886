"""How the bytes of statsd leave: as datagrams, or over a connection. What a peer that is away misses is dropped."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Final

from proxy.base.address import Address
from proxy.base.errors import ConfigError
from xds_client.api import Surroundings
from xds_client.dial import dial
from xds_client.errors import ConnectError
from xds_client.hosts import ServerCluster

logger = logging.getLogger("proxy.stats_sinks")

MAX_BUFFERED: Final = 16 * 1024 * 1024
"""Bytes that a connection may hold before it is closed with what it holds, `MAX_BUFFERED_STATS_BYTES` of Envoy."""


class Trouble:
    """One line of the log when something begins to fail, one when it is well again."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._failing = False

    def failed(self, why: object) -> None:
        """It failed."""
        if not self._failing:
            self._failing = True
            logger.warning("stats cannot be sent to %s: %s; they are dropped until they can", self._what, why)

    def worked(self) -> None:
        """It worked."""
        if self._failing:
            self._failing = False
            logger.info("stats are sent to %s again", self._what)


class DatagramSender:
    """Datagrams to an IP address or a unix socket; what cannot leave at once is dropped, as in Envoy."""

    def __init__(self, address: Address) -> None:
        self._place = address.sockaddr
        self._socket = socket.socket(address.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._trouble = Trouble(str(address))

    def send(self, datagram: bytes) -> None:
        """Send one."""
        try:
            self._socket.sendto(datagram, self._place)
        except OSError as error:
            self._trouble.failed(error)
        else:
            self._trouble.worked()

    def close(self) -> None:
        """Send no more."""
        self._socket.close()


class StreamSender:
    """A connection to a static cluster, made when there is something to send. `overflows` counts as Envoy does."""

    def __init__(self, cluster: str, surroundings: Surroundings) -> None:
        self._cluster = cluster
        self._surroundings = surroundings
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._trouble = Trouble(f"the cluster '{cluster}'")
        self.overflows = 0

    async def ready(self) -> bool:
        """Connect unless connected; whether that is so now."""
        if self._streams is not None and not self._ended():
            return True
        self.close()
        try:
            self._streams = await self._connect()
        except (ConfigError, ConnectError, OSError, TimeoutError) as error:
            self._trouble.failed(error)
            return False
        self._trouble.worked()
        return True

    def write(self, data: bytes) -> None:
        """Send `data` if `ready`; what is too much for the peer is dropped with the connection."""
        if self._streams is None:
            return
        transport = self._streams[1].transport
        if transport.get_write_buffer_size() > MAX_BUFFERED:
            self.overflows += 1
            self._trouble.failed(f"it has not read {MAX_BUFFERED} bytes")
            self.close()
            return
        self._streams[1].write(data)

    def close(self) -> None:
        """End the connection with what it holds."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def finish(self, limit: float) -> None:
        """As `close`, once what waits has left, or `limit` seconds are over."""
        if self._streams is None:
            return
        writer = self._streams[1]
        writer.close()
        try:
            async with asyncio.timeout(limit):
                await writer.wait_closed()
        except (OSError, TimeoutError):
            pass
        self.close()

    def _ended(self) -> bool:
        assert self._streams is not None
        reader, writer = self._streams
        return writer.is_closing() or reader.at_eof() or reader.exception() is not None

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        cluster = ServerCluster(self._cluster, self._surroundings)
        errors: list[str] = []
        for host in await cluster.hosts(asyncio.get_running_loop()):
            try:
                return await dial(host, cluster.tls(), cluster.connect_timeout)
            except ConnectError as error:
                errors.append(str(error))
        raise ConnectError("; ".join(dict.fromkeys(errors)))
