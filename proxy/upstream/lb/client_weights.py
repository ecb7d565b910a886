"""CLIENT_SIDE_WEIGHTED_ROUND_ROBIN: rotation by weights that follow from what the hosts report of their load.

Source: `extensions.load_balancing_policies.client_side_weighted_round_robin.v3`. Each worker weighs the hosts
by the reports that it gets itself, as each thread of Envoy does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from proxy.base.headers import HeaderMap
from proxy.upstream.host import Host
from proxy.upstream.lb.api import Clock
from proxy.upstream.lb.load_report import read_report, weight_of


class ClientWeightsConfig(Struct, frozen=True):
    """Seconds, except `error_penalty` and `metrics`, see `load_report.weight_of`.

    A host is weighed when it has reported for the `blackout`; a report is good for the `expiration`.
    """

    blackout: float = 10.0
    expiration: float = 180.0
    update: float = 1.0
    error_penalty: float = 1.0
    metrics: tuple[str, ...] = ()
    #: How often hosts are to report by streams of their own; 0.0 if they report with their responses.
    oob_period: float = 0.0


class _Reported:
    """What a host has reported."""

    __slots__ = ("at", "since", "weight")

    def __init__(self, since: float) -> None:
        self.since = since
        self.at = since
        self.weight = 1


class ClientWeights:
    """The weights of the hosts of one cluster in one worker. `on_change` is called when any has changed."""

    def __init__(
        self,
        config: ClientWeightsConfig,
        hosts: Callable[[], Sequence[Host]],
        clock: Clock,
        on_change: Callable[[], None],
    ) -> None:
        self._config = config
        self._hosts = hosts
        self._clock = clock
        self._on_change = on_change
        self._reported: dict[Host, _Reported] = {}
        #: What hosts give their reports to: itself, or what hands them on.
        self.reader: Any = self

    def on_response(self, host: Host, headers: HeaderMap) -> bool:
        """Take the report in the fields or trailers of a response; whether there is one."""
        report = read_report(headers)
        if report is None:
            return False
        self.take(host, report)
        return True

    def take(self, host: Host, report: Mapping[str, float]) -> bool:
        """Take one report, as `read_report` gives it; whether a weight follows from it."""
        weight = weight_of(report, self._config.metrics, self._config.error_penalty)
        if weight is None:
            return False
        now = self._clock()
        known = self._reported.get(host)
        if known is None:
            known = self._reported[host] = _Reported(now)
        known.at = now
        known.weight = weight
        return True

    def update(self) -> None:
        """Weigh the hosts anew; to be called at each `update` period."""
        hosts = self._hosts()
        now = self._clock()
        current = set(hosts)
        self._reported = {
            host: one
            for host, one in self._reported.items()
            if host in current and now - one.at <= self._config.expiration
        }
        weights = {
            host: one.weight
            for host, one in self._reported.items()
            if now - one.since >= self._config.blackout and one.weight > 0
        }
        usual = sorted(weights.values())[(len(weights) - 1) // 2] if weights else 1
        changed = False
        for host in hosts:
            weight = weights.get(host, usual)
            changed = changed or host.weight != weight
            host.weight = weight
            host.load_reports = self.reader
        if changed:
            self._on_change()
