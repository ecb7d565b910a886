"""Who is given which listeners, and when they accept and stop."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from proxy.admin.server_stats import ListenerManagerStats
from proxy.app.served_listeners import ServedListeners
from proxy.base.address import Address
from proxy.connection.sockets import ListenAddress


class Active:
    def __init__(self, *ports: int) -> None:
        self.draining = False
        self.shared: frozenset[int] = frozenset()
        self.bound = tuple(ListenAddress(Address("127.0.0.1", port)) for port in ports or (1,))
        self.sockets = [[port] for port in ports or (1,)]
        self.calls: list[str] = []

    def of_worker(self, index: int) -> list[int]:
        return [index]

    def further_of_worker(self, _index: int) -> list[tuple[int, int]]:
        return [(0, 8), (0, 9)]

    def addresses(self) -> list[str]:
        return ["127.0.0.1:1"]

    def listen(self) -> None:
        self.calls.append("listen")

    def refuse(self) -> None:
        self.calls.append("refuse")

    def close(self) -> None:
        self.calls.append("close")


def record(name: str, *ports: int, inbound: bool = False) -> Any:
    plan = SimpleNamespace(name=name, serialized=b"", inbound=inbound, bound=True)
    return SimpleNamespace(plan=plan, active=Active(*ports), number=7, column=1)


class Table(list[Any]):
    @property
    def active(self) -> dict[str, Any]:
        return {one.plan.name: one for one in self}


class World:
    def __init__(self, *records: Any) -> None:
        self.told: list[Any] = []
        self.broadcast: list[Any] = []
        self.later: list[Any] = []
        handle = SimpleNamespace(index=0, send=self.told.append)
        workers: Any = SimpleNamespace(
            alive=lambda: [handle], broadcast=self.broadcast.append, pass_sockets=lambda *passed: None
        )
        loop: Any = SimpleNamespace(call_later=lambda _delay, call, *given: self.later.append((call, given)))
        options: Any = SimpleNamespace(concurrency=2, drain_time_s=5, drain_strategy="gradual")
        self.stats = ListenerManagerStats("listener_manager.")
        self.served = ServedListeners(loop, options, workers, self.stats)
        self.served.table = Table(records)  # type: ignore[assignment]

    def pass_time(self) -> None:
        due, self.later[:] = list(self.later), []
        for call, given in due:
            call(*given)


@pytest.fixture
def world() -> World:
    return World(record("in", inbound=True), record("out"))


def test_a_listener_that_comes_before_all_are_served_waits(world: World) -> None:
    world.served.start(world.served.table.active["in"])
    assert world.told == []
    world.served.serve()
    assert [message[:2] for message in world.told] == [("listener", "in"), ("listener", "out"), ("serve",)]
    # Beside its own socket the worker gets further ones, with the number of their address.
    assert world.told[0][5:] == (1, (0, 0))


def test_connections_come_in_only_when_workers_are_ready(world: World) -> None:
    world.served.serve()
    late = record("late")
    world.served.start(late)
    assert late.active.calls == []
    world.served.accept()
    assert [one.active.calls for one in world.served.table] == [["listen"], ["listen"]]
    assert world.stats.listener_create_success == 4
    later = record("later")
    world.served.start(later)
    assert later.active.calls == ["listen"]
    assert world.stats.listener_create_success == 6


def test_draining_inbound_leaves_outbound_alone(world: World) -> None:
    inbound, outbound = world.served.table
    world.served.drain(inbound_only=True)
    assert world.broadcast == [("drain_listeners", ["in"])]
    world.pass_time()
    assert (inbound.active.calls, outbound.active.calls) == (["refuse"], [])
    world.served.drain(inbound_only=True)
    assert len(world.broadcast) == 1


def test_a_graceful_drain_announces_first(world: World) -> None:
    world.served.drain_gracefully(inbound_only=False, stop=True)
    assert world.broadcast == [("announce", ["in", "out"], 5)]
    world.pass_time()
    assert world.broadcast[1:] == [("drain_listeners", ["in", "out"])]


def test_listeners_that_go_are_closed_after_a_moment(world: World) -> None:
    gone = record("gone")
    world.served.stop([gone])
    assert (world.broadcast, gone.active.calls) == ([("remove_listeners", ["gone"])], [])
    world.pass_time()
    assert gone.active.calls == ["refuse", "close"]


def test_who_takes_over_gets_the_sockets_by_address_and_they_are_never_shut_here() -> None:
    world = World(record("web", 80, 81), record("any", 0))
    assert list(world.served.pass_sockets()) == [("127.0.0.1:80", [80]), ("127.0.0.1:81", [81])]
    web, any_port = (one.active for one in world.served.table)
    assert (web.shared, any_port.shared) == ({0, 1}, {0})
    world.served.unshare()
    assert (web.shared, any_port.shared) == (set(), set())


def test_after_a_take_over_nobody_shuts_what_was_taken() -> None:
    world = World(record("web", 80, 81), record("gone", 82))
    world.served.hand_over(frozenset({"127.0.0.1:80"}), keep=False)
    assert world.broadcast == [
        ("announce", ["web", "gone"], 5),
        ("drain_listeners", ["web", "gone"], {"web": (0,), "gone": ()}),
    ]
    assert [one.active.draining for one in world.served.table] == [True, True]


def test_what_the_successor_may_still_claim_goes_on() -> None:
    world = World(record("web", 80), record("late", 81))
    world.served.hand_over(frozenset({"127.0.0.1:80"}), keep=True)
    assert [one.active.draining for one in world.served.table] == [True, False]
    world.served.hand_over(frozenset({"127.0.0.1:81"}), keep=True)
    assert world.broadcast[-1] == ("drain_listeners", ["late"], {"late": (0,)})
