"""The stream of health discovery: when reports leave, and what ends a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.service.health.v3 import hds_pb2

from tests.support.report_stream import Connector, Exchange
from xds_client.backoff import Backoff
from xds_client.errors import ConnectError, RefusedSpecifierError
from xds_client.hds import HealthReporter
from xds_client.report_stream import SHORTEST_INTERVAL


class Reports:
    def __init__(self) -> None:
        self.specified_data: list[bytes] = []
        self.refuses = False

    def specified(self, data: bytes) -> None:
        if self.refuses:
            raise RefusedSpecifierError("no")
        self.specified_data.append(data)

    def report(self) -> Any:
        return hds_pb2.EndpointHealthResponse()


def specifier(interval: float | None) -> bytes:
    message = hds_pb2.HealthCheckSpecifier()
    message.cluster_health_checks.add(cluster_name="a")
    if interval is not None:
        message.interval.FromMicroseconds(int(interval * 1e6))
    return bytes(message.SerializeToString())


def run(scenario: Callable[[HealthReporter, Reports], Any], *exchanges: Exchange) -> None:
    async def main() -> None:
        reports = Reports()
        loop = asyncio.get_running_loop()
        backoff = Backoff(lambda: 0.0)
        reporter = HealthReporter(loop, reports, Connector(*exchanges), base_pb2.Node(id="me"), backoff)
        reporter.start()
        async with asyncio.timeout(20):
            await scenario(reporter, reports)
        await reporter.close()

    asyncio.run(main())


def test_reports_leave_from_the_first_specifier_on() -> None:
    exchange = Exchange(hds_pb2.HealthCheckRequestOrEndpointHealthResponse)

    async def scenario(reporter: HealthReporter, reports: Reports) -> None:
        hello = await exchange.sent.get()
        assert hello.health_check_request.node.id == "me"
        await asyncio.sleep(0.05)
        assert exchange.sent.empty()
        exchange.coming.put_nowait(specifier(0.05))
        for _ in range(2):
            assert (await exchange.sent.get()).HasField("endpoint_health_response")
        assert reports.specified_data == [specifier(0.05)]
        counters = reporter.counters
        assert (counters.requests, counters.updates, counters.errors) == (1, 1, 0)
        assert counters.responses >= 3

    run(scenario, exchange)


def test_a_server_that_asks_for_no_pause_does_not_keep_us_busy() -> None:
    exchange = Exchange(hds_pb2.HealthCheckRequestOrEndpointHealthResponse)

    async def scenario(_reporter: HealthReporter, _reports: Reports) -> None:
        exchange.coming.put_nowait(specifier(0))
        await exchange.sent.get()
        await exchange.sent.get()
        began = asyncio.get_running_loop().time()
        await exchange.sent.get()
        assert asyncio.get_running_loop().time() - began >= SHORTEST_INTERVAL / 2

    run(scenario, exchange)


def test_what_is_refused_counts_as_an_error_and_the_stream_goes_on() -> None:
    exchange = Exchange(hds_pb2.HealthCheckRequestOrEndpointHealthResponse)

    async def scenario(reporter: HealthReporter, reports: Reports) -> None:
        exchange.coming.put_nowait(specifier(0.1))
        await exchange.sent.get()
        await exchange.sent.get()
        reports.refuses = True
        exchange.coming.put_nowait(specifier(None))
        await exchange.sent.get()
        counters = reporter.counters
        assert (counters.requests, counters.updates, counters.errors) == (2, 1, 1)

    run(scenario, exchange)


def test_a_stream_that_ends_in_any_way_is_an_error_and_tried_again() -> None:
    garbled, broken, closed, last = (
        Exchange(hds_pb2.HealthCheckRequestOrEndpointHealthResponse) for _ in range(4)
    )

    async def scenario(reporter: HealthReporter, _reports: Reports) -> None:
        garbled.coming.put_nowait(b"\xff\xff\xff")
        broken.coming.put_nowait(ConnectError("gone"))
        closed.coming.put_nowait(None)
        assert (await last.sent.get()).HasField("health_check_request")
        assert (reporter.counters.errors, reporter.counters.requests) == (3, 0)

    run(scenario, garbled, broken, closed, last)
