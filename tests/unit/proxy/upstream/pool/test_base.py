"""What all pools do alike; see also the tests of each kind."""

import asyncio

from proxy.connection.upstream_source import SourcedKey, UpstreamSource
from proxy.upstream.pool import base
from proxy.upstream.pool.api import PoolFailure
from proxy.upstream.pool.base import ConnectionIds
from proxy.upstream.pool.connect import ConnectError
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


class Unwilling(Request):
    """Gives back what it gets, like a request beyond the limit of requests."""

    def on_pool_ready(self, connection):
        connection.release()
        self.heard.append("released")


def test_a_long_queue_of_requests_that_give_their_connection_back(monkeypatch):
    async def scenario(bench):
        bench.hold = asyncio.Event()
        requests = [Unwilling() for _ in range(1000)]
        for request in requests:
            bench.pool.wait(request)
        bench.hold.set()
        await bench.settle()
        assert all(request.heard == ["released"] for request in requests)
        assert bench.pool.take(Request()) is not None

    asyncio.run(scenario(Bench(monkeypatch, compiled(endpoint()))))


def test_a_connection_that_is_lost_before_anybody_has_it_fails_who_waits(monkeypatch):
    async def scenario(bench):
        connect = bench.connect

        async def lose(*arguments, **more):
            await connect(*arguments, **more)
            bench.opened[-1].lose()

        monkeypatch.setattr(base, "open_connection", lose)
        request = await bench.request()
        assert request.heard == [(PoolFailure.REMOTE_CONNECT, "")]
        assert len(bench.opened) == 1
        assert bench.pool.coming == 0

    bench = Bench(monkeypatch, compiled(endpoint()))
    asyncio.run(scenario(bench))
    assert bench.stats.upstream_cx_active == 0


def test_a_pool_for_one_clients_address_leaves_its_host_with_its_last_connection(monkeypatch):
    async def scenario(bench):
        host, pool, key = bench.host, bench.pool, SourcedKey(0, source)
        host.pools = {0: "another", key: pool}
        assert pool.source == source
        await bench.request()
        assert bench.sources == [source]
        assert key in host.pools
        bench.opened[0].lose()
        assert host.pools == {0: "another"}
        host.pools[key] = pool
        bench.refuse = ConnectError("refused")
        await bench.request()
        assert host.pools == {0: "another"}
        assert bench.cluster.breakers[0].connection_pools.total() == 0

    source = UpstreamSource("192.0.2.1", 7)
    asyncio.run(scenario(Bench(monkeypatch, compiled(endpoint()), SourcedKey(0, source))))
