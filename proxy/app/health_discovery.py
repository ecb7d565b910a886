"""Checks hosts for a control plane (HDS), as `hds_config` of the bootstrap asks for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, ClassVar

from envoy.service.health.v3 import hds_pb2

from proxy.app.health_checks import HealthChecks, configured_hosts
from proxy.base.errors import ConfigError
from proxy.base.stats import StatGroup, StatRegistry
from proxy.discovery.accept import read_message, reason_of, refuse
from proxy.discovery.health_discovery import cluster_of, first_of_each_name, response
from proxy.upstream.cluster import compile_cluster
from proxy.upstream.cluster_config import ClusterConfig
from proxy.upstream.health_check.cluster_checks import ClusterChecks
from proxy.upstream.health_check.stats import HealthCheckStats
from proxy.upstream.health_flags import HealthFlag, HostKey
from xds_client.api import Surroundings
from xds_client.backoff import Backoff
from xds_client.client import grpc_connector, retry_intervals
from xds_client.errors import RefusedSpecifierError
from xds_client.hds import METHOD, HealthReporter, HealthReporterCounters

logger = logging.getLogger("outrider.config")

_UNCHECKED = int(HealthFlag.FAILED_ACTIVE_HC)


class HealthReporterStats(StatGroup):
    """Envoy's `hds_delegate.*`."""

    COUNTERS: ClassVar = ("errors", "requests", "responses", "updates")

    def __init__(self, counted: HealthReporterCounters) -> None:
        super().__init__("hds_delegate.")
        self._counted = counted

    def counters(self) -> dict[str, int]:
        """See `StatGroup`."""
        return {self.prefix + name: getattr(self._counted, name) for name in self.COUNTERS}


class _Delegated:
    """One cluster that is checked for the control plane; `checks` are by what they do."""

    def __init__(self, wanted: Any, config: ClusterConfig, stats: HealthCheckStats) -> None:
        self.wanted = wanted
        self._keys = [(endpoint.address.text, endpoint.priority) for endpoint in config.endpoints]
        self.stats = stats
        self.checks: dict[bytes, ClusterChecks] = {}

    def flags(self) -> list[int]:
        """What any check has against each endpoint, in their order; one that no check knows counts as failed."""
        return [self._of_host(key) for key in self._keys]

    def _of_host(self, key: HostKey) -> int:
        flags = 0 if self.checks else _UNCHECKED
        for checks in self.checks.values():
            session = checks.sessions.get(key)
            flags |= _UNCHECKED if session is None else session.verdict.flags
        return flags

    def close(self) -> None:
        for checks in self.checks.values():
            checks.close()


class HealthDiscovery:
    """See module. `config` is the `core.v3.ApiConfigSource`; `HealthReporter` asks for the reports."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        config: Any,
        surroundings: Surroundings,
        checks: HealthChecks,
        registry: StatRegistry,
    ) -> None:
        self._checks = checks
        self._registry = registry
        self._clusters: list[_Delegated] = []
        services = config.grpc_services
        self._reporter = HealthReporter(
            loop,
            self,
            grpc_connector(services, METHOD, surroundings),
            surroundings.node,
            Backoff(surroundings.draw, *retry_intervals(services)),
        )
        registry.add("hds_delegate", HealthReporterStats(self._reporter.counters))

    def start(self) -> None:
        """Connect."""
        self._reporter.start()

    async def close(self) -> None:
        """End the stream and the checks."""
        await self._reporter.close()
        self._drop(self._clusters)

    def specified(self, data: bytes) -> None:
        """See `HealthReports`."""
        try:
            specifier = read_message(hds_pb2.HealthCheckSpecifier, data)
            wanted = first_of_each_name(specifier.cluster_health_checks, self._repeated)
            compiled = [(one, self._compiled(one)) for one in wanted]
        except ConfigError as error:
            raise RefusedSpecifierError(reason_of(error)) from error
        before = {one.wanted.cluster_name: one for one in self._clusters if one.wanted.cluster_name}
        nameless = [one for one in self._clusters if not one.wanted.cluster_name]
        self._clusters = [
            self._updated(one, configs, before.pop(one.cluster_name, None)) for one, configs in compiled
        ]
        self._drop([*before.values(), *nameless])

    def report(self) -> Any:
        """See `HealthReports`."""
        return response((one.wanted, one.flags()) for one in self._clusters)

    def _compiled(self, wanted: Any) -> list[ClusterConfig]:
        """The cluster with each of its checks alone, or without any."""
        context = self._checks.compile_context()
        path = f"cluster {wanted.cluster_name}"
        checks = list(wanted.health_checks) or [None]
        configs = [compile_cluster(cluster_of(wanted, check), path, context) for check in checks]
        refuse(context.problems)
        return configs

    def _updated(self, wanted: Any, configs: list[ClusterConfig], former: _Delegated | None) -> _Delegated:
        config = configs[0]
        stats = former.stats if former else HealthCheckStats(f"cluster.{config.stat_name}.health_check.")
        made = _Delegated(wanted, config, stats)
        known = former.checks if former is not None and _alike(former.wanted, wanted) else {}
        hosts = configured_hosts(config)
        for message, alone in zip(wanted.health_checks, configs, strict=False):
            key = message.SerializeToString(deterministic=True)
            if key in made.checks:
                continue
            checks = known.pop(key, None)
            if checks is None:
                env = self._checks.surroundings()
                checks = ClusterChecks(alone, env, _ignore, _ignore, _ignore, stats)
            made.checks[key] = checks
            checks.set_hosts(hosts)
            checks.start()
        if former is not None:
            for checks in former.checks.values():
                if checks not in made.checks.values():
                    checks.close()
        self._registry.add(_stats_key(wanted.cluster_name), stats)
        return made

    def _drop(self, clusters: Iterable[_Delegated]) -> None:
        for one in clusters:
            one.close()
            self._registry.remove(_stats_key(one.wanted.cluster_name))

    def _repeated(self, name: str) -> None:
        logger.warning(
            "health discovery: the cluster %r comes more than once; only the first is checked", name
        )


def _ignore(*_: Any) -> None:
    """Reports ask for what is known when they are due."""


def _stats_key(name: str) -> str:
    return f"hds {name}"


def _alike(one: Any, other: Any) -> bool:
    """Whether two `ClusterHealthCheck`s ask hosts over the same transport sockets, from the same addresses."""
    return bool(
        list(one.transport_socket_matches) == list(other.transport_socket_matches)
        and one.upstream_bind_config == other.upstream_bind_config
    )
