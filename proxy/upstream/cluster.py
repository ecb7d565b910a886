"""A live cluster in a worker: hosts, balancer, breakers, numbers."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from proxy.base.address import Address
from proxy.base.runtime import Runtime
from proxy.base.steps import STEP, Slices, finish
from proxy.base.stream_info import StreamInfo
from proxy.config.resources import ResourceSource
from proxy.upstream.circuit_breaker import ResourceManager, SharedSlots
from proxy.upstream.cluster_compile import compile_cluster
from proxy.upstream.cluster_config import ClusterConfig, Discovery, UpstreamProtocol
from proxy.upstream.cluster_stats import ClusterStats
from proxy.upstream.compile_endpoints import Assignment, assignment_in_steps, discovered_assignment
from proxy.upstream.endpoint_change import change_to, drain_in_steps, retire_in_steps
from proxy.upstream.health_flags import DRAINING, HealthFlag, HostKey
from proxy.upstream.host import Host, Locality
from proxy.upstream.host_set import HostSet, PrioritySet
from proxy.upstream.lb.api import HASHING, ChooseHost, Clock, Draw
from proxy.upstream.lb.balancer import Balancer, Surroundings, make_balancer
from proxy.upstream.lb.priority_load import PriorityLoads
from proxy.upstream.lb.retry_choice import RetryChoice
from proxy.upstream.tracked import Tracked

if TYPE_CHECKING:
    from proxy.router.hash_policy import HashPolicy

__all__ = ["Cluster", "Resolved", "compile_cluster"]

#: Bytes of a list of endpoints that is taken in slices: some 50 endpoints.
_LONG: Final = 2048

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
        "_by_key",
        "_flags_moved",
        "_index",
        "_membership_changes",
        "_on_host_removed",
        "_oob_reports",
        "_own_locality",
        "_panic_threshold",
        "_resolved",
        "_runtime",
        "_slices",
        "_slots",
        "_socket_matches",
        "_told_loads",
        "_unchecked",
        "_updating",
        "_worker",
        "assignment_policy",
        "balancer",
        "breakers",
        "choose_by_stream",
        "choose_host",
        "client_weights",
        "config",
        "draw",
        "drop_overload",
        "endpoint_metrics",
        "foresight",
        "hashes",
        "host_flags",
        "immediate_failures",
        "internal_stats",
        "local_cluster",
        "member_hash_policy",
        "name",
        "outcomes",
        "priority_set",
        "removed",
        "retry_by_stream",
        "services",
        "ssl_stats",
        "stats",
        "tcp_connections",
        "watchers",
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
        clock: Clock = time.monotonic,
        own_locality: Locality | None = None,
        local_cluster: Cluster | None = None,
        host_flags: Mapping[HostKey, int] | None = None,
        *,
        reports_load: bool = False,
        stats: ClusterStats | None = None,
    ) -> None:
        self.name = config.name
        self.config = config
        self.stats = ClusterStats(config.stat_name) if stats is None else stats
        self.stats.common_counters = self._common_counters
        self.stats.common_gauges = self._common_gauges
        self.stats.tracked = (
            None
            if config.tracked is None
            else Tracked(config.tracked, lambda: self.hosts, self.stats.tracked)
        )
        self.removed = False
        self.choose_by_stream: Callable[[StreamInfo, int | None], Host | None] | None = None
        #: The same for a retry, where more is to be known of it than that a host is not wanted.
        self.retry_by_stream: Callable[[StreamInfo, int | None, RetryChoice], Host | None] | None = None
        #: A `proxy.connection.tls_stats.SslStats`, of a cluster with TLS.
        self.ssl_stats: Any = None
        #: An `InternalUpstreamStats`, of a cluster with such a transport socket.
        self.internal_stats: Any = None
        #: The worker's, for hosts that are internal listeners; None where there is no worker.
        self.services: Any = None
        #: Host to its connections that carry bytes, of a cluster that closes them when the host fails its checks.
        self.tcp_connections: dict[Host, set[Any]] | None = {} if config.close_on_health_failure else None
        #: Of a cluster with outlier detection: an `outlier.outcomes.ClusterOutcomes`.
        self.outcomes: Any = None
        #: Of a cluster with health checks: hears of hosts that say in a response that they would fail them.
        self.immediate_failures: Callable[[Host], None] | None = None
        self._runtime = runtime
        self.draw = draw
        self._slots = slots
        self._index = index
        self._worker = worker
        self._on_host_removed = on_host_removed
        self._membership_changes = 0
        self._resolved: dict[Resolved, Host] = {}
        #: What the controller has told of the health of hosts, present or to come; see `HealthFlag`.
        self.host_flags: Mapping[HostKey, int] = {} if host_flags is None else host_flags
        self._by_key: dict[HostKey, list[Host]] | None = None
        #: What holds for hosts that the controller has told nothing of.
        self._unchecked = 0
        if config.health_checks:
            self._unchecked = int(HealthFlag.FAILED_ACTIVE_HC)
            if config.ignores_unchecked:
                self._unchecked |= HealthFlag.PENDING_ACTIVE_HC
        names = ("default", *(match.name for match in config.transport_matches))
        self._socket_matches = dict.fromkeys(names, 0)
        default, high = config.breakers
        self.breakers = (
            ResourceManager(config.name, 0, default, slots, index, worker),
            ResourceManager(config.name, 1, high, slots, index, worker),
        )
        self._own_locality = own_locality
        #: The one whose hosts are proxies like this; None if the bootstrap names none.
        self.local_cluster = local_cluster
        #: Called after each change of the hosts.
        self.watchers: list[Callable[[], None]] = []
        self.assignment_policy = config.assignment_policy
        #: The share of the requests to refuse, 0.0 to 1.0.
        self.drop_overload = self.assignment_policy.drop_overload
        self.priority_set = PrioritySet((), self.assignment_policy, own_locality)
        #: A `lb.foresight.Foresight`, of a cluster that makes connections to hosts ahead of their choice.
        self.foresight: Any = None
        if config.preconnect is not None and config.preconnect.predictive > 1.0:
            from proxy.upstream.lb.foresight import Foresight  # few clusters look ahead

            single = config.protocol is UpstreamProtocol.HTTP1
            self.foresight = Foresight(config.lb, config.preconnect.predictive, self.stats, single=single)
        around = Surroundings(runtime, draw, clock, self.stats, self._defer, self._local_hosts)
        self.balancer: Balancer
        if config.lb.subset is None:
            self.balancer = make_balancer(config.lb, around, self.priority_set)
        else:
            from proxy.upstream.lb.subset import SubsetBalancer  # few clusters have subsets

            self.balancer = SubsetBalancer(config.lb, around, self.priority_set)
            self.choose_by_stream = self.retry_by_stream = self._choose_in_subset
        if config.lb.host_sources:
            from proxy.upstream.lb.override_host import OverrideHost  # few clusters let requests choose

            override = OverrideHost(self, config.lb.host_sources)
            self.choose_by_stream, self.retry_by_stream = override.choose, override.choose_again
        #: What is done in slices between requests; None before there is a loop.
        self._slices: Slices | None = None
        self._updating: Generator[None, None, None] | None = None
        self._flags_moved = False
        #: How the priorities shared the requests when that was last looked at; None before a worker has begun to.
        self._told_loads: PriorityLoads | None = None
        self.client_weights: Any = None
        if config.lb.client_weights is not None:
            from proxy.upstream.lb.client_weights import ClientWeights  # few clusters weigh their hosts

            weights = config.lb.client_weights
            self.client_weights = ClientWeights(weights, lambda: self.hosts, clock, self.rebalance)
        #: An `EndpointMetrics`, where load reports tell what hosts report.
        self.endpoint_metrics: Any = None
        if reports_load and config.report_metrics:
            from proxy.upstream.load_counts import EndpointMetrics  # few clusters tell of them

            self.endpoint_metrics = EndpointMetrics(config.report_metrics, self.client_weights)
            if self.client_weights is not None:
                self.client_weights.reader = self.endpoint_metrics
        self._oob_reports: Any = None
        self._panic_threshold = self.balancer.panic_threshold()
        #: Whether the balancer asks for the hash of a request; see `hash_policy_for`.
        self.hashes = config.lb.policy in HASHING
        #: Takes the place of the cluster's own answer in `hash_policy_for`; None for none.
        self.member_hash_policy: Callable[[HashPolicy | None], HashPolicy | None] | None = None
        for breaker in self.breakers:
            breaker.apply_runtime(runtime)
        if slots is not None:
            slots.set_built(worker, index, True)
        static = config.endpoints if config.discovery is Discovery.STATIC else ()
        self._install([endpoint.host(endpoint.address, endpoint.hostname) for endpoint in static])
        if config.assignment is not None:
            config.assignment.tell(self)
            self.on_resource(config.assignment)

    def on_resource(self, source: ResourceSource) -> None:
        """Take the endpoints that a control plane has brought; see `ResourceUser`.

        Hosts whose address stays keep their connections and numbers. A long list is taken in slices between
        requests, which go to the former hosts until it is through.
        """
        if self._updating is not None and self._slices is not None:
            self._slices.drop(self._updating)
            self._updating = None
        if self._slices is None or source.value is None or len(source.value) < _LONG:
            assignment = discovered_assignment(source)
            change = finish(change_to(self.hosts, assignment.endpoints, self.config.match_of))
            self._take_policy(assignment)
            self._take_flags(change.hosts)
            made = PrioritySet(change.hosts, self.assignment_policy, self._own_locality)
            self._use(made, change.new, change.gone)
        else:
            self._updating = self._update_in_steps(source)
            self._slices.add(self._updating)

    def _update_in_steps(self, source: ResourceSource) -> Generator[None, None, None]:
        assignment = yield from assignment_in_steps(source.value)
        source.keep(assignment)
        change = yield from change_to(self.hosts, assignment.endpoints, self.config.match_of)
        self._flags_moved = False
        for start in range(0, len(change.hosts), STEP):
            self._take_flags(change.hosts[start : start + STEP])
            yield
        policy = assignment.policy
        made = yield from PrioritySet.in_steps(change.hosts, policy, self._own_locality, self.priority_set)
        yield from self.balancer.prepare(made)
        by_key: dict[HostKey, list[Host]] | None = None
        if self.config.health_checks or self.config.outlier is not None:
            by_key = {}
            for start in range(0, len(change.hosts), STEP):
                _add_by_key(by_key, change.hosts[start : start + STEP])
                yield
        self._updating = None
        if not self.removed:
            self._take_policy(assignment)
            if self._flags_moved:
                # Rare: the health of some has changed since the hosts were sorted by it.
                self._take_flags(change.hosts)
                made = PrioritySet(change.hosts, policy, self._own_locality)
            self._use(made, change.new, change.gone)
            self._by_key = by_key

    def _take_policy(self, assignment: Assignment) -> None:
        self.assignment_policy = assignment.policy
        self.drop_overload = assignment.policy.drop_overload

    @property
    def updating(self) -> bool:
        """Whether endpoints have come that are not in use yet."""
        return self._updating is not None

    @property
    def hosts(self) -> tuple[Host, ...]:
        """All current hosts, usable or not."""
        return self.priority_set.hosts

    def hash_policy_for(self, of_route: HashPolicy | None) -> HashPolicy | None:
        """What the hash of a request is made by, given the route's policy: the balancer's own counts first."""
        if self.member_hash_policy is not None:
            return self.member_hash_policy(of_route)
        config = self.config
        policy: HashPolicy | None = config.lb.hashing.policy or config.hash_policy or of_route
        return policy

    def host_for(self, info: StreamInfo, request_hash: int | None = None) -> Host | None:
        """The host for one stream or TCP connection, None when there is none to use."""
        if self.choose_by_stream is not None:
            return self.choose_by_stream(info, request_hash)
        return self.choose_host(request_hash)

    def host_for_retry(self, info: StreamInfo, request_hash: int | None, retry: RetryChoice) -> Host | None:
        """The same for a further try of a request."""
        if self.retry_by_stream is not None:
            return self.retry_by_stream(info, request_hash, retry)
        choose_by_stream = self.choose_by_stream
        if choose_by_stream is not None:
            return retry.first_allowed(lambda _attempt: choose_by_stream(info, request_hash))
        return self.choose_host_again(request_hash, retry)

    def choose_host_again(self, request_hash: int | None, retry: RetryChoice) -> Host | None:
        """The balancer's own choice for a further try."""
        host = self.balancer.choose_again(request_hash, retry)
        if host is None:
            self.stats.upstream_cx_none_healthy += 1
        return host

    def may_retry(self) -> bool:
        """Whether the runtime lets requests be tried again, by its key `upstream.use_retry`."""
        return self._runtime.feature_enabled("upstream.use_retry", 100, 100, self.draw)

    def retry_base(self, default: int) -> int:
        """The base of the back-off in milliseconds, where policies do not say: `upstream.base_retry_backoff_ms`."""
        return self._runtime.integer("upstream.base_retry_backoff_ms", default)

    def wanted_host(self, address: str) -> Host | None:
        """The host with that address, whatever the balancer would say; None unless its health allows that."""
        by_key = self._hosts_by_key()
        for priority in range(len(self.priority_set.sets)):
            for host in by_key.get((address, priority), ()):
                if host.status in self.config.override_statuses:
                    return host
        return None

    def host_at(self, address: str) -> Host | None:
        """The host with that address, whatever its health."""
        by_key = self._hosts_by_key()
        for priority in range(len(self.priority_set.sets)):
            found = by_key.get((address, priority))
            if found:
                return found[0]
        return None

    def _hosts_by_key(self) -> dict[HostKey, list[Host]]:
        if self._by_key is None:
            self._by_key = {}
            _add_by_key(self._by_key, self.hosts)
        return self._by_key

    def replace_hosts(self, hosts: Sequence[Host]) -> None:
        """Take the whole list of hosts of a cluster that makes its own."""
        self._install(hosts)

    def apply_runtime(self) -> None:
        """Read anew what the runtime may override."""
        for breaker in self.breakers:
            breaker.apply_runtime(self._runtime)
        threshold = self.balancer.panic_threshold()
        if threshold != self._panic_threshold:
            self._panic_threshold = threshold
            self.rebalance()

    def health_changed(self, host: Host) -> None:
        """The health of one of the hosts has changed: whoever changed it says so here."""
        self.priority_set = self.priority_set.with_health_of(host)
        self.balancer.health_changed(self.priority_set, host)
        self._choose_anew()

    def flags_changed(self, keys: Iterable[HostKey]) -> None:
        """The controller has told of the health of these hosts anew; `host_flags` has it. Unknown ones are fine."""
        self._flags_moved = True
        by_key = self._hosts_by_key()
        changed = []
        for key in keys:
            for host in by_key.get(key, ()):
                before, kinds = host.flags, (host.healthy, host.degraded, host.excluded)
                host.take_flags(self._told_of(host))
                if kinds != (host.healthy, host.degraded, host.excluded):
                    changed.append(host)
                if host.flags & ~before & DRAINING:
                    for pool in list(host.pools.values()):
                        pool.drain_connections()
                    if self.tcp_connections is not None:
                        for connection in self.tcp_connections.pop(host, ()):
                            connection.close()
        if len(changed) == 1:
            self.health_changed(changed[0])
        elif changed:
            self.priority_set = PrioritySet(self.hosts, self.assignment_policy, self._own_locality)
            self.rebalance()

    def rebalance(self) -> None:
        """Decide anew what depends on more than the own hosts: the runtime, or the local cluster."""
        self.balancer.renew(self.priority_set)
        self._choose_anew()

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
            self._by_key = None
            self.flags_changed([(host.address.text, host.priority)])
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

    def renew(self, config: ClusterConfig) -> None:
        """Take what `proxy.upstream.renewal` names of another config; hosts and connections stay."""
        self.config = replace(self.config, breakers=config.breakers, metadata=config.metadata)
        for breaker, thresholds in zip(self.breakers, config.breakers, strict=True):
            breaker.renew(thresholds, self._runtime)

    def start(self) -> None:
        """Begin what happens from time to time; `services` are there."""
        if self.services is not None:
            self._slices = self.services.slices
            if self.config.outlier is not None:
                split = self.config.outlier.split_external_local_origin_errors
                self.outcomes = self.services.outcomes.follow(self.name, self.hosts, split=split)
            if self.config.health_checks:
                self.immediate_failures = self._fail_at_once
            if self.hosts:
                self._told_loads = self.balancer.loads
        if self.client_weights is not None and self.services is not None:
            self.on_wake(self.services.loop.time())
            if self.config.lb.client_weights.oob_period:
                from proxy.upstream.oob_reports import OobReports  # few hosts report by streams of their own

                self._oob_reports = OobReports(self, self.services)

    def on_wake(self, now: float) -> None:
        """See `Timers`: weigh the hosts."""
        if not self.removed:
            self.client_weights.update()
            self.services.timers.wake(now + self.config.lb.client_weights.update, self)

    def close(self) -> None:
        """The cluster has gone: mark its hosts as removed so that their pools drain."""
        self.removed = True
        if self.outcomes is not None:
            self.outcomes.close()
        if self._oob_reports is not None:
            self._oob_reports.close()
        self._leave(self.hosts)
        if self._slots is not None:
            self._slots.set_built(self._worker, self._index, False)

    def _install(self, hosts: Sequence[Host]) -> None:
        """Use these hosts from now on."""
        before, after = set(self.hosts), set(hosts)
        self._take_flags(hosts)
        made = PrioritySet(hosts, self.assignment_policy, self._own_locality)
        self._use(made, after - before, before - after)

    def _use(self, priority_set: PrioritySet, new: Collection[Host], gone: Collection[Host]) -> None:
        self._by_key = None
        self.priority_set = priority_set
        if self.client_weights is not None:
            self.client_weights.update()
        elif self.endpoint_metrics is not None:
            for host in new:
                host.load_reports = self.endpoint_metrics
        self.rebalance()
        if new or gone:
            self._membership_changes += len({host.priority for host in itertools.chain(new, gone)})
            if self.config.transport_matches:
                for host in new:
                    match = self.config.match_of(host.metadata)
                    name = "default" if match is None else match.name
                    self._socket_matches[name] += 1
            else:
                self._socket_matches["default"] += len(new)
        for host in new:
            host.cluster = self
        if self.outcomes is not None and (new or gone):
            self.outcomes.change_hosts(new, gone)
        if gone:
            self._leave(gone)
        if self.config.close_on_host_set_change and (new or gone):
            self._in_slices(drain_in_steps([host for host in self.hosts if host not in new]))

    def _fail_at_once(self, host: Host) -> None:
        if host.checked:
            self.services.outcomes.failed_at_once(self.name, (host.address.text, host.priority))

    def _told_of(self, host: Host) -> int:
        told = self.host_flags.get((host.address.text, host.priority))
        if told is None:
            return self._unchecked if host.checked else 0
        return told

    def _take_flags(self, hosts: Iterable[Host]) -> None:
        if self.host_flags or self._unchecked:
            for host in hosts:
                host.take_flags(self._told_of(host))

    def _leave(self, hosts: Iterable[Host]) -> None:
        """Hosts have gone: their pools drain."""
        self._in_slices(retire_in_steps(list(hosts), self._on_host_removed))

    def _in_slices(self, steps: Generator[None, None, None]) -> None:
        if self._slices is None:
            finish(steps)
        else:
            # A few are told at once.
            next(steps, None)
            self._slices.add(steps)

    def _choose_anew(self) -> None:
        choose = self.balancer.choose
        if self.foresight is not None:
            choose = self.foresight.around(choose, self.hosts, self.priority_set.count("healthy"))
        stats = self.stats

        def choose_host(request_hash: int | None) -> Host | None:
            host = choose(request_hash)
            if host is None:
                stats.upstream_cx_none_healthy += 1
            return host

        self.choose_host = choose_host
        if self._slices is not None and self.hosts:
            self._tell_of_loads()
        for watcher in self.watchers:
            watcher()

    def _tell_of_loads(self) -> None:
        """Panic and failover are events; the first worker that has the cluster tells of them."""
        before, after = self._told_loads, self.balancer.loads
        self._told_loads = after
        if before is None or before == after or self._slots is None:
            return
        if self._slots.first_builder(self._index) != self._worker:
            return
        from proxy.upstream.lb.load_words import load_changes  # rare

        for what, why in load_changes(before, after, self.priority_set.sets, self._panic_threshold):
            self.services.outcomes.tell_event(what, self.name, why)

    def _choose_in_subset(
        self, info: StreamInfo, request_hash: int | None, retry: RetryChoice | None = None
    ) -> Host | None:
        criteria = info.metadata_match
        more = info.own_metadata.get("envoy.lb")
        if more is not None:
            criteria = more if criteria is None else {**criteria, **more}
        balancer: Any = self.balancer
        host: Host | None = balancer.choose_for(criteria, request_hash, retry)
        if host is None:
            self.stats.upstream_cx_none_healthy += 1
        return host

    def _local_hosts(self) -> HostSet | None:
        local = self.local_cluster
        return None if local is None else local.priority_set.sets[0]

    def _defer(self, function: Callable[[], None]) -> bool:
        if self.services is None:
            return False
        self.services.loop.call_soon(function)
        return True

    def _common_counters(self) -> dict[str, int]:
        result = {f"{name}.total_match_count": count for name, count in self._socket_matches.items()}
        if self.config.dns is None:
            result["membership_change"] = self._membership_changes
        return result

    def _common_gauges(self) -> dict[str, int]:
        result: dict[str, int] = {}
        # The controller, which resolves names, reports the membership of DNS clusters.
        if self.config.dns is None:
            hosts = self.priority_set
            assignment = self.config.assignment
            weights = [host.weight for host in hosts.hosts] if assignment is not None else []
            # Envoy begins to look for the greatest at 1.
            least = int(assignment is not None and assignment.value is not None)
            result = {
                "membership_total": len(hosts.hosts),
                "membership_healthy": hosts.count("healthy"),
                "membership_degraded": hosts.count("degraded"),
                "membership_excluded": hosts.count("excluded"),
                "max_host_weight": max(weights, default=least),
            }
        result.update(self.balancer.numbers())
        for name, breaker in zip(("default", "high"), self.breakers, strict=True):
            result.update(breaker.gauges(f"circuit_breakers.{name}."))
        return result

    def __repr__(self) -> str:
        usable = self.priority_set.count("healthy")
        return f"<Cluster {self.name} {usable}/{len(self.hosts)} healthy hosts {self.breakers[0].requests!r}>"


def _add_by_key(by_key: dict[HostKey, list[Host]], hosts: Iterable[Host]) -> None:
    for host in hosts:
        by_key.setdefault((host.address.text, host.priority), []).append(host)
