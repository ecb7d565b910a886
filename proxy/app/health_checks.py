"""Active health checks of all clusters, in the controller: which hosts, since when, and who waits for the result.

A cluster that replaces another is checked beside it until it takes its place; only then workers hear of its flags.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from proxy.base.address import Address
from proxy.base.runtime import Runtime
from proxy.discovery.warming import Warming
from proxy.upstream.health_flags import FAILING, HealthFlag, HostKey

if TYPE_CHECKING:
    from proxy.app.controller import Controller
    from proxy.config.context import CompileContext
    from proxy.config.resources import ResourceStore
    from proxy.discovery.wanted import Wanted
    from proxy.upstream.cluster_config import ClusterConfig, EndpointConfig
    from proxy.upstream.health_check.cluster_checks import ClusterChecks, Surroundings
    from proxy.upstream.health_check.session import CheckedHost
    from proxy.upstream.health_check.stats import HealthCheckStats

Resolved = Sequence[tuple[int, str]]
_FIRST_ROUND = "health checks"
_PENDING_REMOVAL = int(HealthFlag.PENDING_DYNAMIC_REMOVAL)


class _Checked:
    """The checks of one version of a cluster; `live` tells that workers use that version."""

    def __init__(self, config: ClusterConfig) -> None:
        self.config = config
        self.live = False
        self.checks: ClusterChecks


class HealthChecks:
    """See module. `on_pass` hears of each check that finds a host well: cluster, host."""

    def __init__(self, controller: Controller, draw: Callable[[], int], runtime: Runtime) -> None:
        self._controller = controller
        self._draw = draw
        self._runtime = runtime
        self._active: dict[str, _Checked] = {}
        self._coming: dict[str, _Checked] = {}
        #: Whose endpoints a control plane brings, by the key of these.
        self._sharing: dict[str, list[_Checked]] = {}
        self._env: Surroundings | None = None
        self._sinks: Any = None
        self._secrets: Any = None
        self._resources: ResourceStore | None = None
        self.on_pass: list[Callable[[str, HostKey], None]] = []

    async def start(self, clusters: Iterable[tuple[str, bytes]], *, discovered: bool) -> None:
        """Check hosts of the bootstrap, those that a control plane brings or the others.

        Returns after the first round of the clusters that start-up waits for.
        """
        waits = []
        for number, (name, serialized) in enumerate(clusters):
            config = self._compiled(name, serialized)
            if (config.assignment is not None) is not discovered:
                continue
            warming = Warming(0.0, lambda: None)
            warming.add(f"{_FIRST_ROUND} {number}")
            warming.start()
            self._begin(config, warming, f"{_FIRST_ROUND} {number}")
            self.activate(name)
            if config.wait_for_warm:
                waits.append(warming.wait())
        await asyncio.gather(*waits)

    def begin(self, serialized: bytes, warming: Warming, what: str) -> None:
        """Check the hosts of a cluster to come; `warming` hears that `what` is settled after the first round."""
        from envoy.config.cluster.v3 import cluster_pb2

        name = cluster_pb2.Cluster.FromString(serialized).name
        self._begin(self._compiled(name, serialized), warming, what)

    def activate(self, name: str) -> None:
        """Workers are about to use the newest version of a cluster: its flags count from now on."""
        before = self._active.pop(name, None)
        health = self._controller.host_health
        if before is not None:
            self._end(before)
            health.forget_cluster(name)
        coming = self._coming.pop(name, None)
        if coming is None:
            self._controller.stats.registry.remove(_stats_key(name))
            return
        self._active[name] = coming
        coming.live = True
        self._controller.stats.registry.add(_stats_key(name), coming.checks.stats)
        for key, session in coming.checks.sessions.items():
            health.change(name, key, add=session.verdict.flags)
        self._keep_again(coming)

    def remove(self, name: str) -> None:
        """The cluster has gone; unknown names are fine."""
        coming = self._coming.pop(name, None)
        if coming is not None:
            self._end(coming)
        self.activate(name)

    def flush(self) -> None:
        """Tell workers before they hear of clusters."""
        self._controller.host_health.flush()

    def resolved(self, name: str, resolved: Resolved) -> None:
        """The names of a cluster's hosts have new addresses."""
        for table in (self._active, self._coming):
            checked = table.get(name)
            if checked is not None:
                if checked.live:
                    self._note_kept(checked, self._controller.names.kept(name))
                self._set_hosts(checked, _named(checked.config, resolved))

    def with_kept_endpoints(self, entry: Wanted, value: bytes) -> bytes:
        """The endpoints that a control plane has brought, and those that it leaves out and that are well.

        Where several clusters share the endpoints none is kept: what is well for one may not be for another.
        """
        if entry.told is None or len(entry.holders) != 1:
            return value
        for checked in self._sharing.get(entry.want.key, ()):
            if checked.live and checked.config.keeps_checked_hosts:
                from proxy.upstream.kept_endpoints import with_kept

                is_well = partial(self.is_well, checked.config.name)
                return with_kept(value, entry.told, checked.checks.sessions, is_well)
        return value

    def is_well(self, name: str, key: HostKey) -> bool:
        """Whether a host of a cluster is checked and nothing is wrong with it."""
        checked = self._active.get(name)
        if checked is None or key not in checked.checks.sessions:
            return False
        return not self._controller.host_health.flags(name, key) & FAILING

    def endpoints_came(self, entry: Wanted) -> None:
        """A control plane has brought endpoints, which workers are told of next."""
        for checked in tuple(self._sharing.get(entry.want.key, ())):
            if checked.live:
                self._note_kept(checked, _kept(entry))
            self._set_hosts(checked, _discovered(entry.told if checked.live else entry.value))

    def _note_kept(self, checked: _Checked, kept: set[HostKey]) -> None:
        name, health = checked.config.name, self._controller.host_health
        for key in checked.checks.sessions:
            if key in kept:
                health.change(name, key, add=_PENDING_REMOVAL)
            elif health.flags(name, key) & _PENDING_REMOVAL:
                health.change(name, key, clear=_PENDING_REMOVAL)

    def failed_at_once(self, name: str, key: HostKey) -> None:
        """A worker was told by a host of the cluster that its checks would fail; unknown ones are fine."""
        checked = self._active.get(name)
        session = None if checked is None else checked.checks.sessions.get(key)
        if session is not None:
            session.fail_at_once()

    def secret_came(self, entry: Wanted) -> None:
        """A control plane has brought a secret."""
        self.secret_changed(entry.want.key, entry.value or b"")

    def secret_changed(self, key: str, serialized: bytes) -> None:
        """A secret is there, or another."""
        if self._secrets is not None:
            self._secrets.update(key, serialized)

    def reopen_logs(self) -> None:
        """After a rotation."""
        if self._sinks is not None:
            self._sinks.reopen()

    def close(self) -> None:
        """Check nothing any longer."""
        for table in (self._active, self._coming):
            for checked in table.values():
                checked.checks.close()
            table.clear()
        self._sharing.clear()
        if self._sinks is not None:
            self._sinks.close()

    def _begin(self, config: ClusterConfig, warming: Warming, what: str) -> None:
        from proxy.upstream.health_check.cluster_checks import ClusterChecks  # most configs check nothing

        name = config.name
        before = self._coming.pop(name, None)
        if before is not None:
            self._end(before)
        checked = self._coming[name] = _Checked(config)
        if config.assignment is not None:
            self._sharing.setdefault(config.assignment.key, []).append(checked)
        checked.checks = ClusterChecks(
            config,
            self.surroundings(),
            lambda key, flags: self._flags(checked, key, flags),
            lambda key: self._passed(checked, key),
            lambda: warming.settled(what),
            self._former_stats(config),
        )
        controller = self._controller
        if config.assignment is not None:
            entry = controller.wanted.entries.get(config.assignment.key)
            hosts = [] if entry is None else _discovered(entry.value)
        elif config.dns is not None:
            hosts = _named(config, controller.names.addresses(name))
        else:
            hosts = configured_hosts(config)
        checked.checks.set_hosts(hosts)
        checked.checks.start()

    def _end(self, checked: _Checked) -> None:
        checked.checks.close()
        source = checked.config.assignment
        if source is not None:
            sharing = self._sharing[source.key]
            sharing.remove(checked)
            if not sharing:
                del self._sharing[source.key]

    def _former_stats(self, config: ClusterConfig) -> HealthCheckStats | None:
        active = self._active.get(config.name)
        return active.checks.stats if active and active.config.stat_name == config.stat_name else None

    def _set_hosts(self, checked: _Checked, hosts: list[CheckedHost]) -> None:
        name, health = checked.config.name, self._controller.host_health
        before = dict(checked.checks.sessions)
        checked.checks.set_hosts(hosts)
        if not checked.live:
            return
        for key, session in checked.checks.sessions.items():
            if before.pop(key, None) is not session:
                health.forget(name, key)
                health.change(name, key, add=session.verdict.flags)
        health.flush()
        # Workers hear of this after they have heard of the hosts.
        for key in before:
            health.forget(name, key)

    def _flags(self, checked: _Checked, key: HostKey, flags: int) -> None:
        from proxy.upstream.health_check.verdict import CHECKED

        if not checked.live:
            return
        name, health = checked.config.name, self._controller.host_health
        health.change(name, key, add=flags, clear=CHECKED & ~flags)
        if flags & FAILING and health.flags(name, key) & _PENDING_REMOVAL:
            # It was there only because its checks passed.
            self._keep_again(checked)

    def _keep_again(self, checked: _Checked) -> None:
        """Which hosts that are not listed any more stay may be decided in another way now."""
        source = checked.config.assignment
        if source is None:
            self._controller.names.drop_failed(checked.config.name)
            return
        entry = self._controller.wanted.entries.get(source.key)
        if entry is not None and entry.told != entry.value:
            self._controller.wanted.amend_again(entry)

    def _passed(self, checked: _Checked, key: HostKey) -> None:
        if checked.live:
            for listener in self.on_pass:
                listener(checked.config.name, key)

    def _compiled(self, name: str, serialized: bytes) -> ClusterConfig:
        """The cluster with all that it takes to connect to its hosts; it was found good before."""
        from envoy.config.cluster.v3 import cluster_pb2

        from proxy.upstream.cluster import compile_cluster

        message = cluster_pb2.Cluster.FromString(serialized)
        return compile_cluster(message, f"cluster {name}", self.compile_context())

    def compile_context(self) -> CompileContext:
        """What the config of a cluster is compiled with here, where only checks connect to its hosts."""
        from proxy.config.context import CompileContext
        from proxy.config.resources import ResourceStore
        from proxy.connection.tls_secrets import SecretStore
        from xds_client.resource_types import ResourceType

        controller = self._controller
        if self._secrets is None:
            self._secrets = SecretStore(controller.secrets.values())
            self._resources = ResourceStore(controller.config_sources)
            for entry in controller.wanted.of_type(ResourceType.SECRET):
                if entry.value is not None:
                    self._secrets.update(entry.want.key, entry.value)
        return CompileContext(
            self._runtime,
            node=controller.bootstrap.node,
            secrets=self._secrets,
            resources=self._resources,
        )

    def surroundings(self) -> Surroundings:
        """What all checks of this process share."""
        if self._env is None:
            from proxy.access_log.sinks import SinkManager
            from proxy.connection.timers import TimerQueue
            from proxy.upstream.health_check.cluster_checks import Surroundings

            controller = self._controller
            self._sinks = SinkManager(
                controller.loop, controller.options.file_flush_interval_msec / 1000, flush_size=0
            )
            self._env = Surroundings(
                controller.loop,
                TimerQueue(controller.loop),
                self._draw,
                time.time,
                self._runtime,
                self._sinks.file,
                lambda name: controller.stats.sum.counted(f"cluster.{name}.upstream_cx_total"),
                controller.events.record,
            )
        return self._env


def configured_hosts(config: ClusterConfig) -> list[CheckedHost]:
    """The hosts to check of a cluster whose endpoints have addresses."""
    return [
        _host(endpoint, endpoint.address, endpoint.hostname)
        for endpoint in config.endpoints
        if not endpoint.check.disabled
    ]


def _stats_key(name: str) -> str:
    return f"health_check.{name}"


def _host(endpoint: EndpointConfig, address: Address, hostname: str) -> CheckedHost:
    from proxy.upstream.health_check.session import CheckedHost

    return CheckedHost(
        (address.text, endpoint.priority),
        address,
        endpoint.check.address(address),
        hostname,
        endpoint.check.hostname,
        endpoint.locality,
        endpoint.metadata,
    )


def _named(config: ClusterConfig, resolved: Resolved) -> list[CheckedHost]:
    hosts = []
    for index, ip in resolved:
        endpoint = config.endpoints[index]
        if not endpoint.check.disabled:
            address = Address(ip, endpoint.address.port)
            hosts.append(_host(endpoint, address, endpoint.hostname or endpoint.address.ip))
    return hosts


def _discovered(value: bytes | None) -> list[CheckedHost]:
    if value is None:
        return []
    from envoy.config.endpoint.v3 import endpoint_pb2

    from proxy.config.context import CompileContext
    from proxy.upstream.cluster_config import Discovery
    from proxy.upstream.compile_endpoints import compile_endpoints

    message = endpoint_pb2.ClusterLoadAssignment.FromString(value)
    return [
        _host(endpoint, endpoint.address, endpoint.hostname)
        for endpoint in compile_endpoints(message, Discovery.EDS, "", CompileContext())
        if not endpoint.check.disabled
    ]


def _kept(entry: Wanted) -> set[HostKey]:
    """The hosts that workers were told of and that the control plane has left out."""
    return _keys(entry.told) - _keys(entry.value) if entry.told != entry.value else set()


def _keys(value: bytes | None) -> set[HostKey]:
    from envoy.config.endpoint.v3 import endpoint_pb2

    from proxy.upstream.kept_endpoints import keys_of

    return keys_of(endpoint_pb2.ClusterLoadAssignment.FromString(value or b""))
