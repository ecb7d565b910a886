"""From the first refusal of a breaker until some seconds after the last."""

from proxy.upstream.breaker_watch import QUIET_SECONDS, BreakerWatch
from proxy.upstream.circuit_breaker import PER_HOST, ResourceManager, Thresholds
from tests.support.fake_clock import FakeClock

KEY = ("c", "high", "requests")


class Watched:
    def __init__(self, thresholds=None):
        self.clock = FakeClock()
        self.told = []
        self.resources = ResourceManager("c", 1, thresholds or Thresholds(max_requests=1))
        self.resources.watch = BreakerWatch(
            self.clock,
            self.clock,
            lambda key, why: self.told.append((key, why)),
            lambda key, refused: self.told.append((key, refused)),
        )

    def take(self):
        if not self.resources.requests.try_acquire():
            self.resources.refused("requests")


def test_it_is_told_once_until_nothing_was_refused_for_a_while():
    watched = Watched()
    for _ in range(4):
        watched.take()
    assert watched.told == [(KEY, "max_requests is 1, and 1 are in use")]
    watched.clock.advance(QUIET_SECONDS - 1)
    watched.take()
    watched.resources.requests.release()
    watched.clock.advance(QUIET_SECONDS)
    assert len(watched.told) == 1
    watched.clock.advance(QUIET_SECONDS)
    assert watched.told[1:] == [(KEY, 4)]
    watched.take()
    watched.take()
    assert len(watched.told) == 3


def test_one_without_room_stays_open():
    watched = Watched()
    watched.take()
    watched.take()
    watched.clock.advance(10 * QUIET_SECONDS)
    assert len(watched.told) == 1
    watched.resources.requests.release()
    watched.clock.advance(2 * QUIET_SECONDS)
    assert len(watched.told) == 2


def test_nothing_is_to_be_woken_while_nothing_is_open():
    watched = Watched()
    watched.clock.wake = None
    watched.clock.advance(100)
    assert watched.told == []


def test_the_words_for_each_kind():
    resources = ResourceManager("c", 0, Thresholds(max_retries=3, max_connections_per_host=2))
    assert resources.why_refused("retries") == "max_retries is 3, and 0 are in use"
    assert resources.why_refused(PER_HOST) == "max_connections of a host is 2"
    budget = ResourceManager("c", 0, Thresholds(retry_budget=(25.0, 3)))
    for _ in range(8):
        budget.requests.acquire()
    assert budget.why_refused("retries") == (
        "the retry budget is 25 % of 8 requests, but at least 3, and 0 retries are under way"
    )
    assert budget.has_room("retries")
