"""The poll of a filter's sockets, on socket pairs."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from proxy.udp_proxy.socket_poll import SocketPoll


class Loop:
    """Keeps the one reader, so that a test may call it."""

    def __init__(self) -> None:
        self.readers: dict[int, Callable[[], None]] = {}

    def time(self) -> float:
        return 5.0

    def add_reader(self, descriptor: int, call: Callable[[], None]) -> None:
        self.readers[descriptor] = call

    def remove_reader(self, descriptor: int) -> None:
        del self.readers[descriptor]

    def turn(self) -> None:
        for call in list(self.readers.values()):
            call()


class Owner:
    def __init__(self, on_read: Callable[[bytes], None] = lambda data: None) -> None:
        self.socket, self.other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.read: list[bytes] = []
        self._on_read = on_read

    def on_readable(self, now: float) -> None:
        assert now == 5.0
        self.read.append(self.socket.recv(10))
        self._on_read(self.read[-1])

    def close(self) -> None:
        self.socket.close()
        self.other.close()


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def poll(loop: Loop) -> Iterator[SocketPoll]:
    made = SocketPoll(cast("Any", loop))
    yield made
    made.close()
    assert not loop.readers


def test_whoever_has_something_to_read_is_told_until_it_is_read(loop: Loop, poll: SocketPoll) -> None:
    owners = [Owner() for _ in range(3)]
    for owner in owners:
        poll.add(owner.socket.fileno(), owner)
    owners[1].other.send(b"a")
    owners[1].other.send(b"b")
    owners[2].other.send(b"c")
    loop.turn()
    assert [owner.read for owner in owners] == [[], [b"a", b"b"], [b"c"]]
    for owner in owners:
        poll.remove(owner.socket.fileno())
        owner.close()


def test_one_that_was_removed_in_the_same_turn_is_not_told(loop: Loop, poll: SocketPoll) -> None:
    def remove(_data: bytes) -> None:
        for owner in owners:
            poll.remove(owner.socket.fileno())

    owners = [Owner(remove), Owner(remove)]
    for owner in owners:
        poll.add(owner.socket.fileno(), owner)
        owner.other.send(b"x")
    loop.turn()
    assert sorted(len(owner.read) for owner in owners) == [0, 1]
    for owner in owners:
        owner.close()


def test_much_from_one_leaves_others_of_the_loop_their_turn(loop: Loop, poll: SocketPoll) -> None:
    owner = Owner()
    poll.add(owner.socket.fileno(), owner)
    owner.other.setblocking(False)
    sent = 0
    try:
        while sent < 20:
            owner.other.send(b"x")
            sent += 1
    except BlockingIOError:
        pass
    loop.turn()
    assert 0 < len(owner.read) < sent
    while len(owner.read) < sent:
        loop.turn()
    poll.remove(owner.socket.fileno())
    owner.close()
