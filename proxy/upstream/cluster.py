"""A live cluster in a worker: hosts, balancer, breakers, numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from proxy.base.address import Address
from proxy.base.runtime import Runtime
from proxy.base.stream_info import StreamInfo
from proxy.config.resources import ResourceSource
from proxy.upstream.circuit_breaker import ResourceManager, SharedSlots
from proxy.upstream.cluster_compile import compile_cluster
from proxy.upstream.cluster_config import ClusterConfig, Discovery
from proxy.upstream.cluster_stats import ClusterStats
from proxy.upstream.compile_endpoints import discovered_endpoints
from proxy.upstream.host import Host
from proxy.upstream.host_set import HostSet
from proxy.upstream.lb.api import ChooseHost, Draw, LbPolicy
from proxy.upstream.lb.least_request import least_request
from proxy.upstream.lb.random_pick import random_pick
from proxy.upstream.lb.round_robin import round_robin

__all__ = ["Cluster", "Resolved", "compile_cluster"]

Resolved = tuple[int, str]  # index into `ClusterConfig.endpoints`, textual IP address


class Cluster:
    """One cluster of one worker.

    `choose_host(hash)` gives the host for the next request, or None when there is none to use (counted in
    `upstream_cx_none_healthy`). Where `choose_by_stream` is not None the host depends on the stream, and that
    function takes its place: `host_for` chooses between them. The host may then be that of another cluster.
    `breakers` is indexed by routing priority. `hosts` are all current hosts.
    `draw` gives random integers from 0 to 2**64-1.
    `removed` turns True when the cluster itself has gone from the configuration.
    """

    __slots__ = (
        "__weakref__",
        "_index",
        "_membership_changes",
        "_on_host_removed",
        "_panic_below",
        "_resolved",
        "_runtime",
        "_slots",
        "_socket_matches",
        "_worker",
        "breakers",
        "choose_by_stream",
        "choose_host",
        "config",
        "draw",
        "host_set",
        "internal_stats",
        "name",
        "removed",
        "services",
        "ssl_stats",
        "stats",
    )

    choose_host: ChooseHost

    def __init__(
        self,
        config: ClusterConfig,
        runtime: Runtime,
        draw: Draw,
        slots: SharedSlots | None = None,
        index: int = 0,
        worker: int = 0,
        on_host_removed: Callable[[Host], None] | None = None,
    ) -> None:
        self.name = config.name
        self.config = config
        self.stats = ClusterStats(config.stat_name)
        self.stats.common_counters = self._common_counters
        self.stats.common_gauges = self._common_gauges
        self.removed = False
        self.choose_by_stream: Callable[[StreamInfo, int | None], Host | None] | None = None
        #: A `proxy.connection.tls_stats.SslStats`, of a cluster with TLS.
        self.ssl_stats: Any = None
        #: An `InternalUpstreamStats`, of a cluster with such a transport socket.
        self.internal_stats: Any = None
        #: The worker's, for hosts that are internal listeners; None where there is no worker.
        self.services: Any = None
        self._runtime = runtime
        self.draw = draw
        self._slots = slots
        self._index = index
        self._worker = worker
        self._on_host_removed = on_host_removed
        self._membership_changes = 0
        self._resolved: dict[Resolved, Host] = {}
        names = ("default", *(match.name for match in config.transport_matches))
        self._socket_matches = dict.fromkeys(names, 0)
        default, high = config.breakers
        self.breakers = (
            ResourceManager(config.name, 0, default, slots, index, worker),
            ResourceManager(config.name, 1, high, slots, index, worker),
        )
        self.host_set = HostSet(())
        self._panic_below = -1.0
        self.apply_runtime()
        if slots is not None:
            slots.set_built(worker, index, True)
        static = config.endpoints if config.discovery is Discovery.STATIC else ()
        self._install([endpoint.host(endpoint.address, endpoint.hostname) for endpoint in static])
        if config.assignment is not None:
            config.assignment.tell(self)
            self.on_resource(config.assignment)

    def on_resource(self, source: ResourceSource) -> None:
        """Take the endpoints that a control plane has brought; see `ResourceUser`.

        Hosts whose address stays keep their connections and numbers.
        """
        before = {(host.address, host.priority): host for host in self.host_set.hosts}
        after: dict[tuple[Address, int], Host] = {}
        for endpoint in discovered_endpoints(source):
            key = (endpoint.address, endpoint.priority)
            host = before.get(key)
            if host is None or self.config.match_of(host.metadata) is not self.config.match_of(endpoint.metadata):
                host = endpoint.host(endpoint.address, endpoint.hostname)
            else:
                endpoint.renew(host)
            # Envoy takes the first of two endpoints with one address.
            after.setdefault(key, host)
        self._install(list(after.values()))

    @property
    def hosts(self) -> tuple[Host, ...]:
        """All current hosts, usable or not."""
        return self.host_set.hosts

    def host_for(self, info: StreamInfo, request_hash: int | None = None) -> Host | None:
        """The host for one stream or TCP connection, None when there is none to use."""
        if self.choose_by_stream is not None:
            return self.choose_by_stream(info, request_hash)
        return self.choose_host(request_hash)

    def replace_hosts(self, hosts: Sequence[Host]) -> None:
        """Take the whole list of hosts of a cluster that makes its own."""
        self._install(hosts)

    def apply_runtime(self) -> None:
        """Read anew what the runtime may override."""
        for breaker in self.breakers:
            breaker.apply_runtime(self._runtime)
        threshold = self._panic_threshold()
        if threshold != self._panic_below:
            self._panic_below = threshold
            self._install(self.host_set.hosts)

    def update_resolved(self, resolved: Iterable[Resolved]) -> None:
        """Take the addresses that DNS gave for the configured endpoints.

        Hosts whose address stays keep their connections and numbers. The one host of a LOGICAL_DNS cluster
        only changes its address: what is connected stays connected, new connections go to the new place.
        """
        endpoints = self.config.endpoints
        if self.config.discovery is Discovery.LOGICAL_DNS and self._resolved:
            (host,) = self._resolved.values()
            for index, ip in resolved:
                host.address = Address(ip, endpoints[index].address.port)
            return
        before = self._resolved
        self._resolved = {}
        # Two names may resolve to one address; Envoy then has two hosts.
        for key in resolved:
            index, ip = key
            endpoint = endpoints[index]
            self._resolved[key] = before.get(key) or endpoint.host(
                Address(ip, endpoint.address.port), endpoint.hostname or endpoint.address.ip
            )
        self._install(list(self._resolved.values()))

    def _panic_threshold(self) -> float:
        key = "upstream.healthy_panic_threshold"
        return min(self._runtime.number(key, self.config.lb.panic_threshold), 100.0)

    def close(self) -> None:
        """The cluster has gone: mark its hosts as removed so that their pools drain."""
        self.removed = True
        for host in self.hosts:
            self._retire(host)
        if self._slots is not None:
            self._slots.set_built(self._worker, self._index, False)

    def _install(self, hosts: Sequence[Host]) -> None:
        before = set(self.host_set.hosts)
        after = set(hosts)
        self.host_set = HostSet(hosts, self._panic_below)
        self.choose_host = self._balancer()
        if before != after:
            self._membership_changes += 1
            for host in after - before:
                match = self.config.match_of(host.metadata)
                name = "default" if match is None else match.name
                self._socket_matches[name] += 1
        for host in after - before:
            host.cluster = self
        for host in before - after:
            self._retire(host)

    def _retire(self, host: Host) -> None:
        host.removed = True
        if self._on_host_removed is not None:
            self._on_host_removed(host)

    def _balancer(self) -> ChooseHost:
        usable = self.host_set.usable
        if not usable:
            return self._no_host
        lb = self.config.lb
        match lb.policy:
            case LbPolicy.ROUND_ROBIN:
                choose = round_robin(usable, self.draw)
            case LbPolicy.LEAST_REQUEST:
                choose = least_request(
                    usable, self.draw, lb.choice_count, lambda: lb.bias(self._runtime), lb.full_scan
                )
            case LbPolicy.RANDOM:
                choose = random_pick(usable, self.draw)
        return self._counting_panic(choose) if self.host_set.panic else choose

    def _no_host(self, _hash: int | None) -> None:
        self.stats.upstream_cx_none_healthy += 1
        if self.host_set.panic:
            self.stats.lb_healthy_panic += 1

    def _counting_panic(self, choose: ChooseHost) -> ChooseHost:
        def choose_in_panic(request_hash: int | None) -> Host | None:
            self.stats.lb_healthy_panic += 1
            return choose(request_hash)

        return choose_in_panic

    def _common_counters(self) -> dict[str, int]:
        result = {f"{name}.total_match_count": count for name, count in self._socket_matches.items()}
        if self.config.dns is None:
            result["membership_change"] = self._membership_changes
        return result

    def _common_gauges(self) -> dict[str, int]:
        result: dict[str, int] = {}
        # The controller, which resolves names, reports the membership of DNS clusters.
        if self.config.dns is None:
            hosts = self.host_set
            result = {
                "membership_total": len(hosts.hosts),
                "membership_healthy": len(hosts.healthy),
                "membership_degraded": len(hosts.degraded),
                "membership_excluded": len(hosts.excluded),
                "max_host_weight": 0,  # Envoy sets it for dynamic clusters only
            }
        for name, breaker in zip(("default", "high"), self.breakers, strict=True):
            result.update(breaker.gauges(f"circuit_breakers.{name}."))
        return result

    def __repr__(self) -> str:
        usable = len(self.host_set.usable)
        return f"<Cluster {self.name} {usable}/{len(self.hosts)} hosts {self.breakers[0].requests!r}>"
