"""The hosts of a cluster under check: who is asked, who is told, which numbers come of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from proxy.base.address import Address
from proxy.base.runtime import Runtime
from proxy.upstream.cluster_config import Discovery
from proxy.upstream.health_check.cluster_checks import ClusterChecks, Surroundings
from proxy.upstream.health_check.http_probe import BROKEN, Result
from proxy.upstream.health_check.session import CheckedHost
from proxy.upstream.health_check.verdict import Failure
from tests.support.cluster_messages import compiled, endpoint

CHECK = {
    "timeout": "1s",
    "interval": "2s",
    "no_traffic_interval": "5s",
    "unhealthy_threshold": 2,
    "healthy_threshold": 2,
    "event_log_path": "/events",
    "http_health_check": {"path": "/"},
}


def host(port: int, check_port: int | None = None) -> CheckedHost:
    address = Address("10.0.0.1", port)
    return CheckedHost((address.text, 0), address, Address("10.0.0.1", check_port or port))


class Timer:
    def __init__(self, delay: float, function: Callable[..., Any]) -> None:
        self.delay = delay
        self.function = function
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Prober:
    def __init__(self, host: CheckedHost, on_lost: Callable[[], None]) -> None:
        self.host = host
        self.on_lost = on_lost
        self.done: Callable[[Result], None] | None = None
        self.cancelled = self.closed = False

    def start(self, done: Callable[[Result], None]) -> None:
        self.done = done

    def cancel(self) -> None:
        self.cancelled = True

    def close(self) -> None:
        self.closed = True

    def answer(self, result: Result) -> None:
        assert self.done is not None
        done, self.done = self.done, None
        done(result)


class Checks(ClusterChecks):
    probers: list[Prober]

    def make_prober(self, host: CheckedHost, on_lost: Callable[[], None]) -> Any:
        prober = Prober(host, on_lost)
        self.probers.append(prober)
        return prober


class World:
    def __init__(self, **fields: Any) -> None:
        self.timers: list[Timer] = []
        self.flags: dict[Any, int] = {}
        self.passed: list[Any] = []
        self.lines: list[str] = []
        self.rounds = 0
        self.traffic = False
        Checks.probers = self.probers = []
        config = replace(compiled(endpoint(), health_checks=[{**CHECK, **fields}]))
        env: Any = Surroundings(
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            lambda: 0,
            lambda: 0.0,
            Runtime(),
            lambda _path: self.lines.append,
            lambda _name: self.traffic,
        )
        self.checks = Checks(config, env, self.flags.__setitem__, self._passed, self._round)

    def call_later(self, delay: float, function: Callable[..., Any]) -> Timer:
        timer = Timer(delay, function)
        self.timers.append(timer)
        return timer

    def due(self) -> list[Timer]:
        """Timers that are set now; none of them stays."""
        timers = [timer for timer in self.timers if not timer.cancelled]
        self.timers.clear()
        return timers

    def fire(self) -> list[float]:
        timers = self.due()
        for timer in timers:
            timer.function()
        return [timer.delay for timer in timers]

    def _passed(self, key: Any) -> None:
        self.passed.append(key[0])

    def _round(self) -> None:
        self.rounds += 1


def test_the_first_round_ends_when_every_host_has_a_result() -> None:
    world = World()
    world.checks.set_hosts([host(1), host(2)])
    world.checks.start()
    assert world.fire() == [0, 0]
    world.probers[0].answer(Result(status=200))
    assert world.rounds == 0
    world.probers[1].answer(BROKEN)
    assert world.rounds == 1
    assert world.flags == {("10.0.0.1:1", 0): 0, ("10.0.0.1:2", 0): 1}
    assert world.passed == ["10.0.0.1:1"]
    stats = world.checks.stats
    assert (stats.attempt, stats.success, stats.failure, stats.network_failure) == (2, 1, 1, 1)
    assert stats.healthy == 1
    assert "add_healthy_event" in world.lines[0]
    assert "health_check_failure_event" in world.lines[1]
    assert sorted(timer.delay for timer in world.due()) == [5, 5]


def test_a_cluster_without_hosts_waits_for_nobody_and_a_host_that_goes_is_not_awaited() -> None:
    world = World()
    world.checks.start()
    assert world.rounds == 1
    other = World()
    other.checks.set_hosts([host(1)])
    other.checks.start()
    other.checks.set_hosts([])
    assert other.rounds == 1
    assert other.probers[0].closed


def test_a_check_that_takes_too_long_is_given_up() -> None:
    world = World()
    world.checks.set_hosts([host(1)])
    world.fire()
    (timeout,) = world.due()
    assert timeout.delay == 1
    timeout.function()
    assert world.probers[0].cancelled
    assert world.flags == {("10.0.0.1:1", 0): 1 | 0x100}


def test_traffic_makes_checks_frequent() -> None:
    world = World()
    world.traffic = True
    world.checks.set_hosts([host(1)])
    world.fire()
    world.probers[0].answer(Result())
    assert [timer.delay for timer in world.due()] == [2]


def test_what_is_known_of_hosts_that_stay_is_kept() -> None:
    world = World()
    world.checks.set_hosts([host(1), host(2)])
    world.fire()
    for prober in world.probers:
        prober.answer(Result())
    first = world.checks.sessions[("10.0.0.1:1", 0)]
    world.checks.set_hosts([host(1), host(2, check_port=9)])
    assert world.checks.sessions[("10.0.0.1:1", 0)] is first
    assert world.checks.stats.healthy == 1
    assert not world.checks.sessions[("10.0.0.1:2", 0)].verdict.checked


def test_the_host_of_a_logical_cluster_moves() -> None:
    world = World()
    world.checks.config = replace(world.checks.config, discovery=Discovery.LOGICAL_DNS)
    world.checks.set_hosts([host(1)])
    world.fire()
    world.probers[0].answer(Result())
    world.checks.set_hosts([host(2)])
    (session,) = world.checks.sessions.values()
    assert session.verdict.healthy
    assert world.probers[0].closed
    assert world.probers[1].host == host(2)
    assert len(world.due()) == 1


def test_a_connection_that_ends_between_two_checks_is_a_failure() -> None:
    world = World()
    world.checks.set_hosts([host(1)])
    world.fire()
    world.probers[0].answer(Result())
    world.probers[0].on_lost()
    assert world.checks.stats.network_failure == 1
    assert world.flags == {("10.0.0.1:1", 0): 0}


def test_answers_of_the_wrong_cluster_are_counted() -> None:
    world = World()
    world.checks.set_hosts([host(1)])
    world.fire()
    world.probers[0].answer(Result(Failure.ACTIVE, verified=True, status=200))
    assert world.checks.stats.verify_cluster == 1


def test_nothing_happens_after_the_end() -> None:
    world = World()
    world.checks.set_hosts([host(1)])
    world.checks.close()
    assert world.due() == []
    assert world.rounds == 0


@pytest.mark.parametrize(("reuse", "most"), [(True, 0), (False, 1)])
def test_probes_have_connections_of_their_own(reuse: bool, most: int) -> None:
    world = World(reuse_connection=reuse)

    async def pool() -> Any:
        world.checks.env.loop = asyncio.get_running_loop()
        prober: Any = ClusterChecks.make_prober(world.checks, host(1, check_port=9), lambda: None)
        return prober._pool

    made = asyncio.run(pool())
    assert made.host.address == Address("10.0.0.1", 9)
    assert made.config.http.max_requests_per_connection == most
    assert made.config.connect_timeout == 1
