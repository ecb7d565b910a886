"""RANDOM: each usable host with equal chance; weights do not matter, as in Envoy."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from proxy.upstream.host import Host
from proxy.upstream.lb.api import Draw


class RandomPick:
    """Draws one of its hosts. A `Picker`."""

    pick: Callable[[int | None], Host]

    def __init__(self, hosts: Sequence[Host], draw: Draw) -> None:
        self._draw = draw
        self.renew(hosts)

    def prepare(self, hosts: Sequence[Host]) -> Generator[None, None, None]:
        """See `Picker`: nothing to do."""
        del hosts
        yield from ()

    def renew(self, hosts: Sequence[Host]) -> None:
        """See `Picker`."""
        self.hosts = hosts
        count = len(hosts)
        draw = self._draw

        def choose(_hash: int | None) -> Host:
            return hosts[draw() % count]

        self.pick = choose

    def health_changed(self, hosts: Sequence[Host], host: Host) -> None:
        """See `Picker`."""
        del host
        self.renew(hosts)
