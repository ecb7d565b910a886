"""The controller as the admin server sees it: implements `proxy.admin.state.AdminState`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from envoy.admin.v3 import server_info_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2

from proxy.admin.discovered import Discovered, DiscoveredType, Readiness
from proxy.admin.state import (
    ClusterStatus,
    ConfigResource,
    Expiries,
    HostStatus,
    ListenerStatus,
    LoadedCertificate,
    ResourceKind,
    RuntimeLayer,
    ServerFacts,
    Thresholds,
)
from proxy.app.command_line import HOT_RESTART_VERSION
from proxy.app.controller import Controller
from proxy.app.discovery_view import DiscoveryView
from proxy.app.loaded_certificates import certificates_of_cluster, certificates_of_listener
from proxy.app.proto_wire import length_delimited
from proxy.base.address import Address
from proxy.base.event_log import EventLog
from proxy.base.runtime import Runtime
from proxy.base.stats import StatGroup, StatsSum, StatTemplate, ZeroGroup
from proxy.base.steps import finish
from proxy.config.context import CompileContext
from proxy.upstream.cluster import Cluster, compile_cluster
from proxy.upstream.cluster_config import ClusterConfig, Discovery, EndpointConfig
from proxy.upstream.compile_endpoints import assignment_in_steps
from proxy.upstream.dns_cache.config import DynamicForwardProxyConfig
from proxy.upstream.health_flags import HostKey, configured_flags, flag_texts
from proxy.upstream.host import HostStats
from proxy.upstream.outlier.detector import UNKNOWN_RATE, Monitor
from proxy.upstream.outlier.stats import stats_of
from proxy.version import build_text
from xds_client.resource_types import ResourceType

_EXPIRY_SECONDS: Final = 3600.0
# Field numbers of `Bootstrap.static_resources`, and of `listeners` and `clusters` in it.
_STATIC_RESOURCES, _LISTENERS, _CLUSTERS = 2, 1, 2


class ControllerAdminState:
    """Reads from and acts on one `Controller`."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._discovery = DiscoveryView(controller)
        self._expiry_read_at = -_EXPIRY_SECONDS
        self._expiries = Expiries()
        self._templates: dict[object, StatTemplate] = {}
        #: Those of a cluster, and of its outlier detection if it has any, by its place.
        self._zero_groups: dict[int, list[ZeroGroup]] = {}
        controller.stats.until_expiry = self.until_first_expiry

    def server_facts(self) -> ServerFacts:
        """Version, state, uptime, node and command line."""
        controller = self._controller
        return ServerFacts(
            version=build_text(),
            state=controller.life.state,
            uptime=controller.stats.uptime,
            uptime_all_epochs=controller.stats.uptime_all_epochs,
            hot_restart_version="disabled" if controller.hot_restart is None else HOT_RESTART_VERSION,
            node=controller.bootstrap.node,
            options=_options_message(controller.options),
        )

    async def refresh_stats(self) -> StatsSum:
        """The sum over all processes, brought up to date."""
        return await self._controller.stats.refresh()

    def zero_groups(self) -> Iterable[ZeroGroup]:
        """The stats of clusters that no worker has in use; clusters may change between two of them."""
        controller = self._controller
        for record in list(controller.clusters):
            if controller.slots.first_builder(record.place) < 0:
                told = controller.host_health.of_cluster(record.name)
                groups = self._zero_groups.get(record.place)
                if groups is None or told:
                    groups = self._zero_groups[record.place] = self._zero_groups_of(record.serialized, told)
                yield groups[0]
                if not controller.outliers.watches(record.name):
                    yield from groups[1:]

    async def cluster_statuses(self) -> Iterable[ClusterStatus]:
        """Every cluster in order of names, with the host numbers of all workers added up."""
        numbers: dict[str, dict[tuple[str, int], list[int]]] = {}
        for answer in (await self._controller.workers.ask("hosts")).values():
            for cluster, hosts in answer.items():
                total = numbers.setdefault(cluster, {})
                for place, values in hosts.items():
                    before = total.get(place)
                    total[place] = (
                        values if before is None else [a + b for a, b in zip(before, values, strict=True)]
                    )
        return self._statuses(numbers)

    def listener_statuses(self) -> Sequence[ListenerStatus]:
        """Every listener with the addresses that it is bound to."""
        return [
            ListenerStatus(record.plan.name, record.active.addresses())
            for record in self._controller.listeners
        ]

    def bootstrap(self) -> tuple[bytes, float]:
        """The whole bootstrap, put together again from its parts: protobuf merges what is concatenated."""
        controller = self._controller
        static = bytearray()
        for plan in controller.config.listeners:
            static += length_delimited(_LISTENERS, plan.serialized)
        for _name, serialized in controller.config.clusters:
            static += length_delimited(_CLUSTERS, serialized)
        whole = controller.config.bootstrap + length_delimited(_STATIC_RESOURCES, bytes(static))
        return whole, controller.loaded_at

    def resources(self, kind: ResourceKind) -> Iterable[ConfigResource]:
        """The resources of one kind."""
        if kind == "clusters":
            yield from self._discovery.clusters()
        elif kind == "listeners":
            yield from self._discovery.listeners()
        else:
            if kind == "secrets":
                for secret in self._controller.bootstrap.static_resources.secrets:
                    yield ConfigResource(secret.name, secret.SerializeToString(), self._controller.loaded_at)
            yield from self._discovery.wanted(kind)

    def section_version(self, kind: ResourceType) -> str:
        """See `AdminState`."""
        return self._discovery.section_version(kind)

    def readiness(self) -> Readiness:
        """See `AdminState`."""
        return self._discovery.readiness()

    def discovered_types(self) -> Sequence[DiscoveredType]:
        """See `AdminState`."""
        return self._discovery.types()

    def discovered(self) -> Iterable[Discovered]:
        """See `AdminState`."""
        return self._discovery.resources()

    def unready_targets(self) -> Mapping[str, Sequence[str]]:
        """What listeners wait for."""
        return self._discovery.unready_targets()

    def runtime_layers(self) -> Sequence[RuntimeLayer]:
        """All layers, lowest first."""
        runtime = self._controller.runtime
        return [
            RuntimeLayer(layer.name, runtime.overrides if layer.admin else layer.values)
            for layer in runtime.present()
        ]

    def modify_runtime(self, values: Mapping[str, str]) -> None:
        """Write the admin layer; `UsageError` without one."""
        self._controller.runtime.modify(values)

    def certificates(self) -> Iterable[LoadedCertificate]:
        """Certificates of every listener and cluster."""
        controller = self._controller
        secrets = {plan.key: serialized for plan, serialized, _ in controller.secrets.resources()}
        for record in controller.listeners:
            listener = listener_pb2.Listener.FromString(record.plan.serialized)
            yield from certificates_of_listener(listener, secrets)
        for one in controller.clusters:
            yield from certificates_of_cluster(cluster_pb2.Cluster.FromString(one.serialized), secrets)

    def until_first_expiry(self) -> tuple[int, int]:
        """Days for certificates, seconds for OCSP responses; what is loaded is looked up anew every hour."""
        now = self._controller.loop.time()
        if now >= self._expiry_read_at + _EXPIRY_SECONDS:
            self._expiry_read_at = now
            self._expiries = self._first_expiries()
        clock = time.time()
        return self._expiries.days(clock), self._expiries.staple_seconds(clock)

    def _first_expiries(self) -> Expiries:
        certificates = list(self.certificates())
        if not certificates:
            return Expiries()
        from proxy.admin.certificates import first_expiries  # see there

        return first_expiries(certificates)

    def log_levels(self) -> Mapping[str, str]:
        """Component → level."""
        return self._controller.logs.levels.describe()

    def set_log_levels(self, levels: Mapping[str, str]) -> None:
        """Change components, here and in the workers."""
        self._controller.logs.set_levels(levels)

    def reset_counters(self) -> None:
        """Make every counter read 0 from here on."""
        self._controller.stats.sum.reset_counters()

    def fail_health_checks(self, failed: bool) -> None:
        """`/healthcheck/fail` and `/healthcheck/ok`."""
        self._controller.life.fail_health_checks(failed)

    def drain_listeners(self, *, graceful: bool, skip_exit: bool, inbound_only: bool) -> None:
        """Stop accepting, now or after the drain time."""
        if graceful:
            self._controller.served.drain_gracefully(inbound_only=inbound_only, stop=not skip_exit)
        else:
            self._controller.served.drain(inbound_only=inbound_only)

    def reopen_logs(self) -> None:
        """As SIGUSR1."""
        self._controller.logs.reopen()

    def quit(self) -> None:
        """End at once; connections are closed, logs flushed."""
        controller = self._controller
        controller.loop.call_later(0.05, controller.life.request_exit, 0, "asked to quit by /quitquitquit")

    def events(self) -> EventLog:
        """The decisions of all processes."""
        return self._controller.events

    def process_ids(self) -> Sequence[int]:
        """Controller, fork server and workers."""
        return self._controller.workers.process_ids()

    def _zero_groups_of(self, serialized: bytes, told: Mapping[HostKey, int]) -> list[ZeroGroup]:
        config = compile_cluster(cluster_pb2.Cluster.FromString(serialized), "cluster", CompileContext())
        groups: list[StatGroup] = [Cluster(config, Runtime(), lambda: 0, host_flags=told).stats]
        if config.outlier is not None:
            groups.append(stats_of(config.stat_name))
        return [ZeroGroup.of(group, self._templates) for group in groups]

    def _statuses(
        self, numbers: Mapping[str, Mapping[tuple[str, int], list[int]]]
    ) -> Iterator[ClusterStatus]:
        for record in sorted(self._controller.clusters, key=lambda one: one.name):
            name = record.name
            message = cluster_pb2.Cluster.FromString(record.serialized)
            context = CompileContext(config_sources=self._controller.config_sources)
            config = compile_cluster(message, f"cluster {name}", context)
            own = numbers.get(name, {})
            told = self._controller.host_health.of_cluster(name)
            outliers = self._controller.outliers
            monitors = outliers.monitors(name)
            default, high = (
                Thresholds(one.max_connections, one.max_pending_requests, one.max_requests, one.max_retries)
                for one in config.breakers
            )
            yield ClusterStatus(
                name=name,
                hosts=[
                    HostStatus(
                        address=address,
                        stats=dict(
                            zip(
                                HostStats.__slots__,
                                own.get((place, endpoint.priority), ()),
                                strict=False,
                            )
                        ),
                        hostname=hostname,
                        health_flags=flag_texts(
                            configured_flags(endpoint.health) | told.get((place, endpoint.priority), 0)
                        ),
                        weight=endpoint.weight,
                        region=endpoint.locality.region,
                        zone=endpoint.locality.zone,
                        sub_zone=endpoint.locality.sub_zone,
                        canary=endpoint.canary,
                        priority=endpoint.priority,
                        success_rate=_rate(monitors.get((place, endpoint.priority)), 0),
                        local_origin_success_rate=_rate(monitors.get((place, endpoint.priority)), 1),
                    )
                    for endpoint, address, hostname, place in self._endpoints(config)
                ],
                observability_name=config.stat_name,
                added_via_api=record.dynamic,
                eds_service_name=message.eds_cluster_config.service_name,
                default=default,
                high=high,
                outlier=None if config.outlier is None else outliers.success_rates(name),
            )

    def _discovered(self, key: str) -> tuple[EndpointConfig, ...]:
        entry = self._controller.wanted.entries.get(key)
        if entry is None or entry.told is None:
            return ()
        return finish(assignment_in_steps(entry.told)).endpoints

    def _endpoints(self, config: ClusterConfig) -> Iterator[tuple[Any, Address, str, str]]:
        """Endpoint, address, host name, and what workers know the host by."""
        if isinstance(config.kind, DynamicForwardProxyConfig):
            for key, address in self._controller.dns_caches.addresses(config.kind.cache.name):
                yield EndpointConfig(address), address, key, key
            return
        if config.discovery in {Discovery.STATIC, Discovery.EDS}:
            endpoints = config.endpoints
            if config.assignment is not None:
                endpoints = self._discovered(config.assignment.key)
            for endpoint in endpoints:
                yield endpoint, endpoint.address, endpoint.hostname, endpoint.address.text
            return
        # A host for each endpoint and address, as in Envoy, even where two names lead to one place.
        for index, ip in self._controller.names.addresses(config.name):
            endpoint = config.endpoints[index]
            address = Address(ip, endpoint.address.port)
            yield endpoint, address, endpoint.hostname or endpoint.address.ip, address.text


def _rate(monitor: Monitor | None, kind: int) -> float:
    return UNKNOWN_RATE if monitor is None else monitor.rates[kind].rate


def _options_message(options: Any) -> Any:
    """The command line as an `envoy.admin.v3.CommandLineOptions`."""
    message = server_info_pb2.CommandLineOptions()
    for field in message.DESCRIPTOR.fields:
        value = getattr(options, field.name, None)
        if (
            value is not None
            and field.message_type is None
            and field.enum_type is None
            and not field.is_repeated
        ):
            setattr(message, field.name, value)
    message.stats_tag.extend(options.stats_tag)
    message.mode = {"serve": message.Serve, "validate": message.Validate, "init_only": message.InitOnly}[
        options.mode
    ]
    message.drain_strategy = message.Immediate if options.drain_strategy == "immediate" else message.Gradual
    message.local_address_ip_version = message.v6 if options.local_address_ip_version == "v6" else message.v4
    message.file_flush_interval.FromMilliseconds(options.file_flush_interval_msec)
    message.drain_time.FromSeconds(options.drain_time_s)
    message.parent_shutdown_time.FromSeconds(options.parent_shutdown_time_s)
    return message
