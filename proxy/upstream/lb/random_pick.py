"""RANDOM: each usable host with equal chance; weights do not matter, as in Envoy."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.upstream.host import Host
from proxy.upstream.lb.api import ChooseHost, Draw, no_host


def random_pick(hosts: Sequence[Host], draw: Draw) -> ChooseHost:
    """Draw one of `hosts`."""
    if not hosts:
        return no_host
    count = len(hosts)

    def choose(_hash: int | None) -> Host:
        return hosts[draw() % count]

    return choose
