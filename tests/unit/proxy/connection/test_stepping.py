"""Coroutines without a task."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.connection.stepping import Steps


def run(wait: Any, act: Any = None) -> tuple[list[Any], list[str]]:
    """What `on_end` was told for a coroutine that awaits `wait(loop)`, and what the coroutine noted."""
    loop = asyncio.SelectorEventLoop()
    ends: list[Any] = []
    notes: list[str] = []

    async def coroutine() -> None:
        try:
            notes.append(str(await wait(loop)))
        finally:
            notes.append("closed")

    steps = Steps(coroutine(), ends.append)
    steps.begin()
    if act is not None:
        act(steps)
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    return ends, notes


def later(loop: asyncio.AbstractEventLoop, result: Any) -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = loop.create_future()
    if isinstance(result, Exception):
        loop.call_soon(future.set_exception, result)
    else:
        loop.call_soon(future.set_result, result)
    return future


def test_it_runs_to_the_end() -> None:
    assert run(lambda loop: later(loop, 7)) == ([None], ["7", "closed"])


def test_what_it_raises_is_told() -> None:
    error = OSError("refused")
    assert run(lambda loop: later(loop, error)) == ([error], ["closed"])


def test_it_may_end_or_fail_at_once() -> None:
    async def at_once(loop: asyncio.AbstractEventLoop) -> int:
        del loop
        return 3

    async def fail(loop: asyncio.AbstractEventLoop) -> int:
        del loop
        raise ValueError("no")

    assert run(at_once) == ([None], ["3", "closed"])
    ends, notes = run(fail)
    assert str(ends[0]) == "no"
    assert notes == ["closed"]


@pytest.mark.parametrize("times", [1, 2])
def test_a_cancelled_one_closes_what_it_holds_and_tells_nobody(times: int) -> None:
    def act(steps: Steps) -> None:
        for _ in range(times):
            steps.cancel()

    assert run(lambda loop: later(loop, 7), act) == ([], ["closed"])
