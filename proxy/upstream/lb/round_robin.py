"""ROUND_ROBIN: plain rotation, or Envoy's weighted schedule when weights differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from proxy.upstream.host import Host
from proxy.upstream.lb.api import Draw
from proxy.upstream.lb.slow_start import SlowStart
from proxy.upstream.lb.weighted import WeightedPicker


class RoundRobin(WeightedPicker):
    """Rotates over its hosts, beginning at a random place; a change of the hosts does not start it anew."""

    def __init__(self, hosts: Sequence[Host], draw: Draw, slow_start: SlowStart | None = None) -> None:
        self._index = -1
        super().__init__(hosts, draw, slow_start, whole=True)

    def unweighted(self, hosts: Sequence[Host]) -> Callable[[int | None], Host]:
        """See `WeightedPicker`."""
        if self._index < 0:
            self._index = self.seed
        count = len(hosts)

        def rotate(_hash: int | None) -> Host:
            index = self._index
            self._index = index + 1
            return hosts[index % count]

        return rotate

    def weight_of(self, host: Host) -> float:
        """See `WeightedPicker`."""
        return host.weight
