"""The stream of health discovery (HDS): keeps it open, hands on what is to be checked, reports when it is due.

What is checked is behind `HealthReports`, the transport behind `Connector`; nothing here checks a host.
Source: envoy/service/health/v3/hds.proto.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, Protocol

from envoy.service.health.v3 import hds_pb2
from google.protobuf.message import DecodeError
from msgspec import Struct

from xds_client.backoff import Backoff
from xds_client.errors import ConnectError, RefusedSpecifierError
from xds_client.messages import seconds
from xds_client.stream import Connector, Exchange, converse

logger = logging.getLogger("xds_client")

METHOD: Final = "/envoy.service.health.v3.HealthDiscoveryService/StreamHealthCheck"

DEFAULT_INTERVAL: Final = 1.0
"""Seconds between two reports if the server says nothing of it, as in Envoy."""

SHORTEST_INTERVAL: Final = 0.1
"""Seconds between two reports at least: a server that asks for less would get nothing else done, nor would we."""


class HealthReporterCounters(Struct):
    """Envoy's `hds_delegate.*`, in its words: `requests` are those of the server, `responses` what we send."""

    requests: int = 0
    responses: int = 0
    errors: int = 0
    updates: int = 0


class HealthReports(Protocol):
    """What is checked."""

    def specified(self, data: bytes) -> None:
        """Check what a serialised `HealthCheckSpecifier` says from now on.

        Raises `RefusedSpecifierError` and changes nothing.
        """
        ...

    def report(self) -> Any:
        """An `EndpointHealthResponse` of what is known now."""
        ...


class HealthReporter:
    """See module. `node` is a `core.v3.Node`, which begins each stream."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        reports: HealthReports,
        connector: Connector,
        node: Any,
        backoff: Backoff,
    ) -> None:
        self.counters = HealthReporterCounters()
        self._loop = loop
        self._reports = reports
        self._connector = connector
        self._backoff = backoff
        self._node = node
        #: Seconds; None before the first specifier of a stream, which says when to report.
        self._interval: float | None = None
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect; idempotent."""
        if self._task is None:
            self._task = self._loop.create_task(self._run(), name="health discovery")

    async def close(self) -> None:
        """End the stream."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._connector.close()

    async def _run(self) -> None:
        while True:
            error = ""
            try:
                await self._once()
            except (ConnectError, ValueError) as failure:
                error = str(failure)
            except Exception as failure:
                # Whatever a library trips over, reports must not end for good.
                logger.exception("the stream of health discovery failed")
                error = f"{type(failure).__name__}: {failure}"
            self.counters.errors += 1
            delay = self._backoff.next()
            logger.warning(
                "health discovery from %s: %s; next attempt in %.1f s",
                self._connector.target,
                error or "closed by the server",
                delay,
            )
            await asyncio.sleep(delay)

    async def _once(self) -> None:
        """One stream, until it ends. Raises `ConnectError` and, for what cannot be decoded, `ValueError`."""
        exchange = await self._connector.open()
        self._interval = None
        self._changed.clear()
        await converse(exchange, self._send(exchange), self._receive(exchange))

    async def _send(self, exchange: Exchange) -> None:
        hello = hds_pb2.HealthCheckRequestOrEndpointHealthResponse()
        hello.health_check_request.node.CopyFrom(self._node)
        hello.health_check_request.capability.health_check_protocols.extend(
            [hds_pb2.Capability.HTTP, hds_pb2.Capability.TCP]
        )
        await self._write(exchange, hello)
        while True:
            await self._until_due()
            message = hds_pb2.HealthCheckRequestOrEndpointHealthResponse()
            message.endpoint_health_response.CopyFrom(self._reports.report())
            await self._write(exchange, message)

    async def _write(self, exchange: Exchange, message: Any) -> None:
        await exchange.write(message.SerializeToString())
        self.counters.responses += 1

    async def _until_due(self) -> None:
        """A specifier with another interval begins it anew, as in Envoy."""
        while True:
            try:
                async with asyncio.timeout(self._interval):
                    await self._changed.wait()
            except TimeoutError:
                return
            self._changed.clear()

    async def _receive(self, exchange: Exchange) -> None:
        while (data := await exchange.read()) is not None:
            try:
                specifier = hds_pb2.HealthCheckSpecifier.FromString(data)
            except DecodeError as error:
                raise ValueError(f"an answer cannot be decoded: {error}") from error
            self._backoff.reset()
            self.counters.requests += 1
            try:
                self._reports.specified(data)
            except RefusedSpecifierError as error:
                self.counters.errors += 1
                logger.warning(
                    "health discovery from %s: what is to be checked is refused, and nothing changes: %s",
                    self._connector.target,
                    error,
                )
                continue
            self.counters.updates += 1
            asked = seconds(specifier.interval) if specifier.HasField("interval") else DEFAULT_INTERVAL
            interval = max(SHORTEST_INTERVAL, asked)
            if interval != self._interval:
                self._interval = interval
                self._changed.set()
