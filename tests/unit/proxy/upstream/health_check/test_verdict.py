"""What results of checks make of a host, and when the next check is due."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from proxy.upstream.health_check.config import HealthCheckConfig, HttpCheck
from proxy.upstream.health_check.verdict import (
    Event,
    Failure,
    HostVerdict,
    Transition,
    first_delay,
    next_delay,
)
from proxy.upstream.health_flags import flag_texts

CHECK = HealthCheckConfig(
    HttpCheck("/"),
    timeout=1,
    interval=10,
    unhealthy_threshold=2,
    healthy_threshold=2,
    unhealthy_interval=20,
    unhealthy_edge_interval=30,
    healthy_edge_interval=40,
)


def well(config: HealthCheckConfig = CHECK) -> HostVerdict:
    verdict = HostVerdict(config)
    verdict.succeeded()
    return verdict


def test_a_host_fails_until_its_first_check_which_counts_at_once() -> None:
    verdict = HostVerdict(CHECK, ignored_until_checked=True)
    assert flag_texts(verdict.flags) == ("/failed_active_hc", "/pending_active_hc")
    assert verdict.succeeded() == (Transition.CHANGED, (Event.ADD,), True)
    assert verdict.flags == 0
    other = HostVerdict(CHECK)
    assert other.failed(Failure.NETWORK) == (Transition.UNCHANGED, (Event.FAILURE,), True)
    assert not other.healthy


def test_a_bad_answer_ejects_at_once_and_a_retriable_one_at_the_threshold() -> None:
    verdict = well()
    assert verdict.failed(Failure.ACTIVE) == (Transition.CHANGED, (Event.EJECT,), False)
    verdict = well()
    assert verdict.failed(Failure.ACTIVE, retriable=True).transition is Transition.CHANGE_PENDING
    assert verdict.healthy
    assert verdict.failed(Failure.ACTIVE, retriable=True).events == (Event.EJECT,)


def test_network_failures_have_to_come_in_a_row() -> None:
    verdict = well()
    verdict.failed(Failure.NETWORK)
    verdict.succeeded()
    verdict.failed(Failure.NETWORK_TIMEOUT)
    assert verdict.flags == 0
    verdict.failed(Failure.NETWORK_TIMEOUT)
    assert flag_texts(verdict.flags) == ("/failed_active_hc", "/active_hc_timeout")
    verdict.failed(Failure.NETWORK)
    assert flag_texts(verdict.flags) == ("/failed_active_hc",)


def test_a_host_comes_back_at_its_threshold() -> None:
    verdict = well()
    verdict.failed(Failure.ACTIVE, exclude=True)
    assert "/excluded_via_immediate_hc_fail" in flag_texts(verdict.flags)
    assert verdict.succeeded() == (Transition.CHANGE_PENDING, (), False)
    verdict.failed(Failure.ACTIVE)
    verdict.succeeded()
    assert not verdict.healthy
    assert verdict.succeeded() == (Transition.CHANGED, (Event.ADD,), False)
    assert verdict.flags == 0


def test_degradation_is_told_once_and_taken_back() -> None:
    verdict = well()
    assert verdict.succeeded(degraded=True) == (Transition.CHANGED, (Event.DEGRADED,), False)
    assert verdict.succeeded(degraded=True) == (Transition.UNCHANGED, (), False)
    assert verdict.degraded
    assert verdict.succeeded() == (Transition.CHANGED, (Event.NO_LONGER_DEGRADED,), False)


def test_everything_is_logged_if_that_is_asked_for() -> None:
    verdict = well(replace(CHECK, always_log_failures=True, always_log_success=True))
    assert verdict.succeeded().events == (Event.SUCCESS,)
    assert verdict.failed(Failure.NETWORK).events == (Event.FAILURE,)
    assert verdict.failed(Failure.PASSIVE).events == (Event.EJECT, Event.FAILURE)


@pytest.mark.parametrize(
    ("healthy", "transition", "seconds"),
    [
        (True, Transition.UNCHANGED, 10),
        (True, Transition.CHANGED, 10),
        (True, Transition.CHANGE_PENDING, 40),
        (False, Transition.UNCHANGED, 20),
        (False, Transition.CHANGE_PENDING, 30),
    ],
)
def test_intervals_depend_on_result_and_edge(healthy: bool, transition: Transition, seconds: int) -> None:
    assert next_delay(CHECK, transition, lambda: 0, healthy=healthy, traffic=True) == seconds


def test_clusters_without_traffic_are_checked_rarely() -> None:
    config = replace(CHECK, no_traffic_interval=60, no_traffic_healthy_interval=90)
    for healthy, transition, seconds in (
        (True, Transition.CHANGED, 90),
        (True, Transition.CHANGE_PENDING, 60),
        (False, Transition.CHANGED, 60),
    ):
        assert next_delay(config, transition, lambda: 0, healthy=healthy, traffic=False) == seconds


def test_jitter_spreads_checks_and_the_runtime_bounds_them() -> None:
    config = replace(CHECK, interval_jitter=1, interval_jitter_percent=50, initial_jitter=3)
    unchanged = Transition.UNCHANGED
    # 50 % of 10 s is 5,000 ms: 12,345 falls on 2,345, and on 345 of the 1,000 ms that are added to it.
    delay = next_delay(config, unchanged, lambda: 12_345, healthy=True, traffic=True)
    assert delay == pytest.approx(10 + 2.345 + 0.345)
    assert next_delay(CHECK, unchanged, lambda: 9, healthy=True, traffic=True, least=11_000) == 11
    assert next_delay(CHECK, unchanged, lambda: 9, healthy=True, traffic=True, most=7_000) == 7
    assert next_delay(CHECK, unchanged, lambda: 9, healthy=True, traffic=True, most=0) == 0.001
    assert first_delay(config, lambda: 4_500) == pytest.approx(1.5)
    assert first_delay(CHECK, lambda: 4_500) == 0
