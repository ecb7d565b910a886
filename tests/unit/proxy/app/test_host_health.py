"""What workers are told of the health of hosts."""

from collections.abc import Callable
from typing import Any

import pytest

from proxy.app.host_health import HostHealth
from proxy.upstream.health_flags import HealthFlag

FAILED, EJECTED = HealthFlag.FAILED_ACTIVE_HC, HealthFlag.FAILED_OUTLIER_CHECK
ONE, TWO = ("10.0.0.1:80", 0), ("10.0.0.2:80", 0)


class World:
    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []
        self.sent: list[Any] = []
        self.health = HostHealth(self.soon.append, self.sent.append)

    def turn(self) -> list[Any]:
        """What goes to workers in the next turn of the loop."""
        self.sent.clear()
        waiting = list(self.soon)
        self.soon.clear()
        for function in waiting:
            function()
        return list(self.sent)


@pytest.fixture
def world() -> World:
    return World()


def test_changes_of_one_turn_are_one_message_for_each_cluster(world: World) -> None:
    assert world.health.change("a", ONE, add=FAILED)
    assert world.health.change("a", TWO, add=FAILED)
    assert world.health.change("a", TWO, clear=FAILED)
    assert world.health.change("b", ONE, add=EJECTED)
    assert world.turn() == [("health", "a", {ONE: 1, TWO: 0}), ("health", "b", {ONE: 2})]
    assert world.turn() == []


def test_each_who_judges_a_host_has_flags_of_their_own(world: World) -> None:
    world.health.change("a", ONE, add=FAILED)
    world.health.change("a", ONE, add=EJECTED)
    assert world.turn() == [("health", "a", {ONE: 3})]
    assert not world.health.change("a", ONE, add=EJECTED)
    world.health.change("a", ONE, clear=FAILED)
    assert world.health.flags("a", ONE) == EJECTED
    assert world.turn() == [("health", "a", {ONE: 2})]


def test_a_worker_that_starts_hears_everything(world: World) -> None:
    world.health.change("a", ONE, add=FAILED)
    world.health.change("b", TWO, add=0)
    assert list(world.health.messages()) == [("health", "a", {ONE: 1}), ("health", "b", {TWO: 0})]


def test_hosts_and_clusters_that_have_gone_are_forgotten(world: World) -> None:
    told = []
    world.health.watchers.append(lambda cluster, hosts: told.append((cluster, list(hosts))))
    for name in ("a", "b"):
        world.health.change(name, ONE, add=FAILED)
        world.health.change(name, TWO, add=FAILED)
    world.turn()
    world.health.forget("a", ONE)
    world.health.forget("a", ("10.0.0.9:80", 0))
    world.health.forget_cluster("b")
    assert world.turn() == [("health", "a", {ONE: None}), ("health", "b", {ONE: None, TWO: None})]
    assert told[-2:] == [("a", [ONE]), ("b", [ONE, TWO])]
    assert list(world.health.messages()) == [("health", "a", {TWO: 1})]


def test_one_may_tell_workers_at_once(world: World) -> None:
    world.health.change("a", ONE, add=FAILED)
    world.health.flush()
    assert world.sent == [("health", "a", {ONE: 1})]
    assert world.turn() == []
