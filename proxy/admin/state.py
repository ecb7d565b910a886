"""What the admin server asks of the process that it runs in.

The controller implements `AdminState`; tests implement it with fixed values. Nothing here does I/O. Methods
that must ask workers are coroutines, with a time limit of their own: where a worker does not answer, its last
known numbers are used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol

from msgspec import Struct, field

from proxy.admin.discovered import Discovered, DiscoveredType, Readiness, Refusal
from proxy.base.address import Address
from proxy.base.event_log import EventLog
from proxy.base.stats import StatsSum, ZeroGroup
from xds_client.resource_types import ResourceType

ServerStateName = Literal["LIVE", "DRAINING", "PRE_INITIALIZING", "INITIALIZING"]
ResourceKind = Literal[
    "clusters", "endpoints", "extensions", "listeners", "routes", "scoped_routes", "secrets"
]


class ServerFacts(Struct, frozen=True):
    """The contents of `/server_info` and `/ready`.

    `node` is an `envoy.config.core.v3.Node`, `options` an `envoy.admin.v3.CommandLineOptions`; or None.
    Uptimes are seconds. `version` is the whole text that Envoy prints: revision/version/status/type/ssl.
    """

    version: str
    state: ServerStateName
    uptime: float
    uptime_all_epochs: float
    hot_restart_version: str = "disabled"
    node: Any = None
    options: Any = None


class Thresholds(Struct, frozen=True):
    """Circuit breaker limits of one priority, with Envoy's defaults."""

    max_connections: int = 1024
    max_pending_requests: int = 1024
    max_requests: int = 1024
    max_retries: int = 3


class HostStatus(Struct, frozen=True):
    """One host of a cluster, its numbers summed over all workers.

    `stats` holds cx_active, cx_connect_fail, cx_total, rq_active, rq_error, rq_pending_active, rq_success,
    rq_timeout and rq_total; one that is missing prints as 0. `health_flags` are Envoy's texts such as
    "/failed_active_hc"; none means healthy. Success rates are percent, -1 when not computed.
    """

    address: Address
    stats: Mapping[str, int] = field(default_factory=dict)
    hostname: str = ""
    health_flags: tuple[str, ...] = ()
    weight: int = 1
    region: str = ""
    zone: str = ""
    sub_zone: str = ""
    canary: bool = False
    priority: int = 0
    success_rate: float = -1
    local_origin_success_rate: float = -1


class ClusterStatus(Struct, frozen=True):
    """One cluster in `/clusters`. An empty `observability_name` means the name; it is set by alt_stat_name.

    `outlier` is (success_rate_average, success_rate_ejection_threshold, local_origin_success_rate_average,
    local_origin_success_rate_ejection_threshold), or None without outlier detection. `eds_service_name` is
    the service name of an EDS cluster, else "".
    """

    name: str
    hosts: Sequence[HostStatus]
    observability_name: str = ""
    added_via_api: bool = False
    default: Thresholds = Thresholds()
    high: Thresholds = Thresholds()
    outlier: tuple[float, float, float, float] | None = None
    eds_service_name: str = ""


class ListenerStatus(Struct, frozen=True):
    """One active listener with the addresses that it is bound to; ports are the real ones."""

    name: str
    addresses: Sequence[Address]


class ConfigResource(Struct, frozen=True):
    """One resource as `/config_dump` shows it.

    `serialized` is the Listener, Cluster, RouteConfiguration, Secret, TypedExtensionConfig or, for scoped routes,
    ScopedRouteConfigurationsList that is accepted, b"" if there is none. `updated` is in Unix seconds. `dynamic`
    tells resources of xDS from those of the bootstrap. `pending` is a form that is not in use yet, `draining` one
    that serves what connections it has, `refusal` the newest one that was refused; `source` a serialised
    `core.v3.ConfigSource`, of resources that are asked for by name.
    """

    name: str
    serialized: bytes
    updated: float
    dynamic: bool = False
    version_info: str = ""
    pending: ConfigResource | None = None
    refusal: Refusal | None = None
    source: bytes = b""
    draining: ConfigResource | None = None


class RuntimeLayer(Struct, frozen=True):
    """One runtime layer, lowest first, as texts by dotted key."""

    name: str
    values: Mapping[str, str]


class LoadedCertificate(Struct, frozen=True):
    """PEM certificates in use by one TLS context: its trusted CAs and its own chain, each maybe empty.

    The paths are file names, or "<inline>" as Envoy prints for certificates inside the config. `staple` is the DER
    of the OCSP response for the chain's first certificate.
    """

    chain: bytes = b""
    chain_path: str = ""
    ca: bytes = b""
    ca_path: str = ""
    staple: bytes = b""


#: What Envoy shows for `days_until_first_cert_expiring` when no certificate is loaded.
NO_CERTIFICATE: Final = 2**32 - 1
_DAY: Final = 86400


class Expiries(NamedTuple):
    """When the first certificate and the first OCSP response expire: seconds since the epoch, None without one."""

    certificate: float | None = None
    staple: float | None = None

    def days(self, now: float) -> int:
        """Whole days until the first certificate expires, 0 if one has; `NO_CERTIFICATE` if there is none."""
        return NO_CERTIFICATE if self.certificate is None else max(0, int((self.certificate - now) // _DAY))

    def staple_seconds(self, now: float) -> int:
        """Seconds until the first OCSP response expires, 0 if one has or there is none."""
        return 0 if self.staple is None else max(0, int(self.staple - now))


class AdminState(Protocol):
    """The running proxy, seen from its admin server. Every mutation is complete when the call returns."""

    def server_facts(self) -> ServerFacts:
        """Version, state, uptime, node and command line."""

    async def refresh_stats(self) -> StatsSum:
        """Ask every worker for its numbers, bring the controller's own up to date and return the sum.

        The object may live on and change; a handler reads it before it awaits again.
        """

    def zero_groups(self) -> Iterable[ZeroGroup]:
        """Stats that exist but that no worker has built yet, such as those of clusters never called."""

    async def cluster_statuses(self) -> Iterable[ClusterStatus]:
        """Every active cluster in order of names; may be a generator. Fresh host numbers of all workers."""

    def listener_statuses(self) -> Sequence[ListenerStatus]:
        """Every active listener in order of addition."""

    def bootstrap(self) -> tuple[bytes, float]:
        """The serialized `envoy.config.bootstrap.v3.Bootstrap` in effect, and the Unix second of its loading.

        Includes what the command line merged in. Nothing need be redacted: the handlers do that.
        """

    def resources(self, kind: ResourceKind) -> Iterable[ConfigResource]:
        """The resources of one kind; may be a generator.

        "endpoints" are those of EDS only, without what clusters made of them. "routes" are those of RDS only: the
        handler finds inline route tables in the listeners.
        """

    def section_version(self, kind: ResourceType) -> str:
        """The version of the last update of clusters or listeners that changed something, "" for none."""

    def readiness(self) -> Readiness:
        """What is missing, and why that may be."""

    def discovered_types(self) -> Sequence[DiscoveredType]:
        """Every type that a control plane is asked for."""

    def discovered(self) -> Iterable[Discovered]:
        """Every resource of a control plane, accepted or not; may be a generator."""

    def unready_targets(self) -> Mapping[str, Sequence[str]]:
        """Init manager of a listener → names of the targets it waits for, both in Envoy's words."""

    def runtime_layers(self) -> Sequence[RuntimeLayer]:
        """All layers, lowest first, including the admin layer if the bootstrap declares one."""

    def modify_runtime(self, values: Mapping[str, str]) -> None:
        """Set keys of the admin layer; an empty text removes the override.

        Raises `UsageError` when there is no admin layer.
        """

    def certificates(self) -> Iterable[LoadedCertificate]:
        """Certificates of every listener and cluster."""

    def log_levels(self) -> Mapping[str, str]:
        """Logger name → trace, debug, info, warning, error, critical or off."""

    def set_log_levels(self, levels: Mapping[str, str]) -> None:
        """Change loggers; names and levels are valid. Workers follow."""

    def reset_counters(self) -> None:
        """Make every counter read 0 from here on."""

    def fail_health_checks(self, failed: bool) -> None:
        """Enter or leave the state in which health checks of this proxy fail and responses close."""

    def drain_listeners(self, *, graceful: bool, skip_exit: bool, inbound_only: bool) -> None:
        """Begin to drain; returns at once. `inbound_only` keeps listeners with another traffic direction."""

    def reopen_logs(self) -> None:
        """Reopen every access log file, as SIGUSR1 does."""

    def quit(self) -> None:
        """Begin an orderly exit, after the present response has left."""

    def events(self) -> EventLog:
        """What the proxy has decided lately."""

    def process_ids(self) -> Sequence[int]:
        """The processes whose memory `/memory` adds up: controller, fork server and workers."""
