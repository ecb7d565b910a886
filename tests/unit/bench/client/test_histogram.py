import random

import pytest

from bench.client.histogram import Histogram, bucket_bounds, bucket_of


def test_a_percentile_is_within_one_percent() -> None:
    chance = random.Random(7)
    values = sorted(10 ** chance.uniform(-6, 2) for _ in range(20_000))
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    for share in (1, 50, 90, 99, 99.9):
        exact = values[max(0, round(len(values) * share / 100) - 1)]
        assert histogram.percentile(share) == pytest.approx(exact, rel=0.01)
    assert histogram.percentile(100) == pytest.approx(values[-1], rel=0.005)


def test_buckets_adjoin_and_are_few() -> None:
    for number in range(6000):
        least, above = bucket_bounds(number)
        assert bucket_of(least) == bucket_of(above - 1) == number
        assert bucket_of(above) == number + 1
    assert bucket_of(int(7200e9)) < 5000


def test_two_histograms_add_up() -> None:
    one, other = Histogram(), Histogram()
    one.record(0.001)
    other.record(0.5)
    one.add(other)
    assert (one.count, one.least, one.greatest) == (2, 0.001, 0.5)
    assert [count for _, _, count in one] == [1, 1]
    assert Histogram().percentile(99) == 0.0
