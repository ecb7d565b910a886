"""What workers tell of their circuit breakers becomes one story."""

from proxy.app.breaker_events import BreakerEvents
from proxy.base.event_log import EventLog
from tests.support.fake_clock import FakeClock

KEY = ("c", "default", "requests")


def told(log):
    return [(one.what, one.reason) for one in log.last()]


def test_a_breaker_is_open_from_the_first_worker_to_the_last():
    clock = FakeClock()
    log = EventLog(clock.time)
    events = BreakerEvents(log, clock)
    events.opened(0, KEY, "max_requests is 1, and 1 are in use")
    events.opened(1, KEY, "max_requests is 1, and 1 are in use")
    clock.advance(2.5)
    events.closed(0, KEY, 3)
    assert told(log) == [("circuit_breaker_opened", "max_requests is 1, and 1 are in use")]
    events.closed(1, KEY, 4)
    assert told(log)[1:] == [
        ("circuit_breaker_closed", "7 refused in 2.5 s, and none in the last seconds of these")
    ]
    assert dict(log.last()[0].about) == {"cluster": "c", "priority": "default", "resource": "requests"}
    events.closed(1, KEY, 4)
    assert len(told(log)) == 2


def test_a_worker_that_is_lost_refuses_nothing_more():
    log = EventLog(lambda: 0.0)
    events = BreakerEvents(log, lambda: 0.0)
    events.opened(0, KEY, "x")
    events.worker_lost(1)
    assert len(told(log)) == 1
    events.worker_lost(0)
    assert [what for what, _ in told(log)] == ["circuit_breaker_opened", "circuit_breaker_closed"]


def test_a_dns_cache_has_no_priorities():
    log = EventLog(lambda: 0.0)
    BreakerEvents(log, lambda: 0.0).opened(0, ("names", "", "pending_requests"), "x")
    assert dict(log.last()[0].about) == {"dns_cache": "names", "resource": "pending_requests"}
