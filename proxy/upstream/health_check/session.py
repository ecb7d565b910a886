"""The checks of one host: when the next one is due, what came of the last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from proxy.base.address import Address
from proxy.upstream.health_check.event_log import change_in_words, event_line
from proxy.upstream.health_check.http_probe import TIMED_OUT, Result
from proxy.upstream.health_check.verdict import (
    Failure,
    HostVerdict,
    Outcome,
    first_delay,
    next_delay,
)
from proxy.upstream.health_flags import HostKey
from proxy.upstream.host import NO_LOCALITY, Locality

if TYPE_CHECKING:
    from typing import Any

    from proxy.upstream.health_check.cluster_checks import ClusterChecks


class CheckedHost(NamedTuple):
    """A host as checks see it. `check_address` is where it is asked, `check_hostname` by what name, "" for neither.

    `hostname` is what TLS may send as the server's name; `metadata` a `core.v3.Metadata` or None.
    """

    key: HostKey
    address: Address
    check_address: Address
    hostname: str = ""
    check_hostname: str = ""
    locality: Locality = NO_LOCALITY
    metadata: Any = None


class HostSession:
    """See module. `owner` counts, tells of flags and makes the prober."""

    def __init__(self, owner: ClusterChecks, host: CheckedHost) -> None:
        self._owner = owner
        self.host = host
        config = owner.check
        self.verdict = HostVerdict(config, ignored_until_checked=owner.ignores_unchecked)
        self._timer: asyncio.TimerHandle | None = None
        self._timeout: asyncio.TimerHandle | None = None
        self._prober = owner.make_prober(host, self._on_lost)

    def start(self) -> None:
        """Check for the first time, soon."""
        owner = self._owner
        self._timer = owner.env.loop.call_later(first_delay(owner.check, owner.env.draw), self._begin)

    def move(self, host: CheckedHost) -> None:
        """The host is at another address from now on; what is known of it stays."""
        self._prober.close()
        asking = self._timeout is not None
        self.host = host
        self._prober = self._owner.make_prober(host, self._on_lost)
        if asking:
            self._cancel_timers()
            self._timer = self._owner.env.loop.call_later(0, self._begin)

    def fail_at_once(self) -> None:
        """The host has said in an answer to a request that checks would fail. The next comes when it would have."""
        outcome = self._judged(lambda: self.verdict.failed(Failure.PASSIVE, exclude=True))
        stats = self._owner.stats
        stats.failure += 1
        stats.passive_failure += 1
        self._tell(outcome, Failure.PASSIVE, 0, healthy=False)

    def close(self) -> None:
        """Check no longer."""
        self._cancel_timers()
        self._prober.close()

    def _begin(self) -> None:
        self._timer = None
        owner = self._owner
        owner.stats.attempt += 1
        self._timeout = owner.env.loop.call_later(owner.check.timeout, self._on_timeout)
        self._prober.start(self._on_result)

    def _on_timeout(self) -> None:
        self._timeout = None
        self._prober.cancel()
        self._on_result(TIMED_OUT)

    def _on_lost(self) -> None:
        self._on_result(Result(Failure.NETWORK))

    def _on_result(self, result: Result) -> None:
        self._cancel_timers()
        stats = self._owner.stats
        stats.verify_cluster += result.verified
        failure = result.failure
        if failure is None:
            outcome = self._judged(lambda: self.verdict.succeeded(degraded=result.degraded))
            stats.success += 1
        else:
            outcome = self._judged(
                lambda: self.verdict.failed(failure, retriable=result.retriable, exclude=result.exclude)
            )
            stats.failure += 1
            stats.network_failure += failure in {Failure.NETWORK, Failure.NETWORK_TIMEOUT}
        self._schedule(outcome, healthy=failure is None)
        self._tell(outcome, failure or Failure.ACTIVE, result.status, healthy=failure is None)

    def _judged(self, judge: Callable[[], Outcome]) -> Outcome:
        verdict, stats = self.verdict, self._owner.stats
        healthy, degraded = verdict.healthy, verdict.degraded
        outcome = judge()
        stats.healthy += verdict.healthy - healthy
        stats.degraded += verdict.degraded - degraded
        return outcome

    def _schedule(self, outcome: Outcome, *, healthy: bool) -> None:
        owner = self._owner
        least, most = owner.env.interval_bounds()
        delay = next_delay(
            owner.check,
            outcome.transition,
            owner.env.draw,
            healthy=healthy,
            traffic=owner.has_traffic(),
            least=least,
            most=most,
        )
        self._timer = owner.env.loop.call_later(delay, self._begin)

    def _tell(self, outcome: Outcome, failure: Failure, status: int, *, healthy: bool) -> None:
        owner, host = self._owner, self.host
        about = {"cluster": owner.config.name, "host": host.address.text}
        for event in outcome.events:
            told = change_in_words(event, owner.check, failure=failure, status=status, first=outcome.first)
            if told is not None:
                owner.env.record(told[0], about, told[1])
            owner.log(
                event_line(
                    event,
                    owner.check.probe.kind,
                    owner.config.name,
                    host.address,
                    owner.env.now(),
                    host.locality,
                    host.metadata,
                    failure=failure,
                    status=status,
                    first=outcome.first,
                )
            )
        owner.checked(self, passed=healthy)

    def _cancel_timers(self) -> None:
        for timer in (self._timer, self._timeout):
            if timer is not None:
                timer.cancel()
        self._timer = self._timeout = None
