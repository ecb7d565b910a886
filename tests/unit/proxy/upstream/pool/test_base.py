"""What all pools do alike; see also the tests of each kind."""

import asyncio

from proxy.upstream.pool.base import ConnectionIds
from tests.support.cluster_messages import compiled, endpoint
from tests.support.upstream_pool import Bench, Request


def test_numbers_of_connections():
    ids = ConnectionIds()
    assert [ids.next(), ids.next()] == [1, 2]


def test_the_pool_counts_until_its_host_is_gone(monkeypatch):
    bench = Bench(monkeypatch, compiled(endpoint()))
    pools = bench.cluster.breakers[0].connection_pools
    assert pools.total() == 1
    bench.pool.drain()
    bench.pool.drain()
    assert pools.total() == 0


def test_requests_wait_in_order(monkeypatch):
    async def scenario(bench):
        bench.hold = asyncio.Event()
        requests = [Request() for _ in range(3)]
        for request in requests:
            bench.pool.wait(request)
        assert bench.pool.coming == 3
        assert [bench.pool.next_pending() for _ in range(4)] == [*requests, None]
        await bench.pool.close()
        assert bench.pool.coming == 0

    bench = Bench(monkeypatch, compiled(endpoint()))
    asyncio.run(scenario(bench))
    assert bench.stats.upstream_rq_pending_active == 0
