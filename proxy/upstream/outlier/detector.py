"""Which hosts of one cluster get no traffic for a while: a plain function of what they did, clock and chance.

After Envoy's `Outlier::DetectorImpl`, with its order of checks. One that has just been ejected for its success
rate is not ejected once more for its failure percentage, which in Envoy makes `ejections_active` wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import Enum
from math import sqrt
from typing import Final

from msgspec import Struct

from proxy.base.runtime import Runtime
from proxy.upstream.health_flags import HostKey
from proxy.upstream.outlier.causes import BY_PERCENTAGE, BY_RATE, Cause
from proxy.upstream.outlier.config import OutlierConfig
from proxy.upstream.outlier.outcomes import ANSWERED, CONNECTED, GATEWAY_FAILED, UNCONNECTED
from proxy.upstream.outlier.stats import OutlierStats

_RUNTIME_PREFIX: Final = "outlier_detection."
UNKNOWN_RATE: Final = -1.0


class Action(Enum):
    """What was decided of a host."""

    EJECTED = "ejected"
    #: It would be ejected, but chance (`enforcing_*`) or the share of hosts that may be (`max_ejection_percent`) is
    #: against it.
    NOT_ENFORCED = "not enforced"
    NO_ROOM = "no room"
    UNEJECTED = "unejected"


class Decision(Struct, frozen=True):
    """`seconds` is how long the ejection lasts at least; `since` those since the opposite was decided, or None.

    `ejections` counts those of the host, `numbers` says what the decision rests on. `average` and `threshold` are
    percentages over the cluster, `rate` that of the host.
    """

    action: Action
    host: HostKey
    cause: Cause
    ejections: int
    numbers: str
    since: float | None = None
    seconds: float = 0.0
    average: float = UNKNOWN_RATE
    threshold: float = UNKNOWN_RATE
    rate: float = UNKNOWN_RATE


class _Rate:
    """How many of a host's requests went well: in this interval so far, and in the one before."""

    __slots__ = ("good", "last_good", "last_total", "rate", "total")

    def __init__(self) -> None:
        self.good = self.total = self.last_good = self.last_total = 0
        #: Percent in the last interval, if there were enough requests.
        self.rate = UNKNOWN_RATE

    def count(self, good: int, total: int) -> None:
        self.good += good
        self.total += total

    def next_interval(self) -> None:
        self.last_good, self.last_total = self.good, self.total
        self.good = self.total = 0
        self.rate = UNKNOWN_RATE


class Monitor:
    """What is known of one host."""

    __slots__ = (
        "backoff",
        "consecutive_5xx",
        "consecutive_gateway",
        "consecutive_unconnected",
        "ejected",
        "ejected_at",
        "ejections",
        "host",
        "jitter_ms",
        "overflow_told",
        "rates",
        "unejected_at",
    )

    def __init__(self, host: HostKey) -> None:
        self.host = host
        #: Of answers, and of connections.
        self.rates = (_Rate(), _Rate())
        self.consecutive_5xx = self.consecutive_gateway = self.consecutive_unconnected = 0
        self.ejected = False
        self.ejections = 0
        #: How many times the base ejection time the next ejection lasts, less one.
        self.backoff = 0
        self.jitter_ms = 0
        self.ejected_at: float | None = None
        self.unejected_at: float | None = None
        self.overflow_told = False

    @property
    def unsure(self) -> bool:
        """Whether a success would change what is known."""
        return bool(self.consecutive_5xx or self.consecutive_gateway or self.consecutive_unconnected)


class Detector:
    """See module. `draw` gives integers from 0 to 2**64-1; `now` is always monotonic seconds."""

    def __init__(
        self, config: OutlierConfig, runtime: Runtime, draw: Callable[[], int], stats: OutlierStats
    ) -> None:
        self.config = config
        self.stats = stats
        self._runtime = runtime
        self._draw = draw
        self.monitors: dict[HostKey, Monitor] = {}
        #: Average of the hosts' success rates and what is too low: of answers, and of connections.
        self.success_rates = ((UNKNOWN_RATE, UNKNOWN_RATE), (UNKNOWN_RATE, UNKNOWN_RATE))

    @property
    def interval(self) -> float:
        """Seconds between two calls of `tick`."""
        return max(1, self._setting("interval_ms")) / 1000

    def add(self, host: HostKey) -> None:
        """A host has come."""
        if host not in self.monitors:
            self.monitors[host] = Monitor(host)

    def remove(self, host: HostKey) -> None:
        """A host has gone, with all that is known of it."""
        monitor = self.monitors.pop(host, None)
        if monitor is not None and monitor.ejected:
            self.stats.ejections_active -= 1

    def take(
        self, host: HostKey, answered: int, connected: int, sequence: bytes, now: float
    ) -> Collection[Decision]:
        """What a worker tells of a host, see `outcomes.Report`."""
        monitor = self.monitors.get(host)
        if monitor is None:
            return ()
        answers, connections = monitor.rates
        # They may be older than a failure that another worker has told of, so they do not end a row of those.
        answers.count(answered, answered)
        connections.count(connected, connected)
        decisions: list[Decision] = []
        for what in sequence:
            if what == ANSWERED:
                answers.count(1, 1)
                monitor.consecutive_5xx = monitor.consecutive_gateway = 0
            elif what == CONNECTED:
                connections.count(1, 1)
                monitor.consecutive_unconnected = 0
            elif what == UNCONNECTED:
                connections.count(0, 1)
                monitor.consecutive_unconnected += 1
                most = self._setting("consecutive_local_origin_failure")
                if monitor.consecutive_unconnected == most:
                    self._in_a_row(monitor, Cause.CONSECUTIVE_LOCAL_ORIGIN_FAILURE, most, now, decisions)
            else:
                answers.count(0, 1)
                self._failed(monitor, what == GATEWAY_FAILED, now, decisions)
        return decisions

    def _failed(self, monitor: Monitor, gateway: bool, now: float, decisions: list[Decision]) -> None:
        if gateway:
            monitor.consecutive_gateway += 1
            most = self._setting("consecutive_gateway_failure")
            if monitor.consecutive_gateway == most:
                self._in_a_row(monitor, Cause.CONSECUTIVE_GATEWAY_FAILURE, most, now, decisions)
        else:
            monitor.consecutive_gateway = 0
        monitor.consecutive_5xx += 1
        most = self._setting("consecutive_5xx")
        if monitor.consecutive_5xx == most:
            self._in_a_row(monitor, Cause.CONSECUTIVE_5XX, most, now, decisions)

    def _in_a_row(
        self, monitor: Monitor, cause: Cause, count: int, now: float, decisions: list[Decision]
    ) -> None:
        if monitor.ejected:
            return
        self.stats.detected(cause.stat)
        self._eject(monitor, cause, f"{count} {cause.words} of {count}", now, decisions)
        match cause:
            case Cause.CONSECUTIVE_5XX:
                self.stats.ejections_consecutive_5xx += 1
                monitor.consecutive_5xx = 0
            case Cause.CONSECUTIVE_GATEWAY_FAILURE:
                monitor.consecutive_gateway = 0
            case _:
                monitor.consecutive_unconnected = 0

    def tick(self, now: float) -> list[Decision]:
        """An interval is over, and all that came of requests in it was told."""
        decisions: list[Decision] = []
        for monitor in self.monitors.values():
            if monitor.ejected and self._ejection_is_over(monitor, now):
                decisions.append(self._uneject(monitor, "its time is over", now))
            for rate in monitor.rates:
                rate.next_interval()
            monitor.overflow_told = False
        self.success_rates = (self._judge_rates(0, now, decisions), self._judge_rates(1, now, decisions))
        interval_ms = self._setting("interval_ms")
        for monitor in self.monitors.values():
            if (
                not monitor.ejected
                and monitor.backoff
                and monitor.unejected_at is not None
                and (now - monitor.unejected_at) * 1000 >= interval_ms
            ):
                monitor.backoff -= 1
        return decisions

    def health_check_passed(self, host: HostKey, now: float) -> list[Decision]:
        """An active health check finds the host healthy, which ends its ejection if the config says so."""
        monitor = self.monitors.get(host)
        if (
            monitor is None
            or not monitor.ejected
            or not self.config.successful_active_health_check_uneject_host
        ):
            return []
        return [self._uneject(monitor, "its health check passes", now)]

    def _ejection_is_over(self, monitor: Monitor, now: float) -> bool:
        assert monitor.ejected_at is not None
        # Clocks of this kind count whole nanoseconds; fractions of a second do not add up so exactly.
        return round((now - monitor.ejected_at) * 1000, 3) >= self._ejection_ms(monitor)

    def _ejection_ms(self, monitor: Monitor) -> int:
        lasts = min(
            self._setting("base_ejection_time_ms") * monitor.backoff, self._setting("max_ejection_time_ms")
        )
        return lasts + monitor.jitter_ms

    def _uneject(self, monitor: Monitor, reason: str, now: float) -> Decision:
        self.stats.ejections_active -= 1
        monitor.ejected = False
        monitor.consecutive_5xx = monitor.consecutive_gateway = monitor.consecutive_unconnected = 0
        monitor.unejected_at = now
        since = None if monitor.ejected_at is None else now - monitor.ejected_at
        return Decision(
            Action.UNEJECTED, monitor.host, Cause.CONSECUTIVE_5XX, monitor.ejections, reason, since
        )

    def _judge_rates(self, kind: int, now: float, decisions: list[Decision]) -> tuple[float, float]:
        """Eject by the rates of answers (0) or connections (1); their average and what is too low."""
        rate_hosts = self._setting("success_rate_minimum_hosts")
        rate_volume = self._setting("success_rate_request_volume")
        percentage_hosts = self._setting("failure_percentage_minimum_hosts")
        percentage_volume = self._setting("failure_percentage_request_volume")
        unknown = UNKNOWN_RATE, UNKNOWN_RATE
        if len(self.monitors) < min(rate_hosts, percentage_hosts):
            return unknown
        by_rate: list[Monitor] = []
        by_percentage: list[Monitor] = []
        for monitor in self.monitors.values():
            rate = monitor.rates[kind]
            if monitor.ejected or not rate.last_total:
                continue
            percent = rate.last_good * 100.0 / rate.last_total
            if rate.last_total >= min(rate_volume, percentage_volume):
                rate.rate = percent
            if rate.last_total >= rate_volume:
                by_rate.append(monitor)
            if rate.last_total >= percentage_volume:
                by_percentage.append(monitor)
        found = unknown
        if by_rate and len(by_rate) >= rate_hosts:
            factor = self._setting("success_rate_stdev_factor") / 1000
            found = ejection_threshold([monitor.rates[kind].rate for monitor in by_rate], factor)
            self._eject_low(by_rate, kind, found, now, decisions)
        if by_percentage and len(by_percentage) >= percentage_hosts:
            self._eject_failing(by_percentage, kind, now, decisions)
        return found

    def _eject_low(
        self,
        monitors: list[Monitor],
        kind: int,
        found: tuple[float, float],
        now: float,
        decisions: list[Decision],
    ) -> None:
        average, threshold = found
        cause = BY_RATE[kind]
        for monitor in monitors:
            rate = monitor.rates[kind].rate
            if rate < threshold:
                self.stats.ejections_success_rate += 1
                self.stats.detected(cause.stat)
                numbers = (
                    f"{cause.words} {rate:g} % is below {threshold:g} %, the average of {len(monitors)} hosts "
                    f"is {average:g} %"
                )
                self._eject(monitor, cause, numbers, now, decisions, average, threshold, rate)

    def _eject_failing(
        self, monitors: list[Monitor], kind: int, now: float, decisions: list[Decision]
    ) -> None:
        most = self._setting("failure_percentage_threshold")
        cause = BY_PERCENTAGE[kind]
        for monitor in monitors:
            rate = monitor.rates[kind]
            if monitor.ejected or 100.0 - rate.rate < most:
                continue
            self.stats.detected(cause.stat)
            failed, total = rate.last_total - rate.last_good, rate.last_total
            numbers = f"{cause.words} {100.0 - rate.rate:g} of {most}, {failed} of {total} requests failed"
            self._eject(monitor, cause, numbers, now, decisions, rate=rate.rate)

    def _eject(
        self,
        monitor: Monitor,
        cause: Cause,
        numbers: str,
        now: float,
        decisions: list[Decision],
        average: float = UNKNOWN_RATE,
        threshold: float = UNKNOWN_RATE,
        rate: float = UNKNOWN_RATE,
    ) -> None:
        stats = self.stats
        most = min(100, self._setting("max_ejection_percent"))
        percent = 100.0 * (stats.ejections_active + 1) / len(self.monitors)
        if percent > most and not (self.config.always_eject_one_host and stats.ejections_active == 0):
            stats.ejections_overflow += 1
            if not monitor.overflow_told:
                monitor.overflow_told = True
                numbers += (
                    f"; with {stats.ejections_active} of {len(self.monitors)} hosts ejected, max_ejection_percent "
                    f"{most} leaves no room"
                )
                decisions.append(
                    Decision(Action.NO_ROOM, monitor.host, cause, monitor.ejections, numbers, rate=rate)
                )
            return
        if cause in {Cause.CONSECUTIVE_5XX, Cause.SUCCESS_RATE}:
            stats.ejections_total += 1
        since = None if monitor.unejected_at is None else now - monitor.unejected_at
        enforcing = getattr(self.config, cause.enforcing)
        action, seconds = Action.NOT_ENFORCED, 0.0
        if self._runtime.feature_enabled(_RUNTIME_PREFIX + cause.enforcing, enforcing, 100, self._draw):
            action = Action.EJECTED
            stats.ejections_active += 1
            stats.enforced(cause.stat)
            seconds = self._begin_ejection(monitor, now)
        decisions.append(
            Decision(
                action,
                monitor.host,
                cause,
                monitor.ejections,
                numbers,
                since,
                seconds,
                average,
                threshold,
                rate,
            )
        )

    def _begin_ejection(self, monitor: Monitor, now: float) -> float:
        monitor.ejected = True
        monitor.ejections += 1
        monitor.ejected_at = now
        base = self._setting("base_ejection_time_ms")
        longest = self._setting("max_ejection_time_ms")
        monitor.jitter_ms = self._draw() % (self._setting("max_ejection_time_jitter_ms") + 1)
        if monitor.backoff * base < longest + base:
            monitor.backoff += 1
        return self._ejection_ms(monitor) / 1000

    def _setting(self, name: str) -> int:
        default: int = getattr(self.config, name)
        return self._runtime.integer(_RUNTIME_PREFIX + name, default)


def ejection_threshold(rates: list[float], stdev_factor: float) -> tuple[float, float]:
    """The average of percentages, and so many standard deviations below it."""
    average = sum(rates) / len(rates)
    variance = sum((rate - average) ** 2 for rate in rates) / len(rates)
    return average, average - stdev_factor * sqrt(variance)
