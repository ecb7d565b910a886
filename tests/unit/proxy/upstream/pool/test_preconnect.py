"""How many connections a pool has ahead of requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from proxy.upstream.health_flags import HealthFlag
from proxy.upstream.pool.api import FOR_RAW_BYTES
from proxy.upstream.pool.connect import ConnectError
from tests.support.cluster_messages import compiled, endpoint
from tests.support.upstream_pool import Bench, Request

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


def run(
    monkeypatch: pytest.MonkeyPatch,
    scenario: Callable[[Bench], Coroutine[Any, Any, None]],
    ratio: float,
    key: int = 0,
    **fields: Any,
) -> Bench:
    policy = {"per_upstream_preconnect_ratio": ratio}
    bench = Bench(monkeypatch, compiled(endpoint(), preconnect_policy=policy, **fields), key)
    asyncio.run(scenario(bench))
    return bench


@pytest.mark.parametrize(
    ("ratio", "opened"), [(1.5, [2, 3, 5, 6]), (2.0, [2, 4, 6, 8]), (3.0, [3, 6, 9, 12])]
)
def test_requests_that_run_at_once(monkeypatch: pytest.MonkeyPatch, ratio: float, opened: list[int]) -> None:
    async def scenario(bench: Bench) -> None:
        seen = []
        for _ in opened:
            await bench.request()
            await bench.settle()
            seen.append(len(bench.opened))
        assert seen == opened
        assert bench.stats.upstream_cx_active == opened[-1]

    run(monkeypatch, scenario, ratio)


def test_requests_one_after_another_need_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(bench: Bench) -> None:
        for _ in range(3):
            await bench.request()
            await bench.settle()
            for transport in bench.opened:
                if transport.written.count(b"request") > transport.written.count(b"answered"):
                    transport.written += b"answered"
                    transport.feed(HELLO)
        assert len(bench.opened) == 2

    run(monkeypatch, scenario, 2.0)


def test_limits_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.request()
        await bench.settle()
        assert len(bench.opened) == 2

    breakers = {"thresholds": [{"max_connections": 2}]}
    bench = run(monkeypatch, scenario, 3.0, circuit_breakers=breakers)
    assert bench.stats.upstream_cx_overflow == 1


def test_a_host_that_is_not_healthy_gets_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(bench: Bench) -> None:
        bench.host.take_flags(HealthFlag.FAILED_ACTIVE_HC)
        await bench.request()
        await bench.settle()
        assert len(bench.opened) == 1

    run(monkeypatch, scenario, 3.0)


def test_a_host_that_refuses_is_not_asked_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(bench: Bench) -> None:
        bench.refuse = ConnectError("no")
        request = await bench.request()
        await bench.settle()
        assert len(request.heard) == 1
        assert not bench.pool.in_use

    assert run(monkeypatch, scenario, 3.0).stats.upstream_cx_connect_fail == 3


def test_a_host_that_refuses_while_a_request_runs_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.request()
        await bench.settle()
        for transport in bench.opened:
            if b"request" not in transport.written:
                transport.lose()
        bench.refuse = ConnectError("no")
        refused = await bench.request()
        for _ in range(5):
            await bench.settle()
        assert len(refused.heard) == 1
        assert bench.stats.upstream_cx_active == 1

    assert run(monkeypatch, scenario, 3.0).stats.upstream_cx_connect_fail == 3


def test_a_host_that_speaks_first_is_heard_when_somebody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(bench: Bench) -> None:
        first, second = Request("CONNECT"), Request("CONNECT")
        bench.pool.wait(first)
        await bench.settle()
        assert len(bench.opened) == 2
        bench.opened[1].feed(b"welcome")
        connection = bench.pool.take(second)
        assert connection.transport is bench.opened[1]
        await bench.settle()
        assert second.heard == [(b"welcome", False)]
        assert not bench.opened[1].closed

    run(monkeypatch, scenario, 2.0, FOR_RAW_BYTES)
