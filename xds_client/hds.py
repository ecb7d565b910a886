"""The stream of health discovery (HDS): keeps it open, hands on what is to be checked, reports when it is due.

What is checked is behind `HealthReports`, the transport behind `Connector`; nothing here checks a host.
Source: envoy/service/health/v3/hds.proto.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, Protocol

from envoy.service.health.v3 import hds_pb2
from msgspec import Struct

from xds_client.backoff import Backoff
from xds_client.errors import RefusedSpecifierError
from xds_client.messages import seconds
from xds_client.report_stream import ReportStream
from xds_client.stream import Connector, Exchange

logger = logging.getLogger("xds_client")

METHOD: Final = "/envoy.service.health.v3.HealthDiscoveryService/StreamHealthCheck"

DEFAULT_INTERVAL: Final = 1.0
"""Seconds between two reports if the server says nothing of it, as in Envoy."""


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


class HealthReporter(ReportStream):
    """See module. `node` is a `core.v3.Node`, which begins each stream."""

    what = "health discovery"
    way = "from"

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        reports: HealthReports,
        connector: Connector,
        node: Any,
        backoff: Backoff,
    ) -> None:
        super().__init__(loop, connector, backoff)
        self.counters = HealthReporterCounters()
        self._reports = reports
        self._node = node
        #: Seconds between reports as the server of this stream has asked for, None before it has.
        self._asked: float | None = None

    def _count_end(self, *, failed: bool) -> None:
        del failed
        self.counters.errors += 1

    async def _send(self, exchange: Exchange) -> None:
        self._asked = self._interval = None
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

    def _take(self, data: bytes) -> None:
        specifier = hds_pb2.HealthCheckSpecifier.FromString(data)
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
            return
        self.counters.updates += 1
        asked = seconds(specifier.interval) if specifier.HasField("interval") else DEFAULT_INTERVAL
        # The same interval goes on, as in Envoy.
        if asked != self._asked:
            self._asked = asked
            self._begin_interval(asked)
