from __future__ import annotations

import pytest
from envoy.config.core.v3 import config_source_pb2

from xds_client.backoff import Backoff, RequestBucket


def test_limits_double_and_every_wait_is_drawn_from_the_whole_interval() -> None:
    draws = iter([1.0, 0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    backoff = Backoff(lambda: next(draws))
    assert [backoff.next() for _ in range(8)] == [0.5, 0.0, 1.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    backoff.reset()
    assert backoff.next() == 0.5


def test_tokens_come_back_with_time() -> None:
    settings = config_source_pb2.RateLimitSettings()
    settings.max_tokens.value = 2
    settings.fill_rate.value = 4
    bucket = RequestBucket(settings, 100.0)
    assert [bucket.take(100.0) for _ in range(3)] == [0, 0, 0.25]
    assert bucket.take(100.25) == 0
    assert bucket.take(100.25) == pytest.approx(0.25)


def test_the_default_is_a_hundred_and_ten_a_second() -> None:
    bucket = RequestBucket(config_source_pb2.RateLimitSettings(), 0.0)
    assert [bucket.take(0.0) for _ in range(101)] == [0.0] * 100 + [0.1]
