"""The hosts of a cluster, sorted by priority and health, rebuilt whole on every change.

Deciding which list serves traffic happens here, once per change; a load balancer only picks from that list.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.upstream.host import Health, Host


class HostSet:
    """An immutable view of a cluster's hosts.

    `usable` is the list to balance over: the first priority that has hosts; of these the healthy ones, else
    the degraded ones. When fewer than `panic_threshold` percent of them are available, health is taken for
    wrong and all are used (Envoy: `common_lb_config.healthy_panic_threshold`); then `panic` is True.
    """

    __slots__ = ("degraded", "healthy", "hosts", "panic", "usable")

    def __init__(self, hosts: Sequence[Host], panic_threshold: float = 50.0) -> None:
        self.hosts = tuple(hosts)
        self.healthy = tuple(host for host in hosts if host.healthy)
        self.degraded = tuple(host for host in hosts if host.health == Health.DEGRADED)
        self.panic = False
        self.usable = self._choose(panic_threshold)

    def _choose(self, panic_threshold: float) -> tuple[Host, ...]:
        if not self.hosts:
            return ()
        priority = min(host.priority for host in self.hosts)
        members = tuple(host for host in self.hosts if host.priority == priority)
        healthy = tuple(host for host in members if host.healthy)
        degraded = tuple(host for host in members if host.health == Health.DEGRADED)
        if 100 * (len(healthy) + len(degraded)) < panic_threshold * len(members):
            self.panic = True
            return members
        return healthy or degraded
