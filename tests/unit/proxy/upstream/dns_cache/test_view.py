"""What a worker knows of a DNS cache, and who waits."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.base.address import Address
from proxy.upstream.breaker_watch import QUIET_SECONDS, BreakerWatch
from proxy.upstream.dns_cache.config import DnsCacheConfig
from proxy.upstream.dns_cache.hosts import Load
from proxy.upstream.dns_cache.names import host_name
from proxy.upstream.dns_cache.view import DnsCacheViews, KnownHost, view_of
from tests.support.fake_clock import FakeClock
from tests.support.listeners import numbers, services

A = host_name("a.test", 80)
B = host_name("b.test", 80)
PENDING = "dns_cache.c.circuit_breakers.rq_pending_"


class Waits:
    """A waiter that takes notes."""

    def __init__(self) -> None:
        self.heard: list[KnownHost | None] = []

    def on_dns_loaded(self, known: KnownHost | None) -> None:
        self.heard.append(known)


class Listens:
    """A listener that takes notes."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_dns_host(self, known: KnownHost) -> None:
        self.heard.append(f"{known.host.key} {known.address}")

    def on_dns_forgotten(self, key: str) -> None:
        self.heard.append(f"{key} forgotten")


class Worker:
    """A worker's caches; `sent` is what the controller was told."""

    def __init__(self, workers: int = 1, **fields: Any) -> None:
        self.of = services()
        self.of.workers = workers
        self.sent: list[tuple[Any, ...]] = []
        self.views = DnsCacheViews(self.of, self.sent.append)
        self.view = view_of(DnsCacheConfig("c", serialized=b"settings", **fields), self.of)

    def resolve(self, host: Any, ip: str = "10.0.0.1", reason: str = "") -> None:
        self.views.resolved("c", [(*host, ip, reason)])


def test_the_controller_is_asked_once_and_everybody_hears() -> None:
    worker = Worker()
    waits = [Waits(), Waits()]
    for one in waits:
        assert worker.view.load(A, one) == (Load.LOADING, None)
    assert worker.sent == [("resolve", b"settings", "a.test:80", "a.test", 80, True)]
    assert worker.view.pending == 2
    worker.resolve(A)
    assert [one.heard[0].address for one in waits if one.heard[0]] == [Address("10.0.0.1", 80)] * 2
    assert worker.view.pending == 0
    assert worker.view.load(A, waits[0])[0] is Load.IN_CACHE


def test_a_host_without_an_address_is_known_too() -> None:
    worker = Worker()
    worker.resolve(A, "", "no such name")
    load, known = worker.view.load(A, Waits())
    assert load is Load.IN_CACHE
    assert known is not None
    assert (known.address, known.reason) == (None, "no such name")


def test_who_has_left_hears_nothing() -> None:
    worker = Worker()
    stays, leaves = Waits(), Waits()
    worker.view.load(A, stays)
    worker.view.load(A, leaves)
    worker.view.leave(A.key, leaves)
    worker.view.leave(A.key, leaves)
    assert worker.view.pending == 1
    worker.resolve(A)
    worker.view.leave(A.key, stays)
    assert (len(stays.heard), len(leaves.heard), worker.view.pending) == (1, 0, 0)


def test_only_so_many_wait_each_worker_its_share() -> None:
    worker = Worker(workers=2, max_pending_requests=3)
    assert numbers(worker.of) == {f"{PENDING}remaining": 2}
    for host in (A, B):
        assert worker.view.load(host, Waits())[0] is Load.LOADING
    assert worker.view.load(A, Waits())[0] is Load.PENDING_OVERFLOW
    assert numbers(worker.of) == {"dns_cache.c.dns_rq_pending_overflow": 1}
    assert worker.view.stats.gauges() == {f"{PENDING}open": 1, f"{PENDING}remaining": 0}


def test_who_may_not_wait_opens_the_breaker() -> None:
    worker = Worker(workers=2, max_pending_requests=2)
    told: list[Any] = []
    clock = FakeClock()
    worker.of.breaker_watch = BreakerWatch(
        clock,
        clock,
        lambda key, why: told.append((key, why)),
        lambda key, refused: told.append((key, refused)),
    )
    for _ in range(3):
        worker.view.load(A, Waits())
    key = ("c", "", "pending_requests")
    why = "max_pending_requests is 2, 1 of them in each worker, and 1 are in use"
    assert told == [(key, why)]
    clock.advance(2 * QUIET_SECONDS)
    assert len(told) == 1
    worker.resolve(A)
    clock.advance(QUIET_SECONDS)
    assert told[1:] == [(key, 2)]


def test_a_full_cache_is_not_asked_for_more() -> None:
    worker = Worker(max_hosts=1)
    worker.resolve(A)
    assert worker.view.load(B, Waits()) == (Load.OVERFLOW, None)
    assert not worker.sent


def test_the_controller_may_have_no_place() -> None:
    worker = Worker()
    waits = Waits()
    worker.view.load(A, waits)
    worker.views.overflow("c", A.key)
    assert waits.heard == [None]
    assert worker.view.load(A, waits)[0] is Load.LOADING
    assert len(worker.sent) == 2


def test_use_is_told_several_times_in_the_life_of_a_host() -> None:
    worker = Worker(host_ttl=80.0)
    worker.resolve(A)
    known = worker.view.known[A.key]
    for seconds in (0, 8, 1):
        worker.of.timers.advance(seconds)  # type: ignore[attr-defined]
        worker.view.touch(known)
    assert worker.sent == [("resolve", b"settings", "a.test:80", "a.test", 80, False)]
    worker.of.timers.advance(10)  # type: ignore[attr-defined]
    worker.view.touch(known)
    assert len(worker.sent) == 2


def test_listeners_hear_of_addresses_and_of_their_end() -> None:
    worker = Worker()
    listens = Listens()
    worker.view.listeners[listens] = None
    worker.resolve(A)
    worker.resolve(A, "10.0.0.2")
    worker.resolve(B, "", "no such name")
    worker.views.forgotten("c", A.key)
    worker.views.forgotten("c", A.key)
    assert listens.heard == ["a.test:80 10.0.0.1:80", "a.test:80 10.0.0.2:80", "a.test:80 forgotten"]
    assert worker.view.load(A, Waits())[0] is Load.LOADING


def test_what_is_told_before_the_first_use_is_kept() -> None:
    of = services()
    views = DnsCacheViews(of, lambda message: None)
    views.resolved("c", [(*A, "10.0.0.1", "")])
    assert view_of(DnsCacheConfig("c"), of).load(A, Waits())[0] is Load.IN_CACHE


def test_a_host_to_come_is_asked_for_without_waiting() -> None:
    worker = Worker()
    worker.view.prepare(A)
    worker.view.prepare(A)
    assert len(worker.sent) == 1
    assert worker.view.pending == 0
    waits = Waits()
    worker.view.load(A, waits)
    worker.resolve(A)
    assert len(waits.heard) == 1


def test_the_first_config_of_a_name_is_in_force(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker()
    assert worker.views.view(DnsCacheConfig("c", max_hosts=7, serialized=b"others")) is worker.view
    assert "DNS cache c is configured in two ways" in caplog.text
    caplog.clear()
    worker.views.view(worker.view.config)
    assert not caplog.text
