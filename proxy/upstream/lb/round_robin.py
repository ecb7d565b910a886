"""ROUND_ROBIN: plain rotation, or Envoy's weighted schedule when weights differ."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

from proxy.upstream.host import Host
from proxy.upstream.lb.api import ChooseHost, Draw, no_host, weights_equal
from proxy.upstream.lb.edf import EdfScheduler


def round_robin(hosts: Sequence[Host], draw: Draw) -> ChooseHost:
    """Rotate over `hosts`, beginning at a random place."""
    if not hosts:
        return no_host
    if not weights_equal(hosts):
        return EdfScheduler(hosts, _weight, draw() % _period(hosts), whole=True).pick
    start = draw() % len(hosts)
    rotation = cycle(hosts)
    # The iterator's own `__next__` is the cheapest rotation there is; only the unused hash must be swallowed.
    pick = islice(rotation, start, None).__next__

    def choose(_hash: int | None) -> Host:
        return pick()

    return choose


def _weight(host: Host) -> float:
    return host.weight


def _period(hosts: Sequence[Host]) -> int:
    return sum(host.weight for host in hosts)
