"""One flush for all sinks."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from proxy.admin.config import AdminConfig
from proxy.base.address import Address
from proxy.base.stats import StatsSum
from proxy.stats_sinks.config import StatsdPlan
from proxy.stats_sinks.flusher import StatsSinks
from xds_client.api import Surroundings


def nowhere() -> Surroundings:
    raise AssertionError("no sink leads to a cluster")


def numbers(**counters: int) -> dict[str, Any]:
    empty: dict[str, Any] = {
        kind: {} for kind in ("gauges", "shared_counters", "shared_gauges", "histograms")
    }
    return {"counters": counters, "texts": {}, **empty}


def test_each_sink_has_all_of_a_flush() -> None:
    servers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for server in servers:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)

    async def scenario() -> None:
        addresses = [Address(*server.getsockname()) for server in servers]
        plans = [StatsdPlan("one", addresses[0]), StatsdPlan("two", addresses[1], limit=100)]
        sinks = StatsSinks(plans, AdminConfig(), nowhere, tuple)
        assert not sinks.connects
        total = StatsSum()
        total.update(0, numbers(a=1, b=2))
        await sinks.flush(total, gauges=True)
        total.update(0, numbers(a=1, b=5))
        await sinks.flush(total, gauges=True)
        await sinks.close()

    asyncio.run(scenario())
    assert [servers[0].recv(100) for _ in range(4)] == [
        b"one.a:1|c",
        b"one.b:2|c",
        b"one.a:0|c",
        b"one.b:3|c",
    ]
    assert [servers[1].recv(100) for _ in range(2)] == [b"two.a:1|c\ntwo.b:2|c", b"two.a:0|c\ntwo.b:3|c"]
    for server in servers:
        server.close()
