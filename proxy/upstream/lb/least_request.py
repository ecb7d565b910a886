"""LEAST_REQUEST: the less busy of a few drawn hosts, or a schedule that weighs in how busy each host is.

Busy means requests in flight from this worker (`host.stats.rq_active`). With equal weights Envoy draws
`choice_count` hosts; with different ones it schedules with weight / (active + 1) ** bias.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proxy.upstream.host import Host
from proxy.upstream.lb.api import ChooseHost, Draw, no_host, weights_equal
from proxy.upstream.lb.edf import EdfScheduler


def least_request(
    hosts: Sequence[Host],
    draw: Draw,
    choice_count: int = 2,
    bias: Callable[[], float] = lambda: 1.0,
    full_scan: bool = False,
) -> ChooseHost:
    """Choose among `hosts`; `bias` is asked at each weighted pick because it may come from the runtime."""
    if not hosts:
        return no_host
    if not weights_equal(hosts):
        return EdfScheduler(hosts, _busy_weight(bias), draw() % sum(host.weight for host in hosts)).pick
    if len(hosts) == 1:
        only = hosts[0]
        return lambda _hash: only
    if full_scan:
        return _scan_all(hosts, draw)
    return _draw_some(hosts, draw, choice_count)


def _draw_some(hosts: Sequence[Host], draw: Draw, choice_count: int) -> ChooseHost:
    count = len(hosts)
    further = range(choice_count - 1)

    def choose(_hash: int | None) -> Host:
        best = hosts[draw() % count]
        for _ in further:
            other = hosts[draw() % count]
            if other.stats.rq_active < best.stats.rq_active:
                best = other
        return best

    return choose


def _scan_all(hosts: Sequence[Host], draw: Draw) -> ChooseHost:
    def choose(_hash: int | None) -> Host:
        least = min(host.stats.rq_active for host in hosts)
        idle = [host for host in hosts if host.stats.rq_active == least]
        return idle[draw() % len(idle)]

    return choose


def _busy_weight(bias: Callable[[], float]) -> Callable[[Host], float]:
    def weight(host: Host) -> float:
        power = bias()
        if power == 0.0:
            return float(host.weight)
        active = host.stats.rq_active + 1
        return host.weight / active if power == 1.0 else host.weight / active**power

    return weight
