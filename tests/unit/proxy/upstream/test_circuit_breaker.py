"""Limits of one worker and of several."""

import os

import pytest

from proxy.base.runtime import Runtime
from proxy.upstream.circuit_breaker import UNLIMITED, ResourceManager, SharedSlots, Thresholds


@pytest.fixture
def slots():
    slots = SharedSlots.create(3, 100)
    yield slots
    slots.close()


def test_a_limit_is_held_and_freed():
    limit = ResourceManager("c", 0, Thresholds(max_requests=2)).requests
    assert limit.try_acquire()
    assert limit.try_acquire()
    assert not limit.try_acquire()
    limit.release()
    assert limit.available
    assert limit.try_acquire()


def test_a_limit_of_zero_lets_nothing_through_but_force():
    limit = ResourceManager("c", 0, Thresholds(max_connections=0)).connections
    assert not limit.try_acquire()
    limit.acquire()
    assert limit.total() == 1


def test_workers_share_a_limit(slots):
    workers = [
        ResourceManager("c", 0, Thresholds(max_requests=2), slots, 7, worker).requests for worker in range(3)
    ]
    assert workers[0].try_acquire()
    assert workers[1].try_acquire()
    assert not workers[2].try_acquire()
    assert workers[2].total() == 2
    workers[0].release()
    assert workers[2].try_acquire()


def test_priorities_kinds_and_clusters_do_not_mix(slots):
    managers = [
        ResourceManager("c", priority, Thresholds(1, 1, 1, 1, 1), slots, cluster, 0)
        for priority in (0, 1)
        for cluster in (0, 1)
    ]
    for manager in managers:
        for kind in ("connections", "pending_requests", "requests", "retries", "connection_pools"):
            assert getattr(manager, kind).try_acquire()
            assert not getattr(manager, kind).try_acquire()


def test_what_a_dead_worker_held_is_given_back(slots):
    dead = ResourceManager("c", 0, Thresholds(max_requests=1), slots, 5, 1)
    alive = ResourceManager("c", 0, Thresholds(max_requests=1), slots, 5, 0)
    assert dead.requests.try_acquire()
    assert not alive.requests.try_acquire()
    slots.clear_worker(1)
    assert alive.requests.try_acquire()


def test_the_array_can_be_attached_by_descriptor(slots):
    other = SharedSlots.attach(os.dup(slots.fd), 3, 100)
    first = ResourceManager("c", 0, Thresholds(max_requests=1), slots, 99, 0)
    second = ResourceManager("c", 0, Thresholds(max_requests=1), other, 99, 1)
    assert first.requests.try_acquire()
    assert not second.requests.try_acquire()
    other.close()


def test_an_index_out_of_range_is_refused(slots):
    with pytest.raises(IndexError):
        slots.base(0, 100)


def test_it_is_known_which_workers_have_a_cluster_in_use(slots):
    assert slots.first_builder(4) == -1
    slots.set_built(2, 4, True)
    slots.set_built(1, 4, True)
    assert slots.first_builder(4) == 1
    slots.clear_worker(1)
    assert slots.first_builder(4) == 2


def test_runtime_overrides_limits_under_envoys_keys():
    manager = ResourceManager("svc", 1, Thresholds())
    manager.apply_runtime(Runtime({"circuit_breakers.svc.high.max_requests": "1"}))
    assert manager.requests.limit == 1
    assert manager.pending_requests.limit == 1024
    manager.apply_runtime(Runtime())
    assert manager.requests.limit == 1024


def test_gauges_tell_what_is_open_and_what_remains():
    manager = ResourceManager("c", 0, Thresholds(max_requests=1, track_remaining=True))
    manager.requests.try_acquire()
    gauges = manager.gauges("default.")
    assert gauges["default.rq_open"] == 1
    assert gauges["default.cx_open"] == 0
    assert gauges["default.remaining_rq"] == 0
    assert gauges["default.remaining_cx_pools"] == UNLIMITED
    assert set(ResourceManager("c", 0, Thresholds()).gauges("")) == {
        "cx_open",
        "rq_pending_open",
        "rq_open",
        "rq_retry_open",
        "cx_pool_open",
    }


def test_a_per_host_limit_is_divided_among_workers(slots):
    manager = ResourceManager("c", 0, Thresholds(max_connections_per_host=4), slots, 0, 0)
    assert manager.max_connections_per_host == 2


def test_a_budget_lets_a_part_of_what_is_active_be_retries():
    breaker = ResourceManager("c", 0, Thresholds(max_retries=0, retry_budget=(50.0, 1)))
    breaker.apply_runtime(Runtime())
    assert breaker.acquire_retry(0)
    assert not breaker.acquire_retry(0)
    for _ in range(3):
        breaker.requests.acquire()
    assert not breaker.acquire_retry(0)
    assert breaker.acquire_retry(1)
    breaker.pending_requests.acquire()
    assert not breaker.acquire_retry(1)


def test_a_runtime_key_alone_makes_a_budget():
    breaker = ResourceManager("c", 0, Thresholds(max_retries=9))
    key = "circuit_breakers.c.default.retry_budget.min_retry_concurrency"
    breaker.apply_runtime(Runtime({key: "0"}))
    assert not breaker.acquire_retry(0)
    breaker.apply_runtime(Runtime())
    assert breaker.acquire_retry(0)
