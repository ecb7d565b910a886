from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

import pytest

from proxy.base.address import Address
from proxy.upstream.pool.happy_eyeballs import connect_first, in_turn

A, B, C = (Address(ip=f"10.0.0.{number}", port=80) for number in (1, 2, 3))
X, Y = (Address(ip=f"2001:db8::{number}", port=80) for number in (1, 2))


class Socket:
    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Network:
    """Hosts that answer, refuse or are silent; `tried` are the addresses in order."""

    def __init__(self, **outcomes: Any) -> None:
        self.outcomes = outcomes
        self.tried: list[Address] = []
        self.given_up: list[Address] = []

    async def connect(self, address: Address) -> socket.socket:
        self.tried.append(address)
        outcome = self.outcomes[address.ip.rpartition(".")[2]]
        if isinstance(outcome, BaseException):
            raise outcome
        if outcome is None:
            try:
                await asyncio.sleep(3600)
            finally:
                self.given_up.append(address)
        return cast("socket.socket", outcome)

    def first(self) -> Any:
        return asyncio.run(connect_first((A, B, C), self.connect, delay=0.01))


def test_families_take_turns_beginning_with_the_first() -> None:
    assert in_turn((A, B, C, X, Y)) == [A, X, B, Y, C]
    assert in_turn((X, A)) == [X, A]
    assert in_turn((A, B)) == [A, B]


def test_several_of_a_chosen_family_go_before_each_of_the_other() -> None:
    assert in_turn((A, B, C, X, Y), count=2) == [A, B, X, C, Y]
    assert in_turn((A, B, C, X, Y), X.family) == [X, A, Y, B, C]
    assert in_turn((A, X, Y), X.family, 99) == [X, Y, A]
    assert in_turn((A, B), X.family, 2) == [A, B]


def test_the_next_address_is_tried_when_one_refuses() -> None:
    answer = Socket()
    network = Network(**{"1": ConnectionRefusedError(), "2": answer, "3": Socket()})
    assert network.first() is answer
    assert network.tried == [A, B]


def test_the_next_address_is_tried_when_one_is_silent() -> None:
    answer = Socket()
    network = Network(**{"1": None, "2": answer, "3": Socket()})
    assert network.first() is answer
    assert network.given_up == [A]


def test_what_the_last_says_is_what_went_wrong() -> None:
    network = Network(**{"1": ConnectionRefusedError(), "2": OSError("unreachable"), "3": TimeoutError("x")})
    with pytest.raises(TimeoutError):
        network.first()
    assert network.tried == [A, B, C]
