"""STRICT_DNS and LOGICAL_DNS: keeps the addresses of clusters current. Runs in the controller.

Every name has its own timer. What resolves is reported as a cluster's whole list; what fails keeps the last
good addresses and is tried again after a back-off. A name that has no records empties its part of a
STRICT_DNS cluster and counts as a failure for LOGICAL_DNS, as in Envoy.

An address of a STRICT_DNS cluster that is resolved no longer stays while the active health checks of its host pass
(Envoy's `BaseDynamicClusterImpl::updateDynamicHostList`), unless `ignore_health_on_host_removal` says otherwise.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from proxy.base.address import Address
from proxy.base.stat_names import stat_name
from proxy.base.stats import StatGroup, StatRegistry
from proxy.upstream.cluster_config import ClusterConfig, Discovery, DnsConfig
from proxy.upstream.discovery.schedule import Answer, BackOff, refresh_delay
from proxy.upstream.health_flags import EXCLUDING, Health, HostKey, coarse, configured_flags
from proxy.upstream.lb.api import Draw

logger = logging.getLogger("outrider.dns")

Resolved = tuple[int, str]  # index into `ClusterConfig.endpoints`, textual IP address


class NameResolver(Protocol):
    """See `proxy.upstream.discovery.resolver.Resolver`."""

    def resolve_now(self, name: str, config: DnsConfig) -> Answer | None:
        """The answer where no server need be asked, else None."""

    def resolve(self, name: str, config: DnsConfig) -> Awaitable[Answer]:
        """Ask the servers; never raises."""


class DnsClusterStats(StatGroup):
    """What the controller knows of a DNS cluster; the workers leave these names to it."""

    update_attempt: int
    update_success: int
    update_failure: int
    update_no_rebuild: int
    membership_change: int
    membership_total: int
    membership_healthy: int
    membership_degraded: int
    membership_excluded: int
    max_host_weight: int

    COUNTERS = (
        "update_attempt",
        "update_success",
        "update_failure",
        "update_no_rebuild",
        "membership_change",
    )
    GAUGES = (
        "membership_total",
        "membership_healthy",
        "membership_degraded",
        "membership_excluded",
        "max_host_weight",
    )


class _Target:
    """One name of a cluster: the endpoint that it stands for and what it last resolved to.

    `addresses` are in use; those of them that are `kept` have not been resolved any more.
    """

    __slots__ = ("addresses", "cluster", "index", "kept", "name", "timer")

    def __init__(self, cluster: _DnsCluster, index: int, name: str) -> None:
        self.cluster = cluster
        self.index = index
        self.name = name
        self.addresses: tuple[str, ...] = ()
        self.kept: tuple[str, ...] = ()
        self.timer: asyncio.TimerHandle | None = None


class _DnsCluster:
    __slots__ = ("backoff", "config", "dns", "ready", "removed", "stats", "targets")

    def __init__(self, config: ClusterConfig, dns: DnsConfig, ready: asyncio.Future[None]) -> None:
        self.config = config
        self.dns = dns
        self.backoff = BackOff(dns)
        self.stats = DnsClusterStats(f"cluster.{stat_name(config.stat_name)}.")
        self.targets = [
            _Target(self, index, endpoint.address.ip) for index, endpoint in enumerate(config.endpoints)
        ]
        self.ready = ready
        self.removed = False

    @property
    def logical(self) -> bool:
        return self.config.discovery is Discovery.LOGICAL_DNS

    def resolved(self) -> list[Resolved]:
        return [(target.index, address) for target in self.targets for address in target.addresses]

    @property
    def keeps(self) -> bool:
        """Whether hosts that are resolved no longer may stay."""
        return self.config.keeps_checked_hosts and not self.logical

    def key(self, target: _Target, ip: str) -> HostKey:
        """What the host of an address is known by."""
        endpoint = self.config.endpoints[target.index]
        return Address(ip, endpoint.address.port).text, endpoint.priority

    def heaviest(self) -> int:
        weights = zip(self.config.endpoints, self.targets, strict=True)
        return max((endpoint.weight for endpoint, target in weights if target.addresses), default=1)

    def count_members(self, told: Mapping[HostKey, int]) -> None:
        stats = self.stats
        health: list[Health] = []
        excluded = 0
        for endpoint, target in zip(self.config.endpoints, self.targets, strict=True):
            for ip in target.addresses:
                flags = configured_flags(endpoint.health) | told.get(self.key(target, ip), 0)
                health.append(coarse(flags))
                excluded += bool(flags & EXCLUDING)
        stats.membership_total = len(health)
        stats.membership_healthy = health.count(Health.HEALTHY)
        stats.membership_degraded = health.count(Health.DEGRADED)
        stats.membership_excluded = excluded


class DnsDiscovery:
    """All DNS clusters of the process.

    `on_hosts(cluster name, [(endpoint index, IP), ...])` is called whenever a cluster's list changes, never
    from within `add`. At most `concurrency` names are being asked for at a time; the others wait their turn.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        resolver: NameResolver,
        draw: Draw,
        on_hosts: Callable[[str, Sequence[Resolved]], None],
        stats: StatRegistry,
        concurrency: int = 64,
        flags_of: Callable[[str], Mapping[HostKey, int]] = lambda _name: {},
        is_well: Callable[[str, HostKey], bool] = lambda _name, _key: False,
    ) -> None:
        """`is_well` says whether the active health checks of a cluster's host pass."""
        self._loop = loop
        self._resolver = resolver
        self._draw = draw
        self._on_hosts = on_hosts
        self._stats = stats
        self._concurrency = concurrency
        self._flags_of = flags_of
        self._is_well = is_well
        self._clusters: dict[str, _DnsCluster] = {}
        self._waiting: deque[_Target] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pump_planned = False

    def add(self, config: ClusterConfig) -> asyncio.Future[None]:
        """Begin to resolve a DNS cluster, in place of one of the same name.

        The future is done once a first name has been resolved or has failed to, which is when Envoy takes the
        cluster for warm; at once if there is nothing to wait for. It is cancelled by `remove`.
        """
        if config.dns is None:
            raise ValueError(f"cluster {config.name} does not use DNS")
        self.remove(config.name)
        cluster = _DnsCluster(config, config.dns, self._loop.create_future())
        self._clusters[config.name] = cluster
        cluster.count_members(self._flags_of(config.name))
        self._stats.add(f"dns.{config.name}", cluster.stats)
        if not cluster.targets or not config.wait_for_warm:
            cluster.ready.set_result(None)
        for target in cluster.targets:
            self._enqueue(target)
        return cluster.ready

    def remove(self, name: str) -> None:
        """Stop resolving a cluster; unknown names are fine."""
        cluster = self._clusters.pop(name, None)
        if cluster is None:
            return
        cluster.removed = True
        cluster.ready.cancel()
        self._stats.remove(f"dns.{name}")
        for target in cluster.targets:
            if target.timer is not None:
                target.timer.cancel()

    def resolved(self, name: str) -> Sequence[Resolved]:
        """The present list of a cluster, for a worker that has just started."""
        cluster = self._clusters.get(name)
        return cluster.resolved() if cluster is not None else ()

    def kept(self, name: str) -> set[HostKey]:
        """The hosts of a cluster that are there only because their checks pass."""
        cluster = self._clusters.get(name)
        if cluster is None:
            return set()
        return {cluster.key(target, ip) for target in cluster.targets for ip in target.kept}

    def drop_failed(self, name: str) -> None:
        """Hosts of a cluster fail their checks now: those that were only kept go."""
        cluster = self._clusters.get(name)
        for target in () if cluster is None else cluster.targets:
            if target.kept:
                self._use(target, [ip for ip in target.addresses if ip not in target.kept])

    def count_healthy(self, name: str) -> None:
        """The health of hosts has changed."""
        cluster = self._clusters.get(name)
        if cluster is not None:
            cluster.count_members(self._flags_of(name))

    def names(self) -> list[str]:
        """The clusters being resolved."""
        return list(self._clusters)

    async def close(self) -> None:
        """Forget every cluster and wait for the queries under way to be cancelled."""
        for name in self.names():
            self.remove(name)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _enqueue(self, target: _Target) -> None:
        target.timer = None
        self._waiting.append(target)
        if not self._pump_planned:
            self._pump_planned = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_planned = False
        waiting = self._waiting
        while waiting and len(self._tasks) < self._concurrency:
            target = waiting.popleft()
            cluster = target.cluster
            if cluster.removed:
                continue
            cluster.stats.update_attempt += 1
            answer = self._resolver.resolve_now(target.name, cluster.dns)
            if answer is not None:
                self._apply(target, answer)
                continue
            task = self._loop.create_task(self._ask(target), name=f"dns {target.name}")
            self._tasks.add(task)
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._pump()

    async def _ask(self, target: _Target) -> None:
        answer = await self._resolver.resolve(target.name, target.cluster.dns)
        if not target.cluster.removed:
            self._apply(target, answer)

    def _apply(self, target: _Target, answer: Answer) -> None:
        cluster = target.cluster
        stats = cluster.stats
        if answer.complete and (answer.addresses or not cluster.logical):
            stats.update_success += 1
            cluster.backoff.reset()
            delay = refresh_delay(cluster.dns, answer, self._draw)
            self._take(target, answer.addresses[:1] if cluster.logical else answer.addresses)
            if not cluster.logical:
                # Envoy looks at weights whenever a name of a strict cluster has been resolved, even to nothing.
                stats.max_host_weight = cluster.heaviest()
        else:
            stats.update_failure += 1
            delay = cluster.backoff.delay(self._draw)
            logger.debug(
                "cluster %s: %s not resolved (%s), next try in %.3f s",
                cluster.config.name,
                target.name,
                answer.reason or "no records",
                delay,
            )
        if not cluster.ready.done():
            cluster.ready.set_result(None)
        target.timer = self._loop.call_later(delay, self._enqueue, target)

    def _take(self, target: _Target, addresses: tuple[str, ...]) -> None:
        if not self._use(target, addresses):
            target.cluster.stats.update_no_rebuild += 1

    def _use(self, target: _Target, addresses: Sequence[str]) -> bool:
        """Use the addresses and what is to be kept of the former ones; whether that changes anything."""
        cluster = target.cluster
        name = cluster.config.name
        kept: tuple[str, ...] = ()
        if cluster.keeps:
            kept = tuple(
                ip
                for ip in target.addresses
                if ip not in addresses and self._is_well(name, cluster.key(target, ip))
            )
        # A server that rotates its answer changes nothing.
        if {*addresses, *kept} == set(target.addresses) and set(kept) == set(target.kept):
            return False
        stay = [ip for ip in target.addresses if ip in addresses or ip in kept]
        changed = len(stay) < len(target.addresses)
        came = [ip for ip in addresses if ip not in stay]
        target.addresses = (*stay, *came)
        target.kept = kept
        cluster.stats.membership_change += changed or bool(came)
        cluster.count_members(self._flags_of(name))
        self._on_hosts(name, cluster.resolved())
        return True
