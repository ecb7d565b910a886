"""The stream of load reports (LRS): keeps it open, asks for reports when they are due, hands on what is answered.

What is reported is behind `LoadReports`, the transport behind `Connector`; nothing here counts load.
Source: envoy/service/load_stats/v3/lrs.proto.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, Protocol

from envoy.service.load_stats.v3 import lrs_pb2
from google.protobuf.message import DecodeError
from msgspec import Struct

from xds_client.backoff import Backoff
from xds_client.errors import ConnectError
from xds_client.messages import seconds
from xds_client.stream import Connector, Exchange, converse

logger = logging.getLogger("xds_client")

METHOD: Final = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats"

SUPPORTS_ALL_CLUSTERS: Final = "envoy.lrs.supports_send_all_clusters"
"""The client feature of the node that tells the server of `LoadStatsResponse.send_all_clusters`."""

SHORTEST_INTERVAL: Final = 0.1
"""Seconds between two reports at least: a server that asks for less would get nothing else done, nor would we."""


class LoadReporterCounters(Struct):
    """Envoy's `load_reporter.*`, in its words: `requests` are those of the server, `responses` our reports."""

    requests: int = 0
    responses: int = 0
    errors: int = 0
    retries: int = 0


class LoadReports(Protocol):
    """What has been counted."""

    async def report(self) -> Any:
        """A `LoadStatsRequest` of all that was counted since the last one; its node is filled in by the caller."""
        ...

    def answered(self, response: Any) -> None:
        """The server has said with a `LoadStatsResponse` what to count from now on."""
        ...


class LoadReporter:
    """See module. `node` is a `core.v3.Node`, which goes with every report as in Envoy."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        reports: LoadReports,
        connector: Connector,
        node: Any,
        backoff: Backoff,
    ) -> None:
        self.counters = LoadReporterCounters()
        self._loop = loop
        self._reports = reports
        self._connector = connector
        self._backoff = backoff
        self._node = type(node)()
        self._node.CopyFrom(node)
        self._node.client_features.append(SUPPORTS_ALL_CLUSTERS)
        #: Seconds; None before the first answer, which says when to report.
        self._interval: float | None = None
        self._answered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect; idempotent."""
        if self._task is None:
            self._task = self._loop.create_task(self._run(), name="load reports")

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
                logger.exception("the stream of load reports failed")
                error = f"{type(failure).__name__}: {failure}"
            if error:
                self.counters.errors += 1
            delay = self._backoff.next()
            logger.warning(
                "load reports to %s: %s; next attempt in %.1f s",
                self._connector.target,
                error or "closed by the server",
                delay,
            )
            await asyncio.sleep(delay)
            self.counters.retries += 1

    async def _once(self) -> None:
        """One stream, until it ends. Raises `ConnectError` and, for what cannot be decoded, `ValueError`."""
        exchange = await self._connector.open()
        await converse(exchange, self._send(exchange), self._receive(exchange))

    async def _send(self, exchange: Exchange) -> None:
        self._answered.clear()
        while True:
            request = await self._reports.report()
            request.node.CopyFrom(self._node)
            await exchange.write(request.SerializeToString())
            self.counters.responses += 1
            await self._until_due()

    async def _until_due(self) -> None:
        """Each answer begins the interval anew, as in Envoy."""
        while True:
            try:
                async with asyncio.timeout(self._interval):
                    await self._answered.wait()
            except TimeoutError:
                return
            self._answered.clear()

    async def _receive(self, exchange: Exchange) -> None:
        while True:
            data = await exchange.read()
            if data is None:
                return
            try:
                response = lrs_pb2.LoadStatsResponse.FromString(data)
            except DecodeError as error:
                raise ValueError(f"an answer cannot be decoded: {error}") from error
            self._backoff.reset()
            self.counters.requests += 1
            self._interval = max(SHORTEST_INTERVAL, seconds(response.load_reporting_interval))
            self._reports.answered(response)
            self._answered.set()
