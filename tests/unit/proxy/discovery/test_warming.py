from __future__ import annotations

import asyncio

from proxy.discovery.warming import Warming


def test_it_is_over_when_everything_has_settled_after_the_start() -> None:
    done: list[str] = []
    warming = Warming(1.0, lambda: done.append("done"))
    warming.add("a")
    warming.add("b")
    warming.settled("a")
    warming.start()
    assert done == []
    assert warming.waits == {"b"}
    warming.settled("b")
    warming.settled("b")
    assert done == ["done"]
    asyncio.run(asyncio.wait_for(warming.wait(), 1))


def test_nothing_to_wait_for_is_over_at_once() -> None:
    done: list[str] = []
    Warming(1.0, lambda: done.append("done")).start()
    assert done == ["done"]


def test_who_has_been_cancelled_hears_nothing() -> None:
    done: list[str] = []
    warming = Warming(1.0, lambda: done.append("done"))
    warming.add("a")
    warming.start()
    warming.cancel()
    warming.settled("a")
    assert done == []
    asyncio.run(asyncio.wait_for(warming.wait(), 1))


def test_a_last_step_may_wait_for_more():
    done = []
    warming = Warming(0.0, lambda: done.append("done"))
    warming.add("first")
    warming.before_end(lambda: warming.add("second"))
    warming.start()
    warming.settled("first")
    assert (done, warming.waits) == ([], {"second"})
    warming.settled("second")
    assert done == ["done"]
