"""Queries and timers of a DNS cache."""

import asyncio

from proxy.base.address import Address
from proxy.upstream.discovery.schedule import Answer
from proxy.upstream.dns_cache.config import DnsCacheConfig
from proxy.upstream.dns_cache.hosts import Load
from proxy.upstream.dns_cache.names import host_name
from proxy.upstream.dns_cache.resolution import CacheResolution
from proxy.upstream.dns_cache.stats import DnsCacheStats

LOCAL = host_name("local", 80)
REMOTE = host_name("remote", 80)


class Resolver:
    """Knows "local" at once; the answer to others is set by the test."""

    def __init__(self):
        self.asked = []
        self.begun = asyncio.Event()
        self.answer = asyncio.get_running_loop().create_future()

    def resolve_now(self, name, config):
        return Answer(True, ("127.0.0.1",)) if name == "local" else None

    async def resolve(self, name, config):
        self.asked.append(name)
        self.begun.set()
        return await asyncio.shield(self.answer)


class Cache:
    """A cache, and what it has told."""

    def __init__(self, **fields):
        loop = asyncio.get_running_loop()
        self.resolver = Resolver()
        self.stats = DnsCacheStats("dns_cache.c.")
        self.changed = asyncio.Queue()
        self.removed = asyncio.Queue()
        self.resolution = CacheResolution(
            loop,
            self.resolver,
            DnsCacheConfig("c", **fields),
            self.stats,
            lambda: 0,
            self.changed.put_nowait,
            self.removed.put_nowait,
        )


def test_a_name_that_needs_no_server_is_told_after_the_load():
    async def run():
        cache = Cache()
        assert cache.resolution.load(LOCAL)[0] is Load.LOADING
        assert cache.changed.empty()
        assert (await cache.changed.get()).address == Address("127.0.0.1", 80)
        assert cache.resolution.load(LOCAL)[0] is Load.IN_CACHE
        assert not cache.resolver.asked
        cache.resolution.close()

    asyncio.run(run())


def test_one_query_answers_all_who_wait():
    async def run():
        cache = Cache()
        cache.resolution.load(REMOTE)
        cache.resolution.load(REMOTE)
        cache.resolver.answer.set_result(Answer(True, ("10.0.0.1",), 30))
        assert (await cache.changed.get()).address == Address("10.0.0.1", 80)
        assert cache.resolver.asked == ["remote"]
        cache.resolution.close()

    asyncio.run(run())


def test_a_query_that_takes_too_long_is_told_as_a_failure():
    async def run():
        cache = Cache(query_timeout=0.001)
        cache.resolution.load(REMOTE)
        failed = await cache.changed.get()
        assert (failed.address, failed.reason) == (None, "resolve_timeout")
        assert cache.stats.dns_query_timeout == 1
        cache.resolution.close()

    asyncio.run(run())


def test_a_name_that_nobody_wants_is_told_as_gone():
    async def run():
        cache = Cache(host_ttl=0.001, min_refresh_rate=0.01, preresolve=(("local", 80),))
        cache.resolver.answer.set_result(Answer(True))
        assert (await cache.removed.get()).host == LOCAL
        assert cache.stats.num_hosts == 0
        cache.resolution.close()

    asyncio.run(run())


def test_the_end_ends_queries():
    async def run():
        cache = Cache()
        cache.resolution.load(REMOTE)
        await cache.resolver.begun.wait()
        cache.resolution.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())
