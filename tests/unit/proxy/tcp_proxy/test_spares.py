"""Connections that sessions find made already."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from proxy.base.runtime import Runtime
from proxy.tcp_proxy import spares
from proxy.tcp_proxy.spares import PreconnectedUpstream, spares_of
from proxy.tcp_proxy.upstream import DialFailure
from proxy.upstream.cluster import Cluster
from proxy.upstream.pool.connect import ConnectError
from tests.support.cluster_messages import compiled, endpoint
from tests.support.memory_transport import MemoryTransport


class Session:
    """What an `Upstream` asks of its session, and what it heard."""

    def __init__(self, bench: Bench) -> None:
        ids = SimpleNamespace(next=lambda: 1)
        self.owner: Any = SimpleNamespace(loop=bench.loop, ids=ids, logger=None)
        self.now = bench.loop.time
        self.stats = SimpleNamespace(downstream_cx_tx_bytes_total=0)
        self.bytes_sent = 0
        self.relay = None
        self.heard = b""
        self.failure: Any = None
        self.upstream: Any = None

    def on_connected(self, upstream: Any) -> None:
        self.upstream = upstream
        upstream.write_down = self.hear

    def hear(self, data: bytes) -> None:
        self.heard += data

    def on_dial_failed(self, host: Any, failure: DialFailure, reason: str) -> None:
        self.failure = (host, failure, reason)

    def on_upstream_lost(self, was_reset: bool) -> None:
        del was_reset


class Bench:
    """A host whose connections are memory transports; `refuse` makes the next attempts fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
        self.loop = asyncio.get_running_loop()
        policy = {"per_upstream_preconnect_ratio": 2}
        self.cluster = Cluster(compiled(endpoint(), preconnect_policy=policy, **fields), Runtime(), lambda: 0)
        self.host = self.cluster.hosts[0]
        self.opened: list[MemoryTransport] = []
        self.refuse: ConnectError | None = None
        monkeypatch.setattr(spares, "open_connection", self.connect)

    async def connect(
        self, loop: Any, host: Any, config: Any, protocol: Any, tls: Any, **options: Any
    ) -> None:
        del options
        await asyncio.sleep(0)
        if self.refuse is not None:
            raise self.refuse
        transport = MemoryTransport()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        self.opened.append(transport)

    async def dial(self) -> tuple[Session, PreconnectedUpstream]:
        session: Any = Session(self)
        upstream = PreconnectedUpstream(session, self.cluster, self.host)
        upstream.dial()
        await settle()
        return session, upstream


async def settle() -> None:
    for _ in range(6):
        await asyncio.sleep(0)


def test_a_session_finds_a_connection_and_what_the_host_has_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        bench = Bench(monkeypatch)
        stats = bench.cluster.stats
        first, _ = await bench.dial()
        assert first.upstream.transport is bench.opened[0]
        bench.opened[1].feed(b"welcome")
        second, upstream = await bench.dial()
        assert upstream.transport is bench.opened[1]
        assert second.heard == b"welcome"
        bench.opened[1].feed(b" back")
        assert second.heard == b"welcome back"
        assert (stats.upstream_cx_total, stats.upstream_rq_active, stats.upstream_rq_pending_total) == (
            4,
            2,
            1,
        )
        upstream.leave()
        assert bench.opened[1].closed
        bench.opened[1].lose()
        assert (stats.upstream_cx_active, stats.upstream_rq_active) == (3, 1)

    asyncio.run(scenario())


def test_all_who_wait_hear_of_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        bench = Bench(monkeypatch)
        bench.refuse = ConnectError("no")
        session, _ = await bench.dial()
        assert session.failure == (bench.host, DialFailure.REMOTE, "no")
        stats = bench.cluster.stats
        assert (
            stats.upstream_cx_active,
            stats.upstream_cx_connect_fail,
            stats.upstream_rq_pending_active,
        ) == (0, 2, 0)
        assert not spares_of(bench.cluster, bench.host, bench.loop).in_use

    asyncio.run(scenario())


def test_too_many_may_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        bench = Bench(monkeypatch, circuit_breakers={"thresholds": [{"max_pending_requests": 0}]})
        session, _ = await bench.dial()
        assert session.failure == (None, DialFailure.LOCAL, "")
        assert not bench.opened

    asyncio.run(scenario())


def test_a_client_that_goes_takes_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        bench = Bench(monkeypatch)
        session: Any = Session(bench)
        upstream = PreconnectedUpstream(session, bench.cluster, bench.host)
        upstream.dial()
        upstream.leave()
        await settle()
        stats = bench.cluster.stats
        assert (stats.upstream_rq_cancelled, stats.upstream_rq_pending_active) == (1, 0)
        assert stats.upstream_cx_active == len(bench.opened) == 1

    asyncio.run(scenario())


def test_what_nobody_has_goes_with_the_host_or_by_its_will(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        bench = Bench(monkeypatch)
        await bench.dial()
        bench.opened[1].lose()
        assert bench.cluster.stats.upstream_cx_active == 1
        await bench.dial()
        assert len(bench.opened) == 5
        spares_of(bench.cluster, bench.host, bench.loop).drain()
        closed = [transport for transport in bench.opened if transport.closed]
        assert len(closed) == 2
        for transport in closed:
            transport.lose()
        assert bench.cluster.stats.upstream_cx_active == 2

    asyncio.run(scenario())
