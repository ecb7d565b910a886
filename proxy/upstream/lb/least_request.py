"""LEAST_REQUEST: the less busy of a few drawn hosts, or a schedule that weighs in how busy each host is.

Busy means requests in flight from this worker (`host.stats.rq_active`). With equal weights Envoy draws
`choice_count` hosts; with different ones it schedules with weight / (active + 1) ** bias.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proxy.upstream.host import Host
from proxy.upstream.lb.api import Draw
from proxy.upstream.lb.slow_start import SlowStart
from proxy.upstream.lb.weighted import WeightedPicker


class LeastRequest(WeightedPicker):
    """See module. `bias` is asked at each weighted pick because it may come from the runtime."""

    def __init__(
        self,
        hosts: Sequence[Host],
        draw: Draw,
        slow_start: SlowStart | None = None,
        choice_count: int = 2,
        bias: Callable[[], float] = lambda: 1.0,
        full_scan: bool = False,
    ) -> None:
        self._choice_count = choice_count
        self._bias = bias
        self._full_scan = full_scan
        super().__init__(hosts, draw, slow_start, whole=False)

    def unweighted(self, hosts: Sequence[Host]) -> Callable[[int | None], Host]:
        """See `WeightedPicker`."""
        if self._full_scan:
            return _scan_all(hosts, self._draw)
        return _draw_some(hosts, self._draw, self._choice_count)

    def weight_of(self, host: Host) -> float:
        """See `WeightedPicker`."""
        power = self._bias()
        if power == 0.0:
            return float(host.weight)
        active = host.stats.rq_active + 1
        return host.weight / active if power == 1.0 else float(host.weight / active**power)

    def _weight_fits(self, host: Host) -> bool:
        del host
        return True


def _draw_some(hosts: Sequence[Host], draw: Draw, choice_count: int) -> Callable[[int | None], Host]:
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


def _scan_all(hosts: Sequence[Host], draw: Draw) -> Callable[[int | None], Host]:
    def choose(_hash: int | None) -> Host:
        least = min([host.stats.rq_active for host in hosts])
        idle = [host for host in hosts if host.stats.rq_active == least]
        return idle[draw() % len(idle)]

    return choose
