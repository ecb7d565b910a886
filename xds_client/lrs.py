"""The stream of load reports (LRS): keeps it open, asks for reports when they are due, hands on what is answered.

What is reported is behind `LoadReports`, the transport behind `Connector`; nothing here counts load.
Source: envoy/service/load_stats/v3/lrs.proto.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Protocol

from envoy.service.load_stats.v3 import lrs_pb2
from msgspec import Struct

from xds_client.backoff import Backoff
from xds_client.messages import seconds
from xds_client.report_stream import ReportStream
from xds_client.stream import Connector, Exchange

METHOD: Final = "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats"

SUPPORTS_ALL_CLUSTERS: Final = "envoy.lrs.supports_send_all_clusters"
"""The client feature of the node that tells the server of `LoadStatsResponse.send_all_clusters`."""


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


class LoadReporter(ReportStream):
    """See module. `node` is a `core.v3.Node`, which goes with every report as in Envoy."""

    what = "load reports"
    way = "to"

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        reports: LoadReports,
        connector: Connector,
        node: Any,
        backoff: Backoff,
    ) -> None:
        super().__init__(loop, connector, backoff)
        self.counters = LoadReporterCounters()
        self._reports = reports
        self._node = type(node)()
        self._node.CopyFrom(node)
        self._node.client_features.append(SUPPORTS_ALL_CLUSTERS)

    def _count_end(self, *, failed: bool) -> None:
        self.counters.errors += failed

    def _count_retry(self) -> None:
        self.counters.retries += 1

    async def _send(self, exchange: Exchange) -> None:
        while True:
            request = await self._reports.report()
            request.node.CopyFrom(self._node)
            await exchange.write(request.SerializeToString())
            self.counters.responses += 1
            await self._until_due()

    def _take(self, data: bytes) -> None:
        response = lrs_pb2.LoadStatsResponse.FromString(data)
        self._backoff.reset()
        self.counters.requests += 1
        # Each answer begins the interval anew, as in Envoy.
        self._begin_interval(seconds(response.load_reporting_interval))
        self._reports.answered(response)
