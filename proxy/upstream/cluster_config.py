"""Frozen configuration of a cluster: what `compile_cluster` makes of a `config.cluster.v3.Cluster`.

Times are seconds; sizes are bytes unless the name says kilobytes. Defaults are Envoy's.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from msgspec import Struct, field

from proxy.base.address import Address
from proxy.codec.http2_options import Http2Options
from proxy.upstream.circuit_breaker import DEFAULT_THRESHOLDS, Thresholds
from proxy.upstream.host import NO_LOCALITY, Health, Host, Locality
from proxy.upstream.host_set import AssignmentPolicy
from proxy.upstream.lb.api import LbConfig
from proxy.upstream.outlier.config import OutlierConfig
from proxy.upstream.outlier.error_matcher import ErrorMatcher
from proxy.upstream.tracked import TrackConfig

_MATCH_NAMESPACE: Final = "envoy.transport_socket_match"


class Discovery(Enum):
    """Where the hosts come from; values are Envoy's names of `Cluster.DiscoveryType`."""

    STATIC = "STATIC"
    STRICT_DNS = "STRICT_DNS"
    LOGICAL_DNS = "LOGICAL_DNS"
    EDS = "EDS"
    #: Hosts are made or borrowed as streams ask for them, see `ClusterConfig.kind`.
    BY_STREAM = "BY_STREAM"


class UpstreamProtocol(Enum):
    """Which version of HTTP hosts are spoken to in.

    `DOWNSTREAM` is that of the client's request, `AUTO` what the host picks by ALPN.
    """

    HTTP1 = "HTTP/1.1"
    HTTP2 = "HTTP/2"
    DOWNSTREAM = "downstream"
    AUTO = "auto"


class DnsFamily(Enum):
    """Which address families a DNS cluster asks for (`Cluster.DnsLookupFamily`)."""

    AUTO = "AUTO"
    V4_ONLY = "V4_ONLY"
    V6_ONLY = "V6_ONLY"
    V4_PREFERRED = "V4_PREFERRED"
    ALL = "ALL"


class EndpointCheck(Struct, frozen=True):
    """How an endpoint is checked (`Endpoint.HealthCheckConfig`). `port` 0 and `ip` "" leave the endpoint's."""

    port: int = 0
    ip: str = ""
    hostname: str = ""
    disabled: bool = False

    def address(self, address: Address) -> Address:
        """Where to check an endpoint at `address`."""
        if address.path or not (self.port or self.ip):
            return address
        return Address(self.ip or address.ip, self.port or address.port)


NO_ENDPOINT_CHECK: Final = EndpointCheck()


class EndpointConfig(Struct, frozen=True):
    """One configured endpoint. In a DNS cluster `address.ip` is the name to resolve."""

    address: Address
    hostname: str = ""
    weight: int = 1
    priority: int = 0
    health: Health = Health.UNKNOWN
    locality: Locality = NO_LOCALITY
    metadata: Any = None
    canary: bool = False
    #: Of the whole locality, 0 if it has none.
    locality_weight: int = 0
    more_addresses: tuple[Address, ...] = ()
    check: EndpointCheck = NO_ENDPOINT_CHECK

    def host(self, address: Address, hostname: str) -> Host:
        """A live host of this endpoint at a (resolved) address."""
        host = Host(
            address,
            hostname,
            self.weight,
            self.priority,
            self.health,
            self.locality,
            self.metadata,
            self.canary,
            self.locality_weight,
            self.more_addresses,
        )
        host.checked = not self.check.disabled
        return host

    def renew(self, host: Host) -> None:
        """Bring a live host of an earlier config of this endpoint up to date."""
        host.hostname = self.hostname
        host.more_addresses = self.more_addresses
        host.weight = self.weight
        host.health = self.health
        host.locality = self.locality
        host.metadata = self.metadata
        host.canary = self.canary
        host.locality_weight = self.locality_weight
        host.checked = not self.check.disabled


class DnsConfig(Struct, frozen=True):
    """How a DNS cluster resolves.

    `failure_base` 0.0 means to retry at the refresh rate. `resolvers` empty means those of /etc/resolv.conf.
    """

    refresh_rate: float = 5.0
    failure_base: float = 0.0
    failure_max: float = 0.0
    respect_ttl: bool = False
    jitter: float = 0.0
    family: DnsFamily = DnsFamily.AUTO
    resolvers: tuple[Address, ...] = ()
    resolvers_as_fallback: bool = False
    use_tcp: bool = False
    use_search_domains: bool = True
    query_timeout: float = 5.0
    query_tries: int = 4


class Http1Options(Struct, frozen=True):
    """How to speak HTTP/1.1 to the hosts; the limits of connections and of the stream hold for HTTP/2 too.

    `idle_timeout`, `max_connection_duration` and `max_stream_duration` are 0.0 for "no limit";
    `max_requests_per_connection` is 0 for "no limit".
    """

    idle_timeout: float = 3600.0
    max_connection_duration: float = 0.0
    max_stream_duration: float = 0.0
    max_requests_per_connection: int = 0
    max_headers_count: int = 100
    max_response_headers_kb: int = 80
    preserve_case: bool = False
    proper_case: bool = False
    enable_trailers: bool = False
    allow_chunked_length: bool = False
    send_fully_qualified_url: bool = False


class AutoSni(Struct, frozen=True):
    """Which names of a request its TLS connection takes up (`UpstreamHttpProtocolOptions`).

    `sni` sends the name to the host; with `san` the host's certificate must be for it. It is that in the field
    `header` (lower case), or in the authority where `header` is "" or the request has no such field.
    """

    sni: bool
    san: bool
    header: str = ""


class SocketOptionConfig(Struct, frozen=True):
    """One `core.v3.SocketOption`; `value` is what `setsockopt` takes."""

    level: int
    name: int
    value: int | bytes
    state: int


class BindConfig(Struct, frozen=True):
    """Local side of upstream sockets. `source` None leaves the choice to the kernel."""

    source: Address | None = None
    freebind: bool = False
    socket_options: tuple[SocketOptionConfig, ...] = ()


class KeepaliveConfig(Struct, frozen=True):
    """TCP keepalive; None leaves the kernel's default. Times are whole seconds."""

    probes: int | None = None
    time: int | None = None
    interval: int | None = None


class OriginalDstConfig(Struct, frozen=True):
    """Where an ORIGINAL_DST cluster looks for the destination besides the connection.

    `header` is a lower-case name, "" for none; `metadata` are the keys down to the value in dynamic metadata.
    `port` replaces that of the destination. `cleanup_interval` is in seconds.
    """

    header: str = ""
    metadata: tuple[str, ...] = ()
    port: int | None = None
    cleanup_interval: float = 5.0


class AggregateConfig(Struct, frozen=True):
    """The clusters of an aggregate, the preferred first."""

    clusters: tuple[str, ...]


class TransportMatch(Struct, frozen=True):
    """How to speak to hosts whose metadata has every one of `criteria` under `envoy.transport_socket_match`."""

    name: str
    criteria: Mapping[str, Any]
    transport: Any
    http2_transport: Any
    passthrough: Any = None
    proxy_header: Any = None

    def fits(self, metadata: Any) -> bool:
        """Whether a host with this `core.v3.Metadata` (or None) is one of them."""
        if not self.criteria:
            return True
        if metadata is None or _MATCH_NAMESPACE not in metadata.filter_metadata:
            return False
        present = metadata.filter_metadata[_MATCH_NAMESPACE].fields
        return all(name in present and present[name] == value for name, value in self.criteria.items())


#: See `ClusterConfig.override_statuses`.
OVERRIDE_STATUSES: Final = frozenset({Health.UNKNOWN, Health.HEALTHY, Health.DEGRADED})


class PreconnectConfig(Struct, frozen=True):
    """How many connections are made ahead of requests: for so many times the streams that there are, 1.0 to 3.0.

    `per_upstream` counts the streams of one pool, `predictive` those of the cluster and the next one.
    """

    per_upstream: float = 1.0
    predictive: float = 1.0


class ClusterConfig(Struct, frozen=True):
    """A cluster, ready to be used. `breakers` is indexed by routing priority (0 default, 1 high).

    `transport` is None for plain bytes, else what `proxy.connection.tls.compile_upstream_tls` made;
    `http2_transport` is the same for connections that are to carry HTTP/2, where that differs.
    `metadata` is the `core.v3.Metadata` of the cluster or None. `stat_name` is `alt_stat_name` or the name.
    """

    name: str
    stat_name: str
    discovery: Discovery = Discovery.STATIC
    connect_timeout: float = 5.0
    buffer_limit: int = 1024 * 1024
    endpoints: tuple[EndpointConfig, ...] = ()
    assignment_policy: AssignmentPolicy = field(default_factory=AssignmentPolicy)
    #: The `ResourceSource` of the `ClusterLoadAssignment` of an EDS cluster.
    assignment: Any = None
    lb: LbConfig = field(default_factory=LbConfig)
    outlier: OutlierConfig | None = None
    #: Whether connections of bytes end when their host fails its checks.
    close_on_health_failure: bool = False
    breakers: tuple[Thresholds, Thresholds] = (DEFAULT_THRESHOLDS, DEFAULT_THRESHOLDS)
    protocol: UpstreamProtocol = UpstreamProtocol.HTTP1
    http: Http1Options = field(default_factory=Http1Options)
    http2: Http2Options = field(default_factory=Http2Options)
    auto_sni: AutoSni | None = None
    #: A `proxy.router.hash_policy.HashPolicy` that takes the place of the route's, or None.
    hash_policy: Any = None
    #: A `proxy.router.retry_policy.RetryPolicy` that takes the place of the route's, or None.
    retry_policy: Any = None
    #: `proxy.router.mirror_policy.MirrorPolicy`s that take the place of the route's, if there are any.
    mirrors: tuple[Any, ...] = ()
    #: `proxy.router.upstream_filters.UpstreamFilter`s, None where the router's count.
    http_filters: tuple[Any, ...] | None = None
    #: Tells which responses are errors to `outlier`; None for those with a status of 500 or more.
    error_matcher: ErrorMatcher | None = None
    dns: DnsConfig | None = None
    bind: BindConfig | None = None
    keepalive: KeepaliveConfig | None = None
    #: Of hosts with several addresses, which family is tried first (None: that of the first address), and how many.
    first_address_family: int | None = None
    first_address_count: int = 1
    transport: Any = None
    http2_transport: Any = None
    #: Take the place of the two above for the hosts that they fit; the first that fits counts.
    transport_matches: tuple[TransportMatch, ...] = ()
    #: What hosts that are internal listeners are told: a `compile_internal.Passthrough`, or None.
    passthrough: Any = None
    #: How a connection begins: a `proxy_header.ProxyHeader`, or None.
    proxy_header: Any = None
    metadata: Any = None
    #: Which metrics that hosts report are told in load reports; names as in `lrs_report_endpoint_metrics`.
    report_metrics: tuple[str, ...] = ()
    wait_for_warm: bool = True
    close_on_host_set_change: bool = False
    #: `health_check.config.HealthCheckConfig`s, at most one.
    health_checks: tuple[Any, ...] = ()
    #: Whether hosts count for nothing until they have been checked.
    ignores_unchecked: bool = False
    #: Of which health a host may be that a request asks for by its address.
    override_statuses: frozenset[Health] = OVERRIDE_STATUSES
    #: Whether hosts that the control plane leaves out stay while their health checks pass.
    keeps_checked_hosts: bool = False
    #: `OriginalDstConfig` or the like for a cluster without hosts of its own.
    kind: Any = None
    #: None where connections are made when they are needed.
    preconnect: PreconnectConfig | None = None
    #: None where nothing is tracked.
    tracked: TrackConfig | None = None
    #: Whether each try of a request is recorded for that.
    follows_requests: bool = False

    @property
    def encrypts(self) -> bool:
        """Whether any host is spoken to by TLS."""
        return self.transport is not None or any(one.transport is not None for one in self.transport_matches)

    @property
    def passes_metadata(self) -> bool:
        """Whether any host is connected to by an `InternalUpstreamTransport`."""
        matches = self.transport_matches
        return self.passthrough is not None or any(one.passthrough is not None for one in matches)

    def match_of(self, metadata: Any) -> TransportMatch | None:
        """What applies to a host with this `core.v3.Metadata`; None for the cluster's own transport."""
        for one in self.transport_matches:
            if one.fits(metadata):
                return one
        return None

    def transport_of(self, metadata: Any) -> Any:
        """How to speak bytes or HTTP/1 to a host with this `core.v3.Metadata`."""
        match = self.match_of(metadata)
        return self.transport if match is None else match.transport

    def passthrough_of(self, metadata: Any) -> Any:
        """What an internal listener is told that is a host with this `core.v3.Metadata`."""
        match = self.match_of(metadata)
        return self.passthrough if match is None else match.passthrough

    def proxy_header_of(self, metadata: Any) -> Any:
        """How a connection to a host with this `core.v3.Metadata` begins."""
        match = self.match_of(metadata)
        return self.proxy_header if match is None else match.proxy_header
