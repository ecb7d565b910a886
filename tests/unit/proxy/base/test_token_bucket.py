from __future__ import annotations

import pytest

from proxy.base.token_bucket import TokenBucket, TokenBucketConfig


def bucket(most: int = 3, per_fill: int = 1, interval: float = 2.0, now: float = 100.0) -> TokenBucket:
    return TokenBucket(TokenBucketConfig(most, per_fill, interval), now)


def test_it_is_full_at_first_and_never_more_than_full() -> None:
    full = bucket()
    assert [full.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert full.remaining(1000.0) == 3
    assert [full.take(1000.0) for _ in range(4)] == [True, True, True, False]


def test_a_part_of_an_interval_brings_its_part_of_the_tokens() -> None:
    empty = bucket(most=1, per_fill=2, interval=2.0)
    assert empty.take(100.0)
    assert not empty.take(100.9)
    assert empty.take(101.1)


def test_what_is_refused_uses_up_nothing() -> None:
    some = bucket()
    assert not some.take(100.0, 4)
    assert some.take(100.0, 3)


@pytest.mark.parametrize(("now", "seconds"), [(100.0, 8), (100.1, 8), (101.0, 7), (107.5, 1), (108.0, 0)])
def test_clients_hear_how_long_until_the_next_token(now: float, seconds: int) -> None:
    one = bucket(most=1, interval=8.0)
    assert (one.remaining(100.0), one.reset_seconds(100.0)) == (1, 0)
    one.take(100.0)
    assert one.reset_seconds(now) == seconds


def test_a_clock_that_stands_a_little_behind_brings_no_tokens() -> None:
    one = bucket(most=1)
    one.take(100.0)
    assert not one.take(99.9)
