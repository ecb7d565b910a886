"""Sessions without a timer of their own."""

from __future__ import annotations

from proxy.tcp_proxy.young_sessions import SWEEP, YoungSessions
from tests.support.fake_clock import FakeClock


class Session:
    def __init__(self) -> None:
        self.settled: list[float] = []

    def settle(self, now: float) -> None:
        self.settled.append(now)


def test_those_that_live_on_are_settled_once_and_in_time() -> None:
    clock = FakeClock(monotonic=0.0)
    young = YoungSessions(clock)
    first, second, gone = Session(), Session(), Session()
    young.add(first, clock())
    young.add(gone, clock())
    clock.advance(SWEEP / 2)
    young.add(second, clock())
    young.add(first, clock())
    young.discard(gone)
    young.discard(gone)
    clock.advance(10)
    assert first.settled == second.settled == [SWEEP]
    assert not gone.settled


def test_a_new_one_after_a_sweep_waits_for_the_next() -> None:
    clock = FakeClock(monotonic=0.0)
    young = YoungSessions(clock)
    young.add(Session(), clock())
    clock.advance(5)
    late = Session()
    young.add(late, clock())
    clock.advance(5)
    assert late.settled == [5 + SWEEP]
