"""All sinks of a bootstrap: each flush is one snapshot for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Final, Protocol

from proxy.admin.config import AdminConfig
from proxy.base.stats import StatGroup, StatsSum, ZeroGroup
from proxy.discovery.turns import Turns
from proxy.stats_sinks.config import MetricsPlan, Plan
from proxy.stats_sinks.senders import DatagramSender, StreamSender
from proxy.stats_sinks.snapshot import Snapshot, Snapshots
from proxy.stats_sinks.statsd import StatsdFormat, datagrams
from xds_client.api import Surroundings

_LAST_SECONDS: Final = 1.0
"""How long the last numbers may take to leave when the proxy ends."""


class Sink(Protocol):
    """Takes snapshots."""

    async def flush(self, snapshot: Snapshot) -> None:
        """Send it, or drop what cannot be sent; raises nothing for a peer that is away."""
        ...

    async def close(self) -> None:
        """Send no more."""
        ...


class DatagramSink:
    """statsd or DogStatsD by datagrams."""

    def __init__(self, form: StatsdFormat, sender: DatagramSender, limit: int) -> None:
        self._format = form
        self._sender = sender
        self._limit = limit

    async def flush(self, snapshot: Snapshot) -> None:
        """See `Sink`."""
        turns = Turns()
        for datagram in datagrams(self._format.lines(snapshot), self._limit):
            self._sender.send(datagram)
            if turns.over:
                await turns.next()

    async def close(self) -> None:
        """See `Sink`."""
        self._sender.close()


class StatsdStats(StatGroup):
    """`statsd.cx_overflow`: connections that were given up with what they held."""

    COUNTERS: ClassVar = ("cx_overflow",)

    cx_overflow: int


class StreamSink:
    """statsd over a connection."""

    def __init__(self, form: StatsdFormat, sender: StreamSender, stats: StatsdStats) -> None:
        self._format = form
        self._sender = sender
        self._stats = stats

    async def flush(self, snapshot: Snapshot) -> None:
        """See `Sink`."""
        if not await self._sender.ready():
            return
        turns = Turns()
        before = self._sender.overflows
        for piece in datagrams(self._format.lines(snapshot), _STREAM_PIECE):
            self._sender.write(piece + b"\n")
            if turns.over:
                await turns.next()
        self._stats.cx_overflow += self._sender.overflows - before

    async def close(self) -> None:
        """See `Sink`."""
        await self._sender.finish(_LAST_SECONDS)


# Written at once; what a connection has not taken is looked at before each.
_STREAM_PIECE: Final = 16 * 1024


class StatsSinks:
    """See module. `surroundings` is asked for where a sink leads to a cluster, `zero_groups` for what exists by
    name only.
    """

    def __init__(
        self,
        plans: Sequence[Plan],
        admin: AdminConfig,
        surroundings: Callable[[], Surroundings],
        zero_groups: Callable[[], Iterable[ZeroGroup]],
    ) -> None:
        self._zero_groups = zero_groups
        self.stats = StatsdStats("statsd.")
        self._snapshots = Snapshots(admin.exists)
        self._sinks: list[Sink] = []
        for plan in plans:
            if isinstance(plan, MetricsPlan):
                self._sinks.append(_metrics_sink(plan, admin, surroundings()))
                continue
            form = StatsdFormat(plan.prefix, admin.tags if plan.tagged else None)
            if plan.address is not None:
                self._sinks.append(DatagramSink(form, DatagramSender(plan.address), plan.limit))
            else:
                self._sinks.append(StreamSink(form, StreamSender(plan.cluster, surroundings()), self.stats))
        #: Whether there is a counter of connections.
        self.connects = any(isinstance(sink, StreamSink) for sink in self._sinks)

    async def flush(self, total: StatsSum, *, gauges: bool) -> None:
        """Tell what `total` has grown by since the last call; it has just been flushed itself."""
        turns = Turns()
        zero_groups: list[ZeroGroup] = []
        for group in self._zero_groups() if gauges else ():
            zero_groups.append(group)
            if turns.over:
                await turns.next()
        snapshot = self._snapshots.take(total, zero_groups, gauges=gauges)
        # One that waits for its peer holds up no other.
        await asyncio.gather(*(sink.flush(snapshot) for sink in self._sinks))

    async def close(self) -> None:
        """Send no more."""
        for sink in self._sinks:
            await sink.close()


def _metrics_sink(plan: MetricsPlan, admin: AdminConfig, surroundings: Surroundings) -> Sink:
    from proxy.stats_sinks.metrics_messages import METHOD
    from proxy.stats_sinks.metrics_service import MetricsFormat, MetricsSink  # gRPC is big
    from xds_client.client import grpc_connector

    connector = grpc_connector([plan.service], METHOD, surroundings)
    return MetricsSink(MetricsFormat(plan, admin, surroundings.clock), connector, surroundings.node)
