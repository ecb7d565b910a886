"""Messages of a flush, and services that end, are away or do not read."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from envoy.config.core.v3 import base_pb2

from proxy.admin.config import AdminConfig
from proxy.base.stats import HistogramView
from proxy.stats_sinks import metrics_service
from proxy.stats_sinks.config import MetricsPlan
from proxy.stats_sinks.metrics_messages import StreamMetricsMessage
from proxy.stats_sinks.metrics_service import MetricsFormat, MetricsSink
from proxy.stats_sinks.snapshot import Counted, Snapshot
from xds_client.errors import ConnectError

SNAPSHOT = Snapshot(
    (Counted("cluster.a.upstream_rq_total", 9, 2),),
    {"cluster.a.membership_total": 3},
    {"cluster.a.upstream_rq_time": HistogramView({7: 2}, {7: 2, 8: 1})},
)
PLAN = MetricsPlan(None, deltas=False, labels=False, summaries=True, histograms=True, batch_size=0)


def families(**changes: Any) -> list[Any]:
    plan = MetricsPlan(**{name: getattr(PLAN, name) for name in PLAN.__struct_fields__} | changes)
    messages = MetricsFormat(plan, AdminConfig(), lambda: 1.5).messages(SNAPSHOT)
    return [one for message in messages for one in message.envoy_metrics]


def test_a_flush_has_all_kinds() -> None:
    counter, gauge, summary, histogram = families()
    assert (counter.metric[0].counter.value, counter.metric[0].timestamp_ms) == (9, 1500)
    assert gauge.metric[0].gauge.value == 3
    assert (summary.metric[0].summary.sample_count, len(summary.metric[0].summary.quantile)) == (2, 10)
    buckets = {one.upper_bound: one.cumulative_count for one in histogram.metric[0].histogram.bucket}
    assert (buckets[5.0], buckets[10.0]) == (0, 2)


def test_growth_and_labels_are_told_if_wanted() -> None:
    counter = families(deltas=True, labels=True)[0]
    assert (counter.name, counter.metric[0].counter.value) == ("cluster.upstream_rq_total", 2)
    assert [(one.name, one.value) for one in counter.metric[0].label] == [("envoy.cluster_name", "a")]


@pytest.mark.parametrize(("size", "expected"), [(0, [4]), (1, [1, 1, 1, 1]), (3, [3, 1]), (4, [4])])
def test_batches_have_a_size(size: int, expected: list[int]) -> None:
    plan = MetricsPlan(None, deltas=False, labels=False, summaries=True, histograms=True, batch_size=size)
    messages = MetricsFormat(plan, AdminConfig(), lambda: 0).messages(SNAPSHOT)
    assert [len(message.envoy_metrics) for message in messages] == expected


class Stream:
    target = "here"
    server = 0

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.ended = self.stuck = self.closed = False

    async def write(self, message: bytes) -> None:
        if self.ended:
            raise ConnectError("the stream has ended")
        if self.stuck:
            await asyncio.Event().wait()
        self.got.append(StreamMetricsMessage.FromString(message))

    async def read(self) -> bytes | None:
        return None

    async def close(self) -> None:
        self.closed = True


class Service:
    target = "here"

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.away = False

    async def open(self) -> Stream:
        if self.away:
            raise ConnectError("refused")
        self.streams.append(Stream())
        return self.streams[-1]

    async def close(self) -> None:
        pass


def sink(service: Service) -> MetricsSink:
    return MetricsSink(MetricsFormat(PLAN, AdminConfig(), lambda: 0), service, base_pb2.Node(id="n"))


def test_a_stream_that_has_ended_is_followed_by_another() -> None:
    async def scenario() -> Service:
        service = Service()
        one = sink(service)
        await one.flush(SNAPSHOT)
        await one.flush(SNAPSHOT)
        service.streams[0].ended = True
        await one.flush(SNAPSHOT)
        await one.close()
        return service

    first, second = asyncio.run(scenario()).streams
    assert [message.HasField("identifier") for message in first.got] == [True, False]
    assert [message.HasField("identifier") for message in second.got] == [True]
    assert first.closed
    assert second.closed


def test_a_service_that_is_away_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def scenario() -> Service:
        service = Service()
        service.away = True
        one = sink(service)
        for _ in range(5):
            await one.flush(SNAPSHOT)
        service.away = False
        await one.flush(SNAPSHOT)
        await one.close()
        return service

    assert len(asyncio.run(scenario()).streams[0].got) == 1
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_service_that_does_not_read_loses_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_service, "_WRITE_SECONDS", 0.01)

    async def scenario() -> Service:
        service = Service()
        one = sink(service)
        await one.flush(SNAPSHOT)
        service.streams[0].stuck = True
        await one.flush(SNAPSHOT)
        await one.close()
        return service

    first, second = asyncio.run(scenario()).streams
    assert first.closed
    assert len(second.got) == 1
