"""One timer for everything that waits."""

import pytest

from proxy.connection.timers import TimerQueue


class Handle:
    def __init__(self, loop, when, callback):
        self.loop, self.when, self.callback, self.cancelled = loop, when, callback, False
        loop.handles.append(self)

    def cancel(self):
        self.cancelled = True


class Loop:
    """Just enough of an event loop; `late` shifts the clock against the moment that a timer was set for."""

    def __init__(self):
        self.now = 100.0
        self.handles = []

    def time(self):
        return self.now

    def call_at(self, when, callback):
        return Handle(self, when, callback)

    @property
    def armed(self):
        return [handle for handle in self.handles if not handle.cancelled]

    def run_until(self, when, late=0.0):
        while due := sorted((h for h in self.armed if h.when <= when), key=lambda h: h.when):
            handle = due[0]
            self.handles.remove(handle)
            self.now = handle.when + late
            handle.callback()
        self.now = when


class Target:
    def __init__(self, action=None):
        self.woken = []
        self.action = action

    def on_wake(self, now):
        self.woken.append(now)
        if self.action is not None:
            self.action(now)


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture
def queue(loop):
    return TimerQueue(loop)


def test_targets_wake_in_order_and_once(loop, queue):
    order = []
    for when in (103.0, 101.0, 102.0):
        queue.wake(when, Target(lambda now, when=when: order.append(when)))
    loop.run_until(110.0)
    assert order == [101.0, 102.0, 103.0]
    loop.run_until(120.0)
    assert order == [101.0, 102.0, 103.0]
    assert not loop.armed


def test_only_one_timer_of_the_loop_is_armed(loop, queue):
    for when in range(200, 100, -1):
        queue.wake(float(when), Target())
    assert [handle.when for handle in loop.armed] == [101.0]


def test_a_timer_that_fires_early_counts_as_due(loop, queue):
    target = Target()
    queue.wake(101.0, target)
    loop.run_until(101.0, late=-0.001)
    assert target.woken == [101.0]


def test_a_target_may_ask_again_while_it_is_woken(loop, queue):
    target = Target(lambda now: queue.wake(now + 1, target) if now < 103 else None)
    queue.wake(101.0, target)
    loop.run_until(110.0)
    assert target.woken == [101.0, 102.0, 103.0]


def test_a_cancelled_wake_up_does_not_come(loop, queue):
    target, other = Target(), Target()
    entry = queue.wake(101.0, target)
    queue.wake(101.0, other)
    queue.cancel(entry)
    queue.cancel(entry)
    loop.run_until(110.0)
    assert not target.woken
    assert other.woken


def test_cancelled_wake_ups_do_not_pile_up(queue):
    queue.wake(5000.0, Target())
    for _ in range(10_000):
        queue.cancel(queue.wake(4000.0, Target()))
    assert len(queue._heap) < 1000


def test_a_target_may_cancel_others_while_it_is_woken(loop, queue):
    others = [Target() for _ in range(500)]
    entries = []
    queue.wake(101.0, Target(lambda now: [queue.cancel(entry) for entry in entries]))
    entries += [queue.wake(101.5, other) for other in others]
    last = Target()
    queue.wake(102.0, last)
    loop.run_until(110.0)
    assert not any(other.woken for other in others)
    assert last.woken


def test_a_closed_queue_wakes_nobody(loop, queue):
    target = Target()
    queue.wake(101.0, target)
    queue.close()
    assert not loop.armed
    loop.run_until(110.0)
    assert not target.woken


def test_what_is_due_soon_does_not_wait_for_what_was_asked_for_while_others_woke(loop, queue):
    queue.wake(101.0, Target(lambda now: queue.wake(now + 100, Target())))
    soon = Target()
    queue.wake(102.0, soon)
    loop.run_until(103.0)
    assert soon.woken == [102.0]
