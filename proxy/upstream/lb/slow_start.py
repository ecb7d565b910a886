"""Slow start: a host that has just become healthy gets little traffic at first.

Source: "Slow start mode" of Envoy's architecture overview. Where nobody checks the health of hosts, one is
new when it is first seen healthy.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy.base.runtime import Runtime
from proxy.upstream.host import Host
from proxy.upstream.lb.api import Clock, SlowStartConfig


class SlowStart:
    """Which hosts are new, and how much of their weight counts. All times come from `clock`."""

    def __init__(self, config: SlowStartConfig, runtime: Runtime, clock: Clock) -> None:
        self._config = config
        self._runtime = runtime
        self._clock = clock
        self._latest = clock()

    def note(self, hosts: Iterable[Host]) -> None:
        """Take note of the hosts that are healthy now."""
        now = self._clock()
        for host in hosts:
            if not host.healthy:
                continue
            if host.healthy_since is None:
                host.healthy_since = now
            if host.healthy_since > self._latest and now - host.healthy_since <= self._config.window:
                self._latest = host.healthy_since

    @property
    def active(self) -> bool:
        """Whether any host may still be new."""
        return self._clock() - self._latest <= self._config.window

    def scaled(self, weight: float, host: Host) -> float:
        """What counts of the weight of a host now."""
        since = host.healthy_since
        if since is None or not host.healthy:
            return weight
        config = self._config
        # In whole milliseconds, as in Envoy.
        age = int((self._clock() - since) * 1000)
        window = config.window * 1000
        if age >= window:
            return weight
        share: float = max(age, 1) / window
        aggression = config.aggression_in(self._runtime)
        if aggression != 1.0 and share != 1.0:
            share = share ** (1.0 / aggression)
        return weight * max(share, config.min_weight)
