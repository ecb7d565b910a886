"""A DNS cache over time."""

import pytest

from proxy.base.address import Address
from proxy.upstream.cluster_config import DnsConfig
from proxy.upstream.discovery.schedule import Answer
from proxy.upstream.dns_cache.config import DnsCacheConfig
from proxy.upstream.dns_cache.hosts import CachedHosts, Load
from proxy.upstream.dns_cache.names import host_name
from proxy.upstream.dns_cache.stats import DnsCacheStats

A = host_name("a.test:80", 80)
B = host_name("b.test:80", 80)
FAILED = Answer(False, reason="no answer")


def found(*addresses, ttl=30):
    return Answer(True, addresses, ttl)


class Cache:
    """A cache with its clock."""

    def __init__(self, **fields):
        self.stats = DnsCacheStats("dns_cache.c.")
        self.now = 100.0
        self.hosts = CachedHosts(DnsCacheConfig("c", **fields), self.stats, lambda: 0, self.now)

    def load(self, host=A):
        return self.hosts.load(host, self.now)

    def due(self):
        return [known.host.key for known in self.hosts.due(self.now)]

    def answer(self, answer, host=A, query=None):
        if query is None:
            query = self.load(host)[1].query
        return self.hosts.answered(host.key, query, answer, self.now)

    def resolve(self, answer, host=A):
        self.load(host)
        assert host.key in self.due()
        return self.answer(answer, host)

    def counted(self, **expected):
        assert {name: getattr(self.stats, name) for name in expected} == expected


def test_a_name_is_resolved_once_for_all_who_wait():
    cache = Cache()
    assert cache.load()[0] is Load.LOADING
    assert cache.due() == [A.key]
    assert cache.load()[0] is Load.LOADING
    assert cache.due() == []
    assert cache.answer(found("10.0.0.1", "10.0.0.2"))
    load, host = cache.load()
    assert load is Load.IN_CACHE
    assert host.address == Address("10.0.0.1", 80)
    cache.counted(dns_query_attempt=1, dns_query_success=1, host_added=1, host_address_changed=1, num_hosts=1)


def test_the_time_to_live_says_when_to_ask_again():
    cache = Cache()
    cache.resolve(found("10.0.0.1", ttl=30))
    assert cache.hosts.wake_at() == 130.0
    cache.now = 130.0
    assert cache.due() == [A.key]
    assert not cache.answer(found("10.0.0.1"))
    cache.counted(host_address_changed=1, dns_query_success=2)


@pytest.mark.parametrize("ttl", [0, 1, 4])
def test_names_are_not_asked_for_more_often_than_the_least_interval(ttl):
    cache = Cache(min_refresh_rate=5.0)
    cache.resolve(found("10.0.0.1", ttl=ttl))
    assert cache.hosts.wake_at() == 105.0


@pytest.mark.parametrize("rate", [60.0, 1.0])
def test_an_answer_without_addresses_is_asked_for_again_at_the_refresh_rate(rate):
    cache = Cache(min_refresh_rate=5.0, dns=DnsConfig(refresh_rate=rate))
    assert cache.resolve(found())
    assert cache.hosts.wake_at() == 100.0 + rate
    load, host = cache.load()
    assert (load, host.address) == (Load.IN_CACHE, None)


def test_a_first_failure_is_told_and_later_ones_are_not():
    cache = Cache(dns=DnsConfig(refresh_rate=60.0))
    assert cache.resolve(FAILED)
    assert cache.load()[1].reason == "no answer"
    cache.now = 160.0
    assert not cache.resolve(FAILED)
    cache.counted(dns_query_failure=2, host_address_changed=0)


def test_failures_wait_by_the_failure_rate():
    cache = Cache(dns=DnsConfig(failure_base=2.0, failure_max=20.0))
    cache.hosts._draw = lambda: 1999
    cache.resolve(FAILED)
    assert cache.hosts.wake_at() == 101.999


@pytest.mark.parametrize("nothing", [FAILED, found()])
def test_an_address_outlives_answers_without_one(nothing):
    cache = Cache()
    cache.resolve(found("10.0.0.1"))
    cache.now = 130.0
    assert not cache.resolve(nothing)
    assert cache.load()[1].address == Address("10.0.0.1", 80)
    assert [known.host for known in cache.hosts.known()] == [A]


def test_a_new_address_is_told():
    cache = Cache()
    cache.resolve(found("10.0.0.1"))
    cache.now = 130.0
    assert cache.resolve(found("10.0.0.2"))
    assert cache.load()[1].address == Address("10.0.0.2", 80)


def test_a_name_that_nobody_wants_is_forgotten():
    cache = Cache(host_ttl=20.0)
    cache.resolve(found("10.0.0.1", ttl=30))
    cache.now = 130.0
    assert [known.host for known in cache.hosts.forget_unused(cache.now)] == [A]
    assert cache.due() == []
    assert cache.hosts.wake_at() is None
    cache.counted(host_removed=1, num_hosts=0)
    assert cache.load()[0] is Load.LOADING


def test_a_name_in_use_stays():
    cache = Cache(host_ttl=20.0)
    cache.resolve(found("10.0.0.1", ttl=30))
    cache.now = 115.0
    cache.load()
    cache.now = 130.0
    assert cache.hosts.forget_unused(cache.now) == []
    assert cache.due() == [A.key]


def test_names_beyond_the_limit_are_turned_away_and_known_ones_are_not():
    cache = Cache(max_hosts=1)
    cache.resolve(found("10.0.0.1"))
    assert cache.load(B) == (Load.OVERFLOW, None)
    assert cache.load(A)[0] is Load.IN_CACHE
    cache.counted(host_overflow=1, host_added=1)


def test_a_query_that_takes_too_long_has_failed_and_its_answer_comes_too_late():
    cache = Cache(query_timeout=5.0, dns=DnsConfig(refresh_rate=60.0))
    cache.load()
    cache.due()
    cache.now = 104.0
    assert cache.hosts.settle_timeouts(cache.now) == []
    cache.now = cache.hosts.wake_at()
    (late,) = cache.hosts.settle_timeouts(cache.now)
    assert (late.host, late.reason, late.address) == (A, "resolve_timeout", None)
    assert not cache.answer(found("10.0.0.1"), query=1)
    assert cache.load()[1].address is None
    cache.counted(dns_query_timeout=1, dns_query_failure=1, dns_query_success=0)


def test_the_answer_to_an_earlier_query_is_not_that_to_a_later_one():
    cache = Cache(query_timeout=5.0, dns=DnsConfig(refresh_rate=1.0))
    cache.load()
    cache.due()
    cache.now = 105.0
    cache.hosts.settle_timeouts(cache.now)
    cache.now = 106.0
    assert cache.due() == [A.key]
    assert not cache.answer(found("10.0.0.1"), query=1)
    assert cache.answer(found("10.0.0.2"), query=2)
    assert cache.load()[1].address == Address("10.0.0.2", 80)


def test_without_a_timeout_a_query_may_take_for_ever():
    cache = Cache(query_timeout=0.0)
    cache.load()
    cache.due()
    assert cache.hosts.settle_timeouts(1e9) == []
    assert cache.hosts.wake_at() == float("inf")


def test_names_are_resolved_beforehand():
    cache = Cache(preresolve=(("b.test", 80),))
    assert cache.due() == [B.key]
    cache.counted(host_added=1, num_hosts=1)


def test_an_answer_for_a_host_that_nobody_knows_is_dropped():
    assert not Cache().hosts.answered("gone:80", 1, found("10.0.0.1"), 0.0)
