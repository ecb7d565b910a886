"""Connecting to a host with several addresses: the next is tried when one fails, or is slow (RFC 8305)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from proxy.base.address import Address

#: Seconds after which the next address is tried beside the present one. Envoy's value.
ATTEMPT_DELAY: Final = 0.3


def in_turn(addresses: Sequence[Address], family: int | None = None, count: int = 1) -> list[Address]:
    """The addresses with their families taking turns: `count` of `family`, or of that of the first one, and one
    other.
    """
    family = addresses[0].family if family is None else family
    first = [one for one in addresses if one.family == family]
    others = [one for one in addresses if one.family != family]
    ordered: list[Address] = []
    for start in range(0, max(len(first), len(others) * count), count):
        ordered += first[start : start + count]
        ordered += others[start // count : start // count + 1]
    return ordered


async def connect_first(
    addresses: Sequence[Address],
    connect: Callable[[Address], Awaitable[socket.socket]],
    delay: float = ATTEMPT_DELAY,
) -> socket.socket:
    """The socket of the address that answers first. Raises the `OSError` of the last one if none does.

    They are tried one after the other. Whatever `connect` gives for the others is closed.
    """
    left = list(addresses)
    running: set[asyncio.Future[socket.socket]] = set()
    last: OSError | None = None
    try:
        while left or running:
            if left:
                running.add(asyncio.ensure_future(connect(left.pop(0))))
            done, running = await asyncio.wait(
                running, timeout=delay if left else None, return_when=asyncio.FIRST_COMPLETED
            )
            made = [attempt.result() for attempt in done if attempt.exception() is None]
            for late in made[1:]:
                late.close()
            if made:
                return made[0]
            for attempt in done:
                error = attempt.exception()
                if not isinstance(error, OSError):
                    assert error is not None
                    raise error
                last = error
    finally:
        for attempt in running:
            attempt.cancel()
            attempt.add_done_callback(_close_late)
    assert last is not None
    raise last


def _close_late(attempt: asyncio.Future[socket.socket]) -> None:
    """One that was cancelled may have succeeded in the same moment."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()
