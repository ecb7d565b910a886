from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from proxy.base import shared_buckets
from proxy.base.shared_buckets import SharedBuckets, SharedTokenBucket
from proxy.base.token_bucket import TokenBucketConfig

NOW = 50.0
CONFIG = TokenBucketConfig(3, 1, 10.0)


@pytest.fixture
def table() -> Iterator[SharedBuckets]:
    one = SharedBuckets.create()
    yield one
    one.close()


def bucket(table: SharedBuckets, key: int = 7, *, dynamic: bool = False) -> SharedTokenBucket:
    return SharedTokenBucket(CONFIG, NOW, table, key, dynamic=dynamic)


def test_workers_draw_from_one_bucket(table: SharedBuckets) -> None:
    attached = SharedBuckets(os.dup(table.fd))
    first, second = bucket(table), bucket(attached)
    assert [first.take(NOW), second.take(NOW), first.take(NOW)] == [True] * 3
    assert not second.take(NOW)
    assert (first.remaining(NOW + 10), second.remaining(NOW + 10)) == (1, 1)
    assert second.take(NOW + 10)
    assert not first.take(NOW + 10)
    attached.close()


def test_buckets_with_other_keys_are_others(table: SharedBuckets) -> None:
    crowd = [bucket(table, 7 + number * shared_buckets.CONFIGURED) for number in range(3)]
    for one in crowd:
        assert [one.take(NOW) for _ in range(4)] == [True, True, True, False]


def test_a_full_bucket_gives_its_place_away_and_loses_nothing(table: SharedBuckets) -> None:
    mine = bucket(table)
    assert mine.take(NOW)
    later = NOW + 10  # it is full again
    others = [bucket(table, 7 + number * shared_buckets.CONFIGURED) for number in range(1, 40)]
    for one in others:
        one.take(later)
    assert [mine.take(later) for _ in range(4)] == [True, True, True, False]


def test_a_bucket_without_a_place_limits_its_own_worker(table: SharedBuckets) -> None:
    for number in range(1, 40):
        bucket(table, 7 + number * shared_buckets.CONFIGURED).take(NOW)
    mine = bucket(table)
    assert [mine.take(NOW) for _ in range(4)] == [True, True, True, False]
    # Once there is a place, it has it with what is left of its tokens.
    assert [mine.take(NOW + 10.5) for _ in range(2)] == [True, False]
    assert bucket(table).remaining(NOW + 10.5) == 0


def test_what_requests_bring_to_life_crowds_out_nothing_that_is_configured(table: SharedBuckets) -> None:
    for number in range(1, 40):
        bucket(table, 7 + number * shared_buckets.CONFIGURED * shared_buckets.DYNAMIC, dynamic=True).take(NOW)
    assert table.find(7, False, NOW, NOW) >= 0
    assert table.find(7, True, NOW, NOW) < 0
