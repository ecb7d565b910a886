from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.service.load_stats.v3 import lrs_pb2

from tests.support.report_stream import Connector, Exchange
from xds_client.backoff import Backoff
from xds_client.errors import ConnectError
from xds_client.lrs import SUPPORTS_ALL_CLUSTERS, LoadReporter
from xds_client.report_stream import SHORTEST_INTERVAL


class Reports:
    def __init__(self) -> None:
        self.answers: list[Any] = []

    async def report(self) -> Any:
        return lrs_pb2.LoadStatsRequest()

    def answered(self, response: Any) -> None:
        self.answers.append(response)


def answer(interval: float) -> bytes:
    response = lrs_pb2.LoadStatsResponse(clusters=["c"])
    response.load_reporting_interval.FromMicroseconds(int(interval * 1e6))
    return bytes(response.SerializeToString())


def run(scenario: Callable[[LoadReporter, Reports], Any], *outcomes: Exchange | ConnectError) -> None:
    async def main() -> None:
        reports = Reports()
        reporter = LoadReporter(
            asyncio.get_running_loop(),
            reports,
            Connector(*outcomes),
            base_pb2.Node(id="me"),
            Backoff(lambda: 0.0),
        )
        reporter.start()
        async with asyncio.timeout(20):
            await scenario(reporter, reports)
        await reporter.close()

    asyncio.run(main())


def test_the_first_report_is_sent_at_once_and_the_next_one_when_asked_for() -> None:
    exchange = Exchange(lrs_pb2.LoadStatsRequest)

    async def scenario(reporter: LoadReporter, reports: Reports) -> None:
        first = await exchange.sent.get()
        assert first.node.id == "me"
        assert list(first.node.client_features) == [SUPPORTS_ALL_CLUSTERS]
        exchange.coming.put_nowait(answer(0))
        await exchange.sent.get()
        await exchange.sent.get()
        assert [list(one.clusters) for one in reports.answers] == [["c"]]
        counters = reporter.counters
        assert (counters.requests, counters.errors, counters.retries) == (1, 0, 0)
        assert counters.responses >= 2

    run(scenario, exchange)


def test_a_server_that_asks_for_no_interval_does_not_keep_us_busy() -> None:
    exchange = Exchange(lrs_pb2.LoadStatsRequest)

    async def scenario(_reporter: LoadReporter, _reports: Reports) -> None:
        await exchange.sent.get()
        exchange.coming.put_nowait(answer(0))
        await exchange.sent.get()
        began = asyncio.get_running_loop().time()
        await exchange.sent.get()
        assert asyncio.get_running_loop().time() - began >= SHORTEST_INTERVAL / 2

    run(scenario, exchange)


def test_a_stream_that_breaks_off_is_an_error_and_tried_again() -> None:
    first, second = Exchange(lrs_pb2.LoadStatsRequest), Exchange(lrs_pb2.LoadStatsRequest)

    async def scenario(reporter: LoadReporter, _reports: Reports) -> None:
        await first.sent.get()
        first.coming.put_nowait(ConnectError("gone"))
        await second.sent.get()
        assert (reporter.counters.errors, reporter.counters.retries) == (2, 2)

    run(scenario, first, ConnectError("refused"), second)


def test_a_stream_that_ends_in_order_is_no_error() -> None:
    first, second = Exchange(lrs_pb2.LoadStatsRequest), Exchange(lrs_pb2.LoadStatsRequest)

    async def scenario(reporter: LoadReporter, _reports: Reports) -> None:
        await first.sent.get()
        first.coming.put_nowait(None)
        await second.sent.get()
        assert (reporter.counters.errors, reporter.counters.retries) == (0, 1)

    run(scenario, first, second)


def test_an_answer_that_is_no_message_ends_the_stream() -> None:
    first, second = Exchange(lrs_pb2.LoadStatsRequest), Exchange(lrs_pb2.LoadStatsRequest)

    async def scenario(reporter: LoadReporter, reports: Reports) -> None:
        await first.sent.get()
        first.coming.put_nowait(b"\xff\xff")
        await second.sent.get()
        assert reporter.counters.errors == 1
        assert reports.answers == []

    run(scenario, first, second)
