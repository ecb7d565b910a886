"""The sink that streams stats to a `MetricsService` by gRPC.

Source: envoy/config/metrics/v3/metrics_service.proto. Each flush is one message, or as many as `batch_size`
asks for.
A service that is away or does not read misses flushes: nothing is kept for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Final

from proxy.admin.config import AdminConfig
from proxy.admin.histograms import QUANTILES, approximate_sum, cumulative_buckets, quantiles
from proxy.base.stats import HistogramView
from proxy.discovery.turns import Turns
from proxy.stats_sinks.config import MetricsPlan
from proxy.stats_sinks.metrics_messages import (
    COUNTER,
    GAUGE,
    HISTOGRAM,
    SUMMARY,
    MetricFamily,
    StreamMetricsMessage,
)
from proxy.stats_sinks.senders import Trouble
from proxy.stats_sinks.snapshot import Snapshot
from xds_client.errors import ConnectError
from xds_client.stream import Connector, Exchange

_WRITE_SECONDS: Final = 5.0
"""How long one message may wait for a service that does not read."""


class MetricsFormat:
    """A snapshot as messages. `now` gives Unix seconds."""

    def __init__(self, plan: MetricsPlan, admin: AdminConfig, now: Callable[[], float]) -> None:
        self._plan = plan
        self._admin = admin
        self._now = now

    def messages(self, snapshot: Snapshot) -> Iterator[Any]:
        """`StreamMetricsMessage`s without an identifier."""
        message = StreamMetricsMessage()
        for family in self._families(snapshot):
            message.envoy_metrics.append(family)
            if len(message.envoy_metrics) == self._plan.batch_size:
                yield message
                message = StreamMetricsMessage()
        if len(message.envoy_metrics):
            yield message

    def _families(self, snapshot: Snapshot) -> Iterator[Any]:
        at = int(self._now() * 1000)
        for counter in snapshot.counters:
            family = self._family(counter.name, COUNTER, at)
            family.metric[0].counter.value = counter.delta if self._plan.deltas else counter.value
            yield family
        for name, value in snapshot.gauges.items():
            family = self._family(name, GAUGE, at)
            family.metric[0].gauge.value = value
            yield family
        for name, view in snapshot.histograms.items():
            if self._plan.summaries:
                family = self._family(name, SUMMARY, at)
                self._summary(family.metric[0].summary, view)
                yield family
            if self._plan.histograms:
                family = self._family(name, HISTOGRAM, at)
                self._histogram(family.metric[0].histogram, name, view)
                yield family

    def _family(self, name: str, kind: int, at: int) -> Any:
        """One with a metric that has no value yet."""
        family = MetricFamily(name=name, type=kind)
        metric = family.metric.add(timestamp_ms=at)
        if self._plan.labels:
            family.name, labels = self._admin.tags.extract(name)
            for label, value in labels:
                metric.label.add(name=label, value=value)
        return family

    def _summary(self, summary: Any, view: HistogramView) -> None:
        summary.sample_count = sum(view.interval.values())
        summary.sample_sum = approximate_sum(view.interval)
        for quantile, value in zip(QUANTILES, quantiles(view.interval), strict=True):
            summary.quantile.add(quantile=quantile, value=value)

    def _histogram(self, histogram: Any, name: str, view: HistogramView) -> None:
        histogram.sample_count = sum(view.interval.values())
        histogram.sample_sum = approximate_sum(view.interval)
        bounds = self._admin.buckets_of(name)
        for bound, count in zip(bounds, cumulative_buckets(view.interval, bounds), strict=True):
            histogram.bucket.add(upper_bound=bound, cumulative_count=count)


class MetricsSink:
    """See module, and `proxy.stats_sinks.flusher.Sink`. `node` is a `core.v3.Node`."""

    def __init__(self, form: MetricsFormat, connector: Connector, node: Any) -> None:
        self._format = form
        self._connector = connector
        self._node: bytes = node.SerializeToString()
        self._exchange: Exchange | None = None
        self._trouble = Trouble(f"the metrics service {connector.target}")

    async def flush(self, snapshot: Snapshot) -> None:
        """See `Sink`."""
        turns = Turns()
        for message in self._format.messages(snapshot):
            if not await self._send(message):
                return
            if turns.over:
                await turns.next()

    async def close(self) -> None:
        """See `Sink`."""
        await self._end()
        await self._connector.close()

    async def _send(self, message: Any) -> bool:
        if self._exchange is not None:
            # The service may have ended the stream since: then there is another one to be had.
            try:
                await self._write(self._exchange, message)
            except (ConnectError, TimeoutError):
                await self._end()
            else:
                return True
        # The service is told once on each stream whose numbers these are.
        message.identifier.node = self._node
        try:
            self._exchange = await self._connector.open()
            await self._write(self._exchange, message)
        except (ConnectError, TimeoutError) as error:
            self._trouble.failed(str(error) or "it does not read")
            await self._end()
            return False
        self._trouble.worked()
        return True

    async def _write(self, exchange: Exchange, message: Any) -> None:
        async with asyncio.timeout(_WRITE_SECONDS):
            await exchange.write(message.SerializeToString())

    async def _end(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            await exchange.close()
