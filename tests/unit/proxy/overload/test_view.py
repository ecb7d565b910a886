"""What a worker does of what it was told."""

from __future__ import annotations

import gc

from proxy.overload.names import (
    CONNECTION_IDLE,
    CONNECTION_MAX,
    DECODE_HEADERS,
    REDUCE_TIMEOUTS,
    REJECT_INCOMING_CONNECTIONS,
    TCP_LISTENER_ACCEPT,
)
from proxy.overload.triggers import TimerMinimum
from proxy.overload.view import OverloadView


class Watcher:
    def __init__(self) -> None:
        self.told = 0

    def on_overload(self) -> None:
        self.told += 1


def view(draw: int = 0) -> OverloadView:
    return OverloadView(lambda: draw, [TCP_LISTENER_ACCEPT])


def test_a_scale_happens_as_often_as_it_says() -> None:
    draws = iter([int(0.49 * 2**64), int(0.51 * 2**64)])
    seen = OverloadView(lambda: next(draws), ())
    seen.use({"a": 0.5})
    assert [seen.happens("a"), seen.happens("a")] == [True, False]


def test_saturated_is_always_and_inactive_never() -> None:
    seen = view(2**64 - 1)
    seen.use({"a": 1.0})
    assert seen.happens("a")
    assert not view().happens("a")


def test_what_is_shed_is_counted() -> None:
    seen = view()
    assert not seen.rejects_connection()
    seen.use({TCP_LISTENER_ACCEPT: 1.0})
    assert seen.rejects_connection()
    seen.use({REJECT_INCOMING_CONNECTIONS: 1.0})
    assert seen.rejects_connection()
    assert seen.stats.counters() == {f"overload.{TCP_LISTENER_ACCEPT}.shed_load_count": 1}
    assert seen.state(DECODE_HEADERS) == 0.0


def test_watchers_are_told_while_they_live() -> None:
    seen, watcher = view(), Watcher()
    seen.watch(watcher)
    seen.use({"a": 1.0})
    assert watcher.told == 1
    del watcher
    gc.collect()
    seen.use({})


def test_only_timeouts_of_the_config_are_reduced() -> None:
    seen = OverloadView(lambda: 0, (), {CONNECTION_IDLE: TimerMinimum(2.0, 0.0)})
    assert seen.reduced(CONNECTION_IDLE, 10.0) == 10.0
    seen.use({REDUCE_TIMEOUTS: 0.5})
    assert seen.reduced(CONNECTION_IDLE, 10.0) == 6.0
    assert seen.reduced(CONNECTION_MAX, 10.0) == 10.0
    assert seen.reduced(CONNECTION_IDLE, 0.0) == 0.0
