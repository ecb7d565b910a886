from __future__ import annotations

from typing import Any

from proxy.base.shared_buckets import SharedBuckets
from proxy.base.token_bucket import TokenBucketConfig
from proxy.ratelimit.buckets import bucket_maker, own_buckets
from proxy.ratelimit.descriptors import Descriptor, Entries
from proxy.ratelimit.local import LocalLimits, LocalRateLimiter
from tests.support.listeners import services

NOW = services().loop.time()


def bucket(most: int, interval: float = 3600.0) -> TokenBucketConfig:
    return TokenBucketConfig(most, 1, interval)


def limiter(**fields: Any) -> LocalRateLimiter:
    given: dict[str, Any] = {
        "default": None,
        "exact": {},
        "wildcards": (),
        "max_dynamic": 20,
        "always_consume_default": True,
        "identity": b"x" * 16,
        **fields,
    }
    return LocalRateLimiter(LocalLimits(**given), own_buckets(services()))


def counted(*pairs: tuple[str, str], hits: int = 1) -> Descriptor:
    return Descriptor(pairs, hits)


def allowed(of: LocalRateLimiter, *descriptors: Descriptor) -> bool:
    return of.decide(descriptors, NOW)[0]


A: Entries = (("k", "a"),)
B: Entries = (("k", "b"),)
ANY: Entries = (("k", ""),)


def test_without_a_bucket_everything_passes_and_nobody_is_told() -> None:
    assert limiter().decide((), NOW) == (True, None)


def test_a_descriptor_has_a_bucket_of_its_own_and_uses_the_default_one_too() -> None:
    both = limiter(default=bucket(3), exact={A: bucket(1)})
    assert [allowed(both, counted(*A)) for _ in range(2)] == [True, False]
    assert [allowed(both) for _ in range(3)] == [True, True, False]


def test_the_default_bucket_may_be_spared() -> None:
    spared = limiter(default=bucket(1), exact={A: bucket(2)}, always_consume_default=False)
    assert [allowed(spared, counted(*A)) for _ in range(3)] == [True, True, False]
    assert [allowed(spared, counted(*B)) for _ in range(2)] == [True, False]


def test_the_slowest_bucket_is_asked_first() -> None:
    two = limiter(exact={A: bucket(1, 10.0), B: bucket(1, 20.0)})
    assert allowed(two, counted(*B))
    assert not allowed(two, counted(*A), counted(*B))
    assert allowed(two, counted(*A)), "the slower one refused before it was asked"


def test_entries_match_whole_and_in_order() -> None:
    pair = (("a", "1"), ("b", "2"))
    one = limiter(exact={pair: bucket(1)})
    assert allowed(one, counted(*pair))
    assert allowed(one, counted(*pair[::-1]))
    assert allowed(one, counted(pair[0]))
    assert not allowed(one, counted(*pair))


def test_each_value_of_a_wildcard_has_a_bucket_of_its_own() -> None:
    any_value = limiter(wildcards=((ANY, bucket(1)),))
    assert [allowed(any_value, counted(*which)) for which in (A, B, A, B)] == [True, True, False, False]
    assert allowed(any_value, counted(("other", "a")))


def test_values_that_clients_make_up_take_bounded_memory() -> None:
    few = limiter(wildcards=((ANY, bucket(1)),), max_dynamic=2)
    for number in range(1000):
        assert allowed(few, counted(("k", "x" * 60_000 + str(number))))
    (known,) = few._dynamic
    assert len(known) == 2
    assert {len(name) for name in known} == {16}


def test_the_value_that_was_used_last_is_the_last_to_go() -> None:
    few = limiter(wildcards=((ANY, bucket(1)),), max_dynamic=2)
    c = counted(("k", "c"))
    assert [allowed(few, one) for one in (counted(*A), counted(*B))] == [True, True]
    assert not allowed(few, counted(*A))
    assert allowed(few, c)
    assert not allowed(few, counted(*A))
    assert allowed(few, counted(*B)), "it was forgotten"


def test_hits_are_taken_together() -> None:
    three = limiter(exact={A: bucket(3)})
    assert not allowed(three, counted(*A, hits=4))
    assert allowed(three, counted(*A, hits=3))
    assert not allowed(three, counted(*A))


def test_workers_share_buckets_of_equal_configurations_only() -> None:
    table = SharedBuckets.create()
    first, second = services(), services()
    first.buckets = second.buckets = table
    limits = LocalLimits(bucket(1), {A: bucket(1)}, ((ANY, bucket(1)),), 20, False, b"a" * 16)
    here = LocalRateLimiter(limits, bucket_maker(first, b"a" * 16))
    there = LocalRateLimiter(limits, bucket_maker(second, b"a" * 16))
    other = LocalRateLimiter(limits, bucket_maker(second, b"b" * 16))
    for descriptors in ((), (counted(*A),), (counted(*B),)):
        assert here.decide(descriptors, NOW)[0]
        assert not there.decide(descriptors, NOW)[0]
        assert other.decide(descriptors, NOW)[0]
    table.close()
