from __future__ import annotations

from typing import Any

import pytest

from proxy.base.runtime import Runtime
from proxy.upstream.health_flags import HostKey
from proxy.upstream.outlier.causes import Cause
from proxy.upstream.outlier.config import OutlierConfig
from proxy.upstream.outlier.detector import Action, Decision, Detector, ejection_threshold
from proxy.upstream.outlier.outcomes import ANSWERED, CONNECTED, FAILED, GATEWAY_FAILED, UNCONNECTED
from proxy.upstream.outlier.stats import stats_of


class Bench:
    """A cluster of some hosts, at a time of one's own; `number` is what chance gives."""

    def __init__(self, hosts: int = 1, runtime: dict[str, str] | None = None, **fields: Any) -> None:
        config = OutlierConfig(**{"max_ejection_percent": 100, **fields})
        self.number = 0
        self.now = 1000.0
        self.runtime = Runtime({f"outlier_detection.{key}": value for key, value in (runtime or {}).items()})
        self.detector = Detector(config, self.runtime, lambda: self.number, stats_of("c"))
        self.hosts: list[HostKey] = [(f"10.0.0.{index + 1}:80", 0) for index in range(hosts)]
        for host in self.hosts:
            self.detector.add(host)

    def tell(self, host: int, *sequence: int, answered: int = 0, connected: int = 0) -> list[Decision]:
        return list(self.detector.take(self.hosts[host], answered, connected, bytes(sequence), self.now))

    def rate(self, host: int, good: int, bad: int) -> None:
        """Answers of which no five failures come in a row."""
        self.tell(host, *([FAILED, ANSWERED] * bad), answered=good - bad)

    def tick(self, seconds: float = 10.0) -> list[Decision]:
        self.now += seconds
        return self.detector.tick(self.now)

    def ejected(self) -> list[int]:
        monitors = self.detector.monitors
        return [index for index, host in enumerate(self.hosts) if monitors[host].ejected]

    def stat(self, name: str) -> int:
        stats = self.detector.stats
        return {**stats.counters(), **stats.gauges()}[f"cluster.c.outlier_detection.ejections_{name}"]


def actions(decisions: list[Decision]) -> list[tuple[Action, Cause]]:
    return [(one.action, one.cause) for one in decisions]


def test_the_fifth_5xx_in_a_row_ejects() -> None:
    bench = Bench()
    assert bench.tell(0, *[FAILED] * 4) == []
    (decision,) = bench.tell(0, FAILED)
    assert (decision.action, decision.cause) == (Action.EJECTED, Cause.CONSECUTIVE_5XX)
    assert (decision.numbers, decision.seconds, decision.since) == ("5 consecutive 5xx of 5", 30.0, None)
    names = ("active", "consecutive_5xx", "detected_consecutive_5xx", "enforced_consecutive_5xx")
    assert [bench.stat(name) for name in (*names, "enforced_total", "total")] == [1] * 6


def test_a_success_between_failures_begins_the_row_anew() -> None:
    bench = Bench()
    assert bench.tell(0, *[FAILED] * 4, ANSWERED, *[FAILED] * 4) == []
    assert bench.ejected() == []


def test_successes_of_before_do_not_end_a_row() -> None:
    bench = Bench()
    bench.tell(0, *[FAILED] * 4)
    bench.tell(0, answered=1000)
    bench.tell(0, FAILED)
    assert bench.ejected() == [0]


def test_a_500_ends_a_row_of_gateway_failures() -> None:
    bench = Bench(
        consecutive_5xx=100, consecutive_gateway_failure=3, enforcing_consecutive_gateway_failure=100
    )
    assert bench.tell(0, GATEWAY_FAILED, GATEWAY_FAILED, FAILED, GATEWAY_FAILED, GATEWAY_FAILED) == []
    assert actions(bench.tell(0, GATEWAY_FAILED)) == [(Action.EJECTED, Cause.CONSECUTIVE_GATEWAY_FAILURE)]


def test_what_is_not_enforced_is_detected_again_and_again() -> None:
    bench = Bench(consecutive_5xx=100, consecutive_gateway_failure=2)
    decisions = bench.tell(0, *[GATEWAY_FAILED] * 6)
    assert actions(decisions) == [(Action.NOT_ENFORCED, Cause.CONSECUTIVE_GATEWAY_FAILURE)] * 3
    assert bench.stat("detected_consecutive_gateway_failure") == 3
    assert bench.stat("enforced_total") == bench.stat("total") == 0


def test_connections_are_judged_apart_from_answers() -> None:
    bench = Bench()
    assert bench.tell(0, *[UNCONNECTED] * 4, CONNECTED, *[UNCONNECTED] * 4, ANSWERED) == []
    assert actions(bench.tell(0, UNCONNECTED)) == [(Action.EJECTED, Cause.CONSECUTIVE_LOCAL_ORIGIN_FAILURE)]


def test_zero_in_a_row_never_ejects() -> None:
    bench = Bench(consecutive_5xx=0, consecutive_gateway_failure=0)
    assert bench.tell(0, *[GATEWAY_FAILED] * 50) == []


@pytest.mark.parametrize(("number", "ejects"), [(0, True), (39, True), (40, False), (140, False)])
def test_a_share_of_detections_is_enforced(number: int, ejects: bool) -> None:
    bench = Bench(consecutive_5xx=1, enforcing_consecutive_5xx=40)
    bench.number = number
    bench.tell(0, FAILED)
    assert bench.ejected() == ([0] if ejects else [])


def test_the_runtime_replaces_numbers_of_the_config() -> None:
    bench = Bench(runtime={"consecutive_5xx": "2", "base_ejection_time_ms": "5000"})
    (decision,) = bench.tell(0, FAILED, FAILED)
    assert decision.seconds == 5.0
    bench.runtime.replace({"outlier_detection.enforcing_consecutive_5xx": "0"})
    bench = Bench(runtime={"enforcing_consecutive_5xx": "0"})
    assert actions(bench.tell(0, *[FAILED] * 5)) == [(Action.NOT_ENFORCED, Cause.CONSECUTIVE_5XX)]


@pytest.mark.parametrize(
    ("percent", "always", "expected"),
    [(40, False, 2), (39, False, 1), (10, False, 0), (10, True, 1), (100, False, 5)],
)
def test_no_more_hosts_are_ejected_than_may(percent: int, always: bool, expected: int) -> None:
    bench = Bench(5, consecutive_5xx=1, max_ejection_percent=percent, always_eject_one_host=always)
    for host in range(5):
        bench.tell(host, FAILED)
    assert bench.ejected() == list(range(expected))
    assert bench.stat("overflow") == 5 - expected
    assert bench.stat("detected_consecutive_5xx") == 5


def test_a_host_without_room_is_told_of_once_an_interval() -> None:
    bench = Bench(2, consecutive_5xx=1, max_ejection_percent=0)
    assert [one.action for one in bench.tell(0, FAILED, FAILED, FAILED)] == [Action.NO_ROOM]
    assert bench.stat("overflow") == 3
    bench.tick()
    (decision,) = bench.tell(0, FAILED)
    assert "with 0 of 2 hosts ejected, max_ejection_percent 0 leaves no room" in decision.numbers


def test_an_ejection_ends_with_the_first_interval_after_its_time() -> None:
    bench = Bench()
    bench.tell(0, *[FAILED] * 5)
    assert bench.tick(29.999) == []
    (decision,) = bench.tick(0.001)
    assert (decision.action, decision.since, decision.ejections) == (Action.UNEJECTED, 30.0, 1)
    assert bench.stat("active") == 0


def test_failures_of_the_time_of_ejection_do_not_count_after_it() -> None:
    bench = Bench()
    bench.tell(0, *[FAILED] * 9)
    bench.tick(30)
    assert bench.tell(0, *[FAILED] * 4) == []


def test_ejections_grow_to_the_longest_and_shrink_while_the_host_stays() -> None:
    bench = Bench(base_ejection_time_ms=10_000, max_ejection_time_ms=25_000)

    def eject() -> float:
        (decision,) = bench.tell(0, *[FAILED] * 5)
        return decision.seconds

    lasts = []
    for _ in range(4):
        lasts.append(eject())
        assert [one.action for one in bench.tick(lasts[-1])] == [Action.UNEJECTED]
    assert lasts == [10.0, 20.0, 25.0, 25.0]
    # Four steps up, of which each interval without an ejection takes one back.
    for _ in range(3):
        bench.tick()
    assert eject() == 20.0


def test_chance_makes_an_ejection_longer() -> None:
    bench = Bench(max_ejection_time_jitter_ms=500)
    bench.number = 501 * 7 + 499
    (decision,) = bench.tell(0, *[FAILED] * 5)
    assert decision.seconds == 30.499
    assert bench.tick(30.4) == []
    assert len(bench.tick(0.1)) == 1


def test_a_health_check_that_passes_ends_an_ejection() -> None:
    bench = Bench()
    bench.tell(0, *[FAILED] * 5)
    (decision,) = bench.detector.health_check_passed(bench.hosts[0], bench.now + 1)
    assert decision.action is Action.UNEJECTED
    assert bench.detector.health_check_passed(bench.hosts[0], bench.now + 1) == []


def test_a_health_check_may_be_left_out_of_it() -> None:
    bench = Bench(successful_active_health_check_uneject_host=False)
    bench.tell(0, *[FAILED] * 5)
    assert bench.detector.health_check_passed(bench.hosts[0], bench.now + 1) == []
    assert bench.ejected() == [0]


def test_the_threshold_is_that_of_the_documentation_of_envoy() -> None:
    assert ejection_threshold([50, 100, 100, 100, 100], 1.9) == (90.0, 52.0)


def test_the_host_below_the_threshold_is_ejected() -> None:
    bench = Bench(5)
    for host in range(4):
        bench.rate(host, 200, 0)
    bench.rate(4, 100, 100)
    (decision,) = bench.tick()
    assert (decision.action, decision.cause, decision.host) == (
        Action.EJECTED,
        Cause.SUCCESS_RATE,
        bench.hosts[4],
    )
    assert (decision.rate, decision.average, decision.threshold) == (50.0, 90.0, 52.0)
    assert decision.numbers == "success rate 50 % is below 52 %, the average of 5 hosts is 90 %"
    assert bench.detector.success_rates == ((90.0, 52.0), (-1.0, -1.0))
    assert [
        bench.stat(name) for name in ("success_rate", "detected_success_rate", "enforced_success_rate")
    ] == [1] * 3


@pytest.mark.parametrize(("hosts", "requests"), [(4, 200), (5, 99)])
def test_too_few_hosts_or_requests_are_not_compared(hosts: int, requests: int) -> None:
    bench = Bench(hosts)
    for host in range(hosts - 1):
        bench.rate(host, requests, 0)
    bench.tell(hosts - 1, *[FAILED, ANSWERED] * (requests // 2))
    assert bench.tick() == []
    assert bench.detector.success_rates == ((-1.0, -1.0), (-1.0, -1.0))


def test_rates_are_those_of_the_last_interval() -> None:
    bench = Bench(1, success_rate_minimum_hosts=1, success_rate_request_volume=10)
    bench.rate(0, 8, 2)
    bench.tick()
    monitor = bench.detector.monitors[bench.hosts[0]]
    assert monitor.rates[0].rate == 80.0
    bench.tick()
    assert monitor.rates[0].rate == -1.0


def test_rates_of_connections_are_compared_by_themselves() -> None:
    bench = Bench(5)
    for host in range(4):
        bench.tell(host, connected=100)
    bench.tell(4, *[UNCONNECTED, CONNECTED] * 50)
    (decision,) = bench.tick()
    assert (decision.cause, decision.rate) == (Cause.SUCCESS_RATE_LOCAL_ORIGIN, 50.0)
    assert bench.stat("enforced_local_origin_success_rate") == 1


@pytest.mark.parametrize(("good", "bad", "ejects"), [(9, 51, True), (8, 40, False), (10, 50, False)])
def test_a_share_of_failures_ejects(good: int, bad: int, ejects: bool) -> None:
    bench = Bench(
        1,
        consecutive_5xx=10**6,
        enforcing_failure_percentage=100,
        failure_percentage_minimum_hosts=1,
        failure_percentage_threshold=85,
    )
    bench.tell(0, *[FAILED] * bad, answered=good)
    decisions = bench.tick()
    assert actions(decisions) == ([(Action.EJECTED, Cause.FAILURE_PERCENTAGE)] if ejects else [])
    if ejects:
        assert decisions[0].numbers == "failure percentage 85 of 85, 51 of 60 requests failed"


def test_a_share_of_failures_is_only_counted_unless_enforced() -> None:
    bench = Bench(1, consecutive_5xx=10**6, failure_percentage_minimum_hosts=1)
    bench.tell(0, *[FAILED] * 50)
    assert actions(bench.tick()) == [(Action.NOT_ENFORCED, Cause.FAILURE_PERCENTAGE)]
    assert bench.stat("detected_failure_percentage") == 1


def test_a_share_of_connections_ejects() -> None:
    bench = Bench(
        1,
        consecutive_local_origin_failure=10**6,
        enforcing_failure_percentage_local_origin=100,
        failure_percentage_minimum_hosts=1,
    )
    bench.tell(0, *[UNCONNECTED] * 50)
    assert actions(bench.tick()) == [(Action.EJECTED, Cause.FAILURE_PERCENTAGE_LOCAL_ORIGIN)]
    assert bench.stat("enforced_local_origin_failure_percentage") == 1


def test_a_host_is_ejected_once_for_two_reasons() -> None:
    bench = Bench(5, enforcing_failure_percentage=100, consecutive_5xx=10**6, success_rate_stdev_factor=1000)
    for host in range(4):
        bench.rate(host, 200, 0)
    bench.tell(4, *[FAILED] * 200)
    assert len(bench.tick()) == 1
    assert bench.stat("active") == 1


def test_an_ejected_host_is_not_judged() -> None:
    bench = Bench(1, failure_percentage_minimum_hosts=1, enforcing_failure_percentage=100)
    bench.tell(0, *[FAILED] * 60)
    assert bench.tick() == []
    assert bench.stat("detected_failure_percentage") == 0


def test_a_host_that_goes_takes_its_ejection_with_it() -> None:
    bench = Bench(2)
    bench.tell(0, *[FAILED] * 5)
    bench.detector.remove(bench.hosts[0])
    bench.detector.remove(bench.hosts[0])
    assert bench.stat("active") == 0
    assert bench.tell(0, *[FAILED] * 5) == []
    bench.detector.add(bench.hosts[0])
    assert bench.ejected() == []


def test_intervals_may_be_set_by_the_runtime() -> None:
    assert Bench().detector.interval == 10.0
    assert Bench(runtime={"interval_ms": "250"}).detector.interval == 0.25
