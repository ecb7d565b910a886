"""When to resolve a name again; pure decisions, with randomness passed in.

Source: `DnsCluster`'s fields and Envoy's `JitteredExponentialBackOffStrategy`.
"""

from __future__ import annotations

from msgspec import Struct

from proxy.upstream.cluster_config import DnsConfig
from proxy.upstream.lb.api import Draw


class Answer(Struct, frozen=True):
    """What resolving a name gave.

    `addresses` are textual IPs without duplicates, in the order of the answer. `ttl` is the shortest time to
    live in whole seconds, 0 if unknown. An answer that says "no such name" or "no such record" is complete
    and empty; `complete` is False when no server gave one, and then `reason` says why. `details` is what Envoy
    says of an answer without addresses.
    """

    complete: bool
    addresses: tuple[str, ...] = ()
    ttl: int = 0
    reason: str = ""
    details: str = ""


class BackOff:
    """Delays after failures, one for all names of a cluster; without `failure_base` the refresh rate."""

    __slots__ = ("_config", "_next")

    def __init__(self, config: DnsConfig) -> None:
        self._config = config
        self._next = config.failure_base

    def reset(self) -> None:
        """A name was resolved: begin from the shortest interval again."""
        self._next = self._config.failure_base

    def delay(self, draw: Draw) -> float:
        """Seconds until the next try: a random part of an interval that doubles up to the longest."""
        if not self._config.failure_base:
            return self._config.refresh_rate
        interval = self._next
        self._next = min(interval * 2, self._config.failure_max)
        return draw() % max(int(interval * 1000), 1) / 1000


def refresh_delay(config: DnsConfig, answer: Answer, draw: Draw) -> float:
    """Seconds until a name that has been resolved is asked for again."""
    delay = config.refresh_rate
    if config.respect_ttl and answer.addresses and answer.ttl:
        delay = float(answer.ttl)
    if config.jitter >= 0.001:
        delay += draw() % int(config.jitter * 1000) / 1000
    return delay
