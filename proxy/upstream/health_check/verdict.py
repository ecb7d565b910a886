"""What the results of checks make of one host: a pure state machine after Envoy's `ActiveHealthCheckSession`.

The first result counts at once if it is good; so does a failure that is an answer, whatever the threshold, unless
it is retriable. Timeouts and broken connections have to come `unhealthy_threshold` times in a row.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from proxy.upstream.health_check.config import HealthCheckConfig
from proxy.upstream.health_flags import HealthFlag

_FAILED = int(HealthFlag.FAILED_ACTIVE_HC)
_DEGRADED = int(HealthFlag.DEGRADED_ACTIVE_HC)
_PENDING = int(HealthFlag.PENDING_ACTIVE_HC)
_EXCLUDED = int(HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL)
_TIMED_OUT = int(HealthFlag.ACTIVE_HC_TIMEOUT)
#: Every flag that a check sets or clears.
CHECKED = _FAILED | _DEGRADED | _PENDING | _EXCLUDED | _TIMED_OUT


class Failure(Enum):
    """Why a check failed; the values are those of `data.core.v3.HealthCheckFailureType`."""

    ACTIVE = 0
    PASSIVE = 1
    NETWORK = 2
    NETWORK_TIMEOUT = 3


class Transition(Enum):
    """What a result did to the host's health."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    CHANGE_PENDING = "change pending"


class Event(Enum):
    """What the event log tells; the values are field names of `data.core.v3.HealthCheckEvent`."""

    EJECT = "eject_unhealthy_event"
    ADD = "add_healthy_event"
    SUCCESS = "successful_health_check_event"
    FAILURE = "health_check_failure_event"
    DEGRADED = "degraded_healthy_host"
    NO_LONGER_DEGRADED = "no_longer_degraded_host"


class Outcome(NamedTuple):
    """What one result led to. `first` tells whether it was the first of its host."""

    transition: Transition
    events: tuple[Event, ...]
    first: bool


class HostVerdict:
    """See module. `flags` are the host's own of `CHECKED`."""

    __slots__ = ("_config", "_healthy", "_unhealthy", "checked", "flags")

    def __init__(self, config: HealthCheckConfig, *, ignored_until_checked: bool = False) -> None:
        self._config = config
        self._healthy = 0
        self._unhealthy = 0
        #: Whether any result has come.
        self.checked = False
        self.flags = unchecked_flags(ignored_until_checked)

    @property
    def healthy(self) -> bool:
        """Whether checks have found it well."""
        return not self.flags & _FAILED

    @property
    def degraded(self) -> bool:
        """Whether it says of itself that it is not at its best."""
        return bool(self.flags & _DEGRADED)

    def succeeded(self, *, degraded: bool = False) -> Outcome:
        """A check went well."""
        config, first = self._config, not self.checked
        self.checked = True
        self._unhealthy = 0
        transition = Transition.UNCHANGED
        events: list[Event] = []
        if self.flags & _FAILED:
            self._healthy += 1
            if first or self._healthy == config.healthy_threshold:
                self.flags &= ~(_FAILED | _TIMED_OUT | _EXCLUDED)
                transition = Transition.CHANGED
                events.append(Event.ADD)
            else:
                transition = Transition.CHANGE_PENDING
        if transition is not Transition.CHANGED and config.always_log_success:
            events.append(Event.SUCCESS)
        transition = self._no_longer_pending(transition)
        if degraded != self.degraded:
            self.flags ^= _DEGRADED
            events.append(Event.DEGRADED if degraded else Event.NO_LONGER_DEGRADED)
            if transition is Transition.UNCHANGED:
                transition = Transition.CHANGED
        return Outcome(transition, tuple(events), first)

    def failed(self, failure: Failure, *, retriable: bool = False, exclude: bool = False) -> Outcome:
        """A check failed, or (`PASSIVE`) the host said in an answer to a request that it would.

        With `exclude` the host wants to count for nothing until it is well again.
        """
        config, first = self._config, not self.checked
        self.checked = True
        self._healthy = 0
        transition = Transition.UNCHANGED
        events: list[Event] = []
        if exclude:
            self.flags |= _EXCLUDED
        if not self.flags & _FAILED:
            counted = retriable or failure in {Failure.NETWORK, Failure.NETWORK_TIMEOUT}
            if counted:
                self._unhealthy += 1
            if not counted or self._unhealthy == config.unhealthy_threshold:
                self.flags |= _FAILED
                transition = Transition.CHANGED
                events.append(Event.EJECT)
            else:
                transition = Transition.CHANGE_PENDING
        if failure is Failure.NETWORK_TIMEOUT and self.flags & _FAILED:
            self.flags |= _TIMED_OUT
        else:
            self.flags &= ~_TIMED_OUT
        transition = self._no_longer_pending(transition)
        if first or config.always_log_failures:
            events.append(Event.FAILURE)
        return Outcome(transition, tuple(events), first)

    def _no_longer_pending(self, transition: Transition) -> Transition:
        if self.flags & _PENDING:
            self.flags &= ~_PENDING
            return Transition.CHANGED
        return transition


def unchecked_flags(ignored_until_checked: bool) -> int:
    """Of a host that no check has come to yet."""
    return _FAILED | (_PENDING if ignored_until_checked else 0)


def next_delay(
    config: HealthCheckConfig,
    transition: Transition,
    draw: Callable[[], int],
    *,
    healthy: bool,
    traffic: bool,
    least: int = 0,
    most: int | None = None,
) -> float:
    """Seconds until the next check.

    `healthy` is the last result; `traffic` tells whether the cluster has ever been connected to. `least` and `most`
    are the runtime's `health_check.min_interval` and `max_interval` in milliseconds. `draw` gives random integers.
    """
    pending = transition is Transition.CHANGE_PENDING
    if not traffic:
        base = config.no_traffic_healthy_interval if healthy and not pending else config.no_traffic_interval
    elif healthy:
        base = config.healthy_edge_interval if pending else config.interval
    else:
        base = config.unhealthy_edge_interval if pending else config.unhealthy_interval
    return _jittered(config, int(base * 1000), config.interval_jitter, draw, least, most)


def first_delay(config: HealthCheckConfig, draw: Callable[[], int]) -> float:
    """Seconds until the first check, spread over `initial_jitter`."""
    if not config.initial_jitter:
        return 0.0
    return _jittered(config, 0, config.initial_jitter, draw, 0, None)


def _jittered(
    config: HealthCheckConfig, base: int, jitter: float, draw: Callable[[], int], least: int, most: int | None
) -> float:
    share = config.interval_jitter_percent * base // 100
    if share > 0:
        base += draw() % share
    width = int(jitter * 1000)
    if width > 0:
        base += draw() % width
    if most is not None:
        base = min(base, most)
    return max(1, base, least) / 1000
