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
    wrong and all are used (Envoy: `common_lb_config.healthy_panic_threshold`); then `panic` is True. Draining
    hosts (`excluded`) do not count in that percentage. No hosts at all is panic, too.
    """

    __slots__ = ("degraded", "excluded", "healthy", "hosts", "panic", "usable")

    def __init__(self, hosts: Sequence[Host], panic_threshold: float = 50.0) -> None:
        self.hosts = tuple(hosts)
        self.healthy = tuple(host for host in hosts if host.healthy)
        self.degraded = tuple(host for host in hosts if host.health is Health.DEGRADED)
        self.excluded = tuple(host for host in hosts if host.health is Health.DRAINING)
        priority = min((host.priority for host in hosts), default=0)
        members = tuple(host for host in hosts if host.priority == priority)
        healthy = tuple(host for host in self.healthy if host.priority == priority)
        degraded = tuple(host for host in self.degraded if host.priority == priority)
        counted = sum(host.health is not Health.DRAINING for host in members)
        available = 100 * (len(healthy) + len(degraded)) / counted if counted else 0
        self.panic = available < panic_threshold
        self.usable = members if self.panic else healthy or degraded
