"""Which of many sockets have something to read.

A watch of the event loop for each session would cost an object of it; here all sessions of a filter share an
`epoll` of their own, which the loop watches as one. It also tells of an error on a socket (a host that is not
there), which libuv takes for the end of a descriptor.
"""

from __future__ import annotations

import asyncio
import select
from typing import Final, Protocol

# Sockets that have their turn, and how often, before others of the loop do. One datagram is read at a turn: most
# sockets have no more, and to find that out by reading costs more than to ask for all of them again.
_BATCH: Final = 128
_ROUNDS: Final = 8


class Readable(Protocol):
    """Who has a socket here."""

    def on_readable(self, now: float) -> None:
        """Read one datagram, or an error; `now` is monotonic seconds. Called again as long as there are more."""


class SocketPoll:
    """See module."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._owners: dict[int, Readable] = {}
        loop.add_reader(self._epoll.fileno(), self._on_ready)

    def add(self, descriptor: int, owner: Readable) -> None:
        """Watch a socket. Raises `OSError`."""
        self._epoll.register(descriptor, select.EPOLLIN)
        self._owners[descriptor] = owner

    def remove(self, descriptor: int) -> None:
        """Watch a socket no longer; before it is closed."""
        if self._owners.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Watch nothing any more."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        self._owners.clear()

    def _on_ready(self) -> None:
        now = self._loop.time()
        poll, owners = self._epoll.poll, self._owners
        for _ in range(_ROUNDS):
            ready = poll(0, _BATCH)
            for descriptor, _events in ready:
                # An owner may have removed another of the same batch.
                owner = owners.get(descriptor)
                if owner is not None:
                    owner.on_readable(now)
            if not ready or self._epoll.closed:
                return
