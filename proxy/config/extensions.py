"""The extension types that may stand in an `Any`, by full proto name.

Adding one is one line here: the category, the package after `envoy.`, the module, the messages. A module is
imported when the first config uses it, so that an unused extension costs nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

TYPE_URL_PREFIX = "type.googleapis.com/"

# ruff: noqa: E501
_TABLE = """
envoy.filters.listener extensions.filters.listener.http_inspector.v3 http_inspector HttpInspector
envoy.filters.listener extensions.filters.listener.local_ratelimit.v3 local_ratelimit LocalRateLimit
envoy.filters.listener extensions.filters.listener.original_dst.v3 original_dst OriginalDst
envoy.filters.listener extensions.filters.listener.original_src.v3 original_src OriginalSrc
envoy.filters.listener extensions.filters.listener.proxy_protocol.v3 proxy_protocol ProxyProtocol
envoy.filters.listener extensions.filters.listener.tls_inspector.v3 tls_inspector TlsInspector
envoy.filters.udp_listener extensions.filters.udp.udp_proxy.v3 udp_proxy UdpProxyConfig
envoy.filters.udp_listener.route extensions.filters.udp.udp_proxy.v3 route Route
envoy.matching.network.input extensions.matching.common_inputs.network.v3 network_inputs SourceIPInput SourcePortInput DirectSourceIPInput DestinationIPInput DestinationPortInput SourceTypeInput ServerNameInput TransportProtocolInput ApplicationProtocolInput FilterStateInput NetworkNamespaceInput
envoy.matching.network.input extensions.matching.common_inputs.ssl.v3 ssl_inputs UriSanInput DnsSanInput SubjectInput
envoy.matching.http.input extensions.matching.common_inputs.network.v3 network_inputs SourceIPInput SourcePortInput DirectSourceIPInput DestinationIPInput DestinationPortInput ServerNameInput FilterStateInput DynamicMetadataInput
envoy.matching.http.input extensions.matching.common_inputs.ssl.v3 ssl_inputs UriSanInput DnsSanInput SubjectInput
envoy.matching.http.input type.matcher.v3 http_inputs HttpRequestHeaderMatchInput
envoy.matching.input_matchers extensions.matching.input_matchers.consistent_hashing.v3 consistent_hashing ConsistentHashing
envoy.matching.input_matchers extensions.matching.input_matchers.ip.v3 ip Ip
envoy.matching.input_matchers extensions.matching.input_matchers.metadata.v3 metadata Metadata
envoy.rbac.action config.rbac.v3 rbac Action
envoy.rbac.principals extensions.rbac.principals.mtls_authenticated.v3 mtls_authenticated Config
envoy.filters.network extensions.filters.network.http_connection_manager.v3 http_connection_manager HttpConnectionManager
envoy.filters.network extensions.filters.network.tcp_proxy.v3 tcp_proxy TcpProxy
envoy.filters.network extensions.filters.network.echo.v3 echo Echo
envoy.filters.network extensions.filters.network.direct_response.v3 config Config
envoy.filters.network extensions.filters.network.connection_limit.v3 connection_limit ConnectionLimit
envoy.filters.network extensions.filters.network.ext_authz.v3 ext_authz ExtAuthz
envoy.filters.network extensions.filters.network.local_ratelimit.v3 local_rate_limit LocalRateLimit
envoy.filters.network extensions.filters.network.rbac.v3 rbac RBAC
envoy.filters.network extensions.filters.network.set_filter_state.v3 set_filter_state Config
envoy.filters.network extensions.filters.network.wasm.v3 wasm Wasm
envoy.bootstrap extensions.bootstrap.internal_listener.v3 internal_listener InternalListener
envoy.filters.network extensions.filters.network.sni_cluster.v3 sni_cluster SniCluster
envoy.filters.network extensions.filters.network.sni_dynamic_forward_proxy.v3 sni_dynamic_forward_proxy FilterConfig
envoy.filters.http extensions.filters.http.router.v3 router Router
envoy.filters.http extensions.filters.http.header_mutation.v3 header_mutation HeaderMutation
envoy.filters.http.upstream extensions.filters.http.header_mutation.v3 header_mutation HeaderMutation
envoy.filters.http.upstream extensions.filters.http.upstream_codec.v3 upstream_codec UpstreamCodec
envoy.filters.http extensions.filters.http.health_check.v3 health_check HealthCheck
envoy.filters.http extensions.filters.http.stateful_session.v3 stateful_session StatefulSession
envoy.filters.http.per_route extensions.filters.http.stateful_session.v3 stateful_session StatefulSessionPerRoute
envoy.http.stateful_session extensions.http.stateful_session.cookie.v3 cookie CookieBasedSessionState
envoy.http.stateful_session extensions.http.stateful_session.header.v3 header HeaderBasedSessionState
envoy.http.stateful_session extensions.http.stateful_session.envelope.v3 envelope EnvelopeSessionState
envoy.filters.http extensions.filters.http.cors.v3 cors Cors
envoy.filters.http extensions.filters.http.api_key_auth.v3 api_key_auth ApiKeyAuth
envoy.filters.http.per_route extensions.filters.http.api_key_auth.v3 api_key_auth ApiKeyAuthPerRoute
envoy.filters.http extensions.filters.http.basic_auth.v3 basic_auth BasicAuth
envoy.filters.http.per_route extensions.filters.http.basic_auth.v3 basic_auth BasicAuthPerRoute
envoy.filters.http extensions.filters.http.buffer.v3 buffer Buffer
envoy.filters.http extensions.filters.http.csrf.v3 csrf CsrfPolicy
envoy.filters.http.per_route extensions.filters.http.csrf.v3 csrf CsrfPolicy
envoy.filters.http extensions.filters.http.rbac.v3 rbac RBAC
envoy.filters.http.per_route extensions.filters.http.rbac.v3 rbac RBACPerRoute
envoy.filters.http extensions.filters.http.grpc_web.v3 grpc_web GrpcWeb
envoy.filters.http extensions.filters.http.grpc_http1_bridge.v3 config Config
envoy.filters.http extensions.filters.http.grpc_http1_reverse_bridge.v3 config FilterConfig
envoy.filters.http extensions.filters.http.grpc_stats.v3 config FilterConfig
envoy.filters.http extensions.filters.http.dynamic_forward_proxy.v3 dynamic_forward_proxy FilterConfig
envoy.filters.http.per_route extensions.filters.http.dynamic_forward_proxy.v3 dynamic_forward_proxy PerRouteConfig
envoy.filters.http extensions.filters.http.wasm.v3 wasm Wasm
envoy.filters.http extensions.filters.http.ext_authz.v3 ext_authz ExtAuthz
envoy.filters.http.per_route extensions.filters.http.ext_authz.v3 ext_authz ExtAuthzPerRoute
envoy.filters.http extensions.filters.http.fault.v3 fault HTTPFault
envoy.filters.http.per_route extensions.filters.http.fault.v3 fault HTTPFault
envoy.filters.http extensions.filters.http.local_ratelimit.v3 local_rate_limit LocalRateLimit
envoy.filters.http.per_route extensions.filters.http.local_ratelimit.v3 local_rate_limit LocalRateLimit
envoy.filters.http extensions.filters.http.on_demand.v3 on_demand OnDemand
envoy.filters.http.per_route extensions.filters.http.on_demand.v3 on_demand PerRouteConfig
envoy.filters.http.per_route extensions.filters.http.grpc_http1_reverse_bridge.v3 config FilterConfigPerRoute
envoy.filters.http extensions.filters.http.compressor.v3 compressor Compressor
envoy.filters.http extensions.filters.http.decompressor.v3 decompressor Decompressor
envoy.filters.http extensions.filters.http.grpc_json_transcoder.v3 transcoder GrpcJsonTranscoder
envoy.filters.http.per_route extensions.filters.http.compressor.v3 compressor CompressorPerRoute
envoy.filters.http.per_route extensions.filters.http.grpc_json_transcoder.v3 transcoder GrpcJsonTranscoder
envoy.compression.compressor extensions.compression.gzip.compressor.v3 gzip Gzip
envoy.compression.compressor extensions.compression.brotli.compressor.v3 brotli Brotli
envoy.compression.compressor extensions.compression.zstd.compressor.v3 zstd Zstd
envoy.compression.decompressor extensions.compression.gzip.decompressor.v3 gzip Gzip
envoy.compression.decompressor extensions.compression.brotli.decompressor.v3 brotli Brotli
envoy.compression.decompressor extensions.compression.zstd.decompressor.v3 zstd Zstd
envoy.filters.http.per_route extensions.filters.http.header_mutation.v3 header_mutation HeaderMutationPerRoute
envoy.filters.http.per_route extensions.filters.http.cors.v3 cors CorsPolicy
envoy.filters.http.per_route extensions.filters.http.buffer.v3 buffer BufferPerRoute
envoy.filters.http.per_route config.route.v3 route_components FilterConfig
envoy.health_check.event_sinks extensions.health_check.event_sinks.file.v3 file HealthCheckEventFileSink
envoy.access_loggers extensions.access_loggers.file.v3 file FileAccessLog
envoy.access_loggers extensions.access_loggers.grpc.v3 als HttpGrpcAccessLogConfig TcpGrpcAccessLogConfig
envoy.access_loggers extensions.access_loggers.stream.v3 stream StdoutAccessLog StderrAccessLog
envoy.tracers config.trace.v3 zipkin ZipkinConfig
envoy.tracers config.trace.v3 opentelemetry OpenTelemetryConfig
envoy.tracers.opentelemetry.resource_detectors extensions.tracers.opentelemetry.resource_detectors.v3 environment_resource_detector EnvironmentResourceDetectorConfig
envoy.tracers.opentelemetry.resource_detectors extensions.tracers.opentelemetry.resource_detectors.v3 static_config_resource_detector StaticConfigResourceDetectorConfig
envoy.tracers.opentelemetry.samplers extensions.tracers.opentelemetry.samplers.v3 always_on_sampler AlwaysOnSamplerConfig
envoy.formatter extensions.formatter.req_without_query.v3 req_without_query ReqWithoutQuery
envoy.formatter extensions.formatter.metadata.v3 metadata Metadata
envoy.transport_sockets.downstream extensions.transport_sockets.raw_buffer.v3 raw_buffer RawBuffer
envoy.transport_sockets.downstream extensions.transport_sockets.starttls.v3 starttls StartTlsConfig
envoy.transport_sockets.downstream extensions.transport_sockets.tls.v3 tls DownstreamTlsContext
envoy.tls.cert_validator extensions.transport_sockets.tls.v3 tls_spiffe_validator_config SPIFFECertValidatorConfig
envoy.transport_sockets.upstream extensions.transport_sockets.raw_buffer.v3 raw_buffer RawBuffer
envoy.transport_sockets.upstream extensions.transport_sockets.internal_upstream.v3 internal_upstream InternalUpstreamTransport
envoy.transport_sockets.upstream extensions.transport_sockets.proxy_protocol.v3 upstream_proxy_protocol ProxyProtocolUpstreamTransport
envoy.transport_sockets.upstream extensions.transport_sockets.starttls.v3 starttls UpstreamStartTlsConfig
envoy.transport_sockets.upstream extensions.transport_sockets.tls.v3 tls UpstreamTlsContext
envoy.upstream_options extensions.upstreams.http.v3 http_protocol_options HttpProtocolOptions
envoy.stats_sinks config.metrics.v3 stats StatsdSink DogStatsdSink
envoy.stats_sinks config.metrics.v3 metrics_service MetricsServiceConfig
envoy.overload_actions config.overload.v3 overload ScaleTimersOverloadActionConfig
envoy.resource_monitors extensions.resource_monitors.cgroup_memory.v3 cgroup_memory CgroupMemoryConfig
envoy.resource_monitors extensions.resource_monitors.fixed_heap.v3 fixed_heap FixedHeapConfig
envoy.resource_monitors extensions.resource_monitors.injected_resource.v3 injected_resource InjectedResourceConfig
envoy.resource_monitors extensions.resource_monitors.downstream_connections.v3 downstream_connections DownstreamConnectionsConfig
envoy.clusters extensions.clusters.aggregate.v3 cluster ClusterConfig
envoy.clusters extensions.clusters.dynamic_forward_proxy.v3 cluster ClusterConfig
envoy.clusters extensions.clusters.dns.v3 dns_cluster DnsCluster
envoy.load_balancing_policies extensions.load_balancing_policies.round_robin.v3 round_robin RoundRobin
envoy.load_balancing_policies extensions.load_balancing_policies.least_request.v3 least_request LeastRequest
envoy.load_balancing_policies extensions.load_balancing_policies.random.v3 random Random
envoy.load_balancing_policies extensions.load_balancing_policies.ring_hash.v3 ring_hash RingHash
envoy.load_balancing_policies extensions.load_balancing_policies.maglev.v3 maglev Maglev
envoy.load_balancing_policies extensions.load_balancing_policies.subset.v3 subset Subset
envoy.load_balancing_policies extensions.load_balancing_policies.cluster_provided.v3 cluster_provided ClusterProvided
envoy.load_balancing_policies extensions.load_balancing_policies.override_host.v3 override_host OverrideHost
envoy.load_balancing_policies extensions.load_balancing_policies.wrr_locality.v3 wrr_locality WrrLocality
envoy.load_balancing_policies extensions.load_balancing_policies.client_side_weighted_round_robin.v3 client_side_weighted_round_robin ClientSideWeightedRoundRobin
envoy.grpc_credentials config.grpc_credential.v3 file_based_metadata FileBasedMetadataConfig
envoy.path.match extensions.path.match.uri_template.v3 uri_template_match UriTemplateMatchConfig
envoy.path.rewrite extensions.path.rewrite.uri_template.v3 uri_template_rewrite UriTemplateRewriteConfig
envoy.http.original_ip_detection extensions.http.original_ip_detection.custom_header.v3 custom_header CustomHeaderConfig
envoy.http.original_ip_detection extensions.http.original_ip_detection.xff.v3 xff XffConfig
envoy.request_id extensions.request_id.uuid.v3 uuid UuidRequestIdConfig
envoy.http.stateful_header_formatters extensions.http.header_formatters.preserve_case.v3 preserve_case PreserveCaseFormatterConfig
envoy.internal_redirect_predicates extensions.internal_redirect.allow_listed_routes.v3 allow_listed_routes_config AllowListedRoutesConfig
envoy.internal_redirect_predicates extensions.internal_redirect.previous_routes.v3 previous_routes_config PreviousRoutesConfig
envoy.internal_redirect_predicates extensions.internal_redirect.safe_cross_scheme.v3 safe_cross_scheme_config SafeCrossSchemeConfig
envoy.http.early_header_mutation extensions.http.early_header_mutation.header_mutation.v3 header_mutation HeaderMutation
envoy.retry_host_predicates extensions.retry.host.omit_canary_hosts.v3 omit_canary_hosts OmitCanaryHostsPredicate
envoy.retry_host_predicates extensions.retry.host.omit_host_metadata.v3 omit_host_metadata_config OmitHostMetadataConfig
envoy.retry_host_predicates extensions.retry.host.previous_hosts.v3 previous_hosts PreviousHostsPredicate
envoy.retry_priorities extensions.retry.priority.previous_priorities.v3 previous_priorities_config PreviousPrioritiesConfig
envoy.regex_engines extensions.regex_engines.v3 google_re2 GoogleRE2
envoy.network.dns_resolver extensions.network.dns_resolver.cares.v3 cares_dns_resolver CaresDnsResolverConfig
envoy.network.dns_resolver extensions.network.dns_resolver.getaddrinfo.v3 getaddrinfo_dns_resolver GetAddrInfoDnsResolverConfig
"""

_modules: dict[str, str] = {}
_categories: dict[str, list[str]] = {}
for _line in _TABLE.split("\n"):
    if _line:
        _category, _package, _module, *_messages = _line.split()
        for _message in _messages:
            _name = f"envoy.{_package}.{_message}"
            _modules[_name] = f"envoy.{_package}.{_module}_pb2"
            _categories.setdefault(_category, []).append(_name)

#: Messages of others than Envoy: category, full name, module.
_FOREIGN = (
    ("envoy.filters.http", "io.istio.http.connect_authority.Config", "proxy.config.istio_messages"),
    ("envoy.filters.http.per_route", "io.istio.http.connect_authority.Config", "proxy.config.istio_messages"),
    ("envoy.filters.http", "io.istio.http.connect_baggage.Config", "proxy.config.istio_messages"),
    ("envoy.filters.http", "io.istio.http.peer_metadata.Config", "proxy.config.istio_messages"),
    (
        "envoy.filters.http",
        "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
        "proxy.config.istio_messages",
    ),
    ("envoy.filters.http", "stats.PluginConfig", "proxy.config.istio_messages"),
    (
        "envoy.filters.network",
        "envoy.tcp.metadataexchange.config.MetadataExchange",
        "proxy.config.istio_messages",
    ),
    (
        "envoy.filters.upstream_network",
        "envoy.tcp.metadataexchange.config.MetadataExchange",
        "proxy.config.istio_messages",
    ),
    ("envoy.filters.network", "io.istio.network.authn.Config", "proxy.config.istio_messages"),
    ("envoy.filters.network", "stats.PluginConfig", "proxy.config.istio_messages"),
    ("envoy.bootstrap", "istio.workload.BootstrapExtension", "proxy.config.istio_messages"),
    (
        "envoy.filters.network",
        "istio.envoy.config.filter.network.tcp_cluster_rewrite.v2alpha1.TcpClusterRewrite",
        "proxy.config.istio_messages",
    ),
    (
        "envoy.matching.network.custom_matchers",
        "xds.type.matcher.v3.IPMatcher",
        "xds.type.matcher.v3.ip_pb2",
    ),
    (
        "envoy.matching.network.custom_matchers",
        "xds.type.matcher.v3.ServerNameMatcher",
        "xds.type.matcher.v3.domain_pb2",
    ),
)
for _category, _name, _module in _FOREIGN:
    _modules[_name] = _module
    _categories.setdefault(_category, []).append(_name)

_WELL_KNOWN_MODULES = {
    "Any": "any", "Duration": "duration", "Empty": "empty", "ListValue": "struct", "Struct": "struct",
    "Timestamp": "timestamp", "Value": "struct", "BoolValue": "wrappers", "BytesValue": "wrappers",
    "DoubleValue": "wrappers", "FloatValue": "wrappers", "Int32Value": "wrappers", "Int64Value": "wrappers",
    "StringValue": "wrappers", "UInt32Value": "wrappers", "UInt64Value": "wrappers",
}  # fmt: skip

#: Discovered resources, as they stand in the files of a `path_config_source`, and their modules.
_RESOURCES = {
    "envoy.config.cluster.v3.Cluster": "envoy.config.cluster.v3.cluster_pb2",
    "envoy.config.core.v3.TypedExtensionConfig": "envoy.config.core.v3.extension_pb2",
    "envoy.config.endpoint.v3.ClusterLoadAssignment": "envoy.config.endpoint.v3.endpoint_pb2",
    "envoy.config.listener.v3.Listener": "envoy.config.listener.v3.listener_pb2",
    "envoy.config.route.v3.RouteConfiguration": "envoy.config.route.v3.route_pb2",
    "envoy.config.route.v3.ScopedRouteConfiguration": "envoy.config.route.v3.scoped_route_pb2",
    "envoy.config.route.v3.VirtualHost": "envoy.config.route.v3.route_components_pb2",
    "envoy.extensions.transport_sockets.tls.v3.Secret": "envoy.extensions.transport_sockets.tls.v3.secret_pb2",
    "envoy.service.discovery.v3.Resource": "envoy.service.discovery.v3.discovery_pb2",
    "envoy.service.runtime.v3.Runtime": "envoy.service.runtime.v3.rtds_pb2",
}

TYPED_STRUCTS = frozenset({"udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct"})
"""Carriers of a JSON-like config together with the name of its type; unwrapped wherever an Any may stand."""


def message_class(type_name: str) -> Any:
    """The class of a registered extension, discovered resource or well-known message, or None."""
    module = _modules.get(type_name) or _RESOURCES.get(type_name)
    if module is None:
        package, _, simple = type_name.rpartition(".")
        stem = _WELL_KNOWN_MODULES.get(simple) if package == "google.protobuf" else None
        if stem is None:
            return None
        module = f"google.protobuf.{stem}_pb2"
    loaded = importlib.import_module(module)
    by_name: dict[str, Any] | None = getattr(loaded, "MESSAGES", None)
    return getattr(loaded, type_name.rpartition(".")[2]) if by_name is None else by_name[type_name]


def type_names() -> list[str]:
    """Every registered extension type, sorted."""
    return sorted(_modules)


def in_category(category: str) -> list[str]:
    """The registered types of a category such as `envoy.filters.http`."""
    return _categories.get(category, [])


def categories() -> dict[str, list[str]]:
    """Every category with its types, in the order of the table."""
    return dict(_categories)


def is_registered(any_message: Any) -> bool:
    """Whether the extension that an Any carries, or a TypedStruct in it names, is one of the table."""
    return carried_type(any_message) in _modules


def carried_type(any_message: Any) -> str:
    """The message name of what an Any carries, also inside a TypedStruct."""
    name = type_name_of(any_message.type_url)
    if name in TYPED_STRUCTS:
        # Field 1 of both TypedStructs is the type URL; a UDPA message has the same layout as an XDS one.
        from xds.type.v3 import typed_struct_pb2

        return type_name_of(typed_struct_pb2.TypedStruct.FromString(any_message.value).type_url)
    return name


def type_name_of(type_url: str) -> str:
    """The message name of a type URL (what follows the last slash)."""
    return type_url.rpartition("/")[2]


def is_known(any_message: Any) -> bool:
    """Whether there is a message class for what an Any carries, as an extension or a well-known type."""
    return message_class(carried_type(any_message)) is not None


def listed(categories: Iterable[str]) -> str:
    """The types of some categories in words: "a", or "one of a, b"."""
    names = [name for category in categories for name in in_category(category)]
    return names[0] if len(names) == 1 else f"one of {', '.join(names)}"


def unknown_type(type_name: str, categories: Iterable[str] = ()) -> str:
    """Why a type is refused, in words: what it may have meant, and what may stand in the field."""
    from proxy.config.ledger.table import PAGE  # only on the way to an error
    from proxy.config.suggest import did_you_mean

    known = [name for category in categories for name in in_category(category)] or list(_modules)
    # All names of a category begin alike, so only the last part tells what was meant.
    simple = type_name.rpartition(".")[2]
    hint = did_you_mean(
        type_name, [name for name in known if did_you_mean(simple, [name.rpartition(".")[2]])]
    )
    if categories and not hint:
        hint = f"; expected {listed(categories)}"
    return f"extension type {type_name!r} is not supported{hint} (see {PAGE})"


CARRIERS = frozenset({"envoy.config.core.v3.TypedExtensionConfig", "envoy.config.core.v3.TransportSocket"})
"""Messages of a name and a `typed_config` that stand in many fields."""

_DOWNSTREAM_SOCKET = ("envoy.transport_sockets.downstream",)
_UPSTREAM_SOCKET = ("envoy.transport_sockets.upstream",)
HTTP_FILTER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter"
_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_PER_ROUTE = ("envoy.filters.http.per_route",)
_COMPRESSOR = ("envoy.compression.compressor",)

_SITES: dict[str, tuple[str, ...]] = {
    "envoy.config.accesslog.v3.AccessLog.typed_config": ("envoy.access_loggers",),
    "envoy.config.bootstrap.v3.Bootstrap.bootstrap_extensions": ("envoy.bootstrap",),
    "envoy.config.bootstrap.v3.Bootstrap.default_regex_engine": ("envoy.regex_engines",),
    "envoy.config.bootstrap.v3.Bootstrap.typed_dns_resolver_config": ("envoy.network.dns_resolver",),
    "envoy.config.cluster.v3.Cluster.CustomClusterType.typed_config": ("envoy.clusters",),
    "envoy.config.core.v3.HealthCheck.event_logger": ("envoy.health_check.event_sinks",),
    "envoy.config.cluster.v3.Cluster.transport_socket": _UPSTREAM_SOCKET,
    "envoy.config.cluster.v3.Filter.typed_config": ("envoy.filters.upstream_network",),
    "envoy.config.cluster.v3.Cluster.TransportSocketMatch.transport_socket": _UPSTREAM_SOCKET,
    "envoy.config.cluster.v3.Cluster.typed_dns_resolver_config": ("envoy.network.dns_resolver",),
    "envoy.config.cluster.v3.Cluster.typed_extension_protocol_options": ("envoy.upstream_options",),
    "envoy.config.cluster.v3.LoadBalancingPolicy.Policy.typed_extension_config": (
        "envoy.load_balancing_policies",
    ),
    "envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat.stateful_formatter": (
        "envoy.http.stateful_header_formatters",
    ),
    "envoy.config.core.v3.ExtensionConfigSource.default_config": (
        "envoy.filters.http",
        "envoy.filters.listener",
        "envoy.filters.network",
    ),
    "envoy.config.core.v3.SubstitutionFormatString.formatters": ("envoy.formatter",),
    "envoy.config.listener.v3.Filter.typed_config": ("envoy.filters.network",),
    "envoy.config.listener.v3.FilterChain.transport_socket": _DOWNSTREAM_SOCKET,
    "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext.custom_validator_config": (
        "envoy.tls.cert_validator",
    ),
    "envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport.transport_socket": (
        "envoy.transport_sockets.upstream",
    ),
    "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport.transport_socket": (
        "envoy.transport_sockets.upstream",
    ),
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TunnelingConfig.request_id_extension": (
        "envoy.request_id",
    ),
    "envoy.config.listener.v3.ListenerFilter.typed_config": (
        "envoy.filters.listener",
        "envoy.filters.udp_listener",
    ),
    "envoy.config.overload.v3.OverloadAction.typed_config": ("envoy.overload_actions",),
    "envoy.config.overload.v3.ResourceMonitor.typed_config": ("envoy.resource_monitors",),
    "envoy.config.metrics.v3.StatsSink.typed_config": ("envoy.stats_sinks",),
    "envoy.config.trace.v3.OpenTelemetryConfig.resource_detectors": (
        "envoy.tracers.opentelemetry.resource_detectors",
    ),
    "envoy.config.trace.v3.OpenTelemetryConfig.sampler": ("envoy.tracers.opentelemetry.samplers",),
    "envoy.config.trace.v3.Tracing.Http.typed_config": ("envoy.tracers",),
    "envoy.config.rbac.v3.Permission.uri_template": ("envoy.path.match",),
    "envoy.config.rbac.v3.Principal.custom": ("envoy.rbac.principals",),
    "envoy.config.route.v3.FilterConfig.config": _PER_ROUTE,
    "envoy.config.route.v3.InternalRedirectPolicy.predicates": ("envoy.internal_redirect_predicates",),
    "envoy.config.route.v3.RetryPolicy.retry_host_predicate": ("envoy.retry_host_predicates",),
    "envoy.config.route.v3.RetryPolicy.retry_priority": ("envoy.retry_priorities",),
    "envoy.config.route.v3.Route.typed_per_filter_config": _PER_ROUTE,
    "envoy.config.route.v3.RouteAction.path_rewrite_policy": ("envoy.path.rewrite",),
    "envoy.config.route.v3.RouteConfiguration.typed_per_filter_config": _PER_ROUTE,
    "envoy.config.core.v3.GrpcService.GoogleGrpc.CallCredentials.MetadataCredentialsFromPlugin.typed_config": (
        "envoy.grpc_credentials",
    ),
    "envoy.config.route.v3.RouteMatch.path_match_policy": ("envoy.path.match",),
    "envoy.config.route.v3.VirtualHost.typed_per_filter_config": _PER_ROUTE,
    "envoy.config.route.v3.WeightedCluster.ClusterWeight.typed_per_filter_config": _PER_ROUTE,
    "envoy.extensions.clusters.dns.v3.DnsCluster.typed_dns_resolver_config": ("envoy.network.dns_resolver",),
    "envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheConfig.typed_dns_resolver_config": (
        "envoy.network.dns_resolver",
    ),
    "envoy.extensions.filters.http.compressor.v3.Compressor.compressor_library": _COMPRESSOR,
    "envoy.extensions.filters.http.compressor.v3.CompressorOverrides.compressor_library": _COMPRESSOR,
    "envoy.extensions.filters.http.decompressor.v3.Decompressor.decompressor_library": (
        "envoy.compression.decompressor",
    ),
    "envoy.extensions.filters.http.stateful_session.v3.StatefulSession.session_state": (
        "envoy.http.stateful_session",
    ),
    f"{_HCM}.early_header_mutation_extensions": ("envoy.http.early_header_mutation",),
    f"{_HCM}.original_ip_detection_extensions": ("envoy.http.original_ip_detection",),
    f"{HTTP_FILTER}.typed_config": ("envoy.filters.http", "envoy.filters.http.upstream"),
    "envoy.extensions.filters.network.http_connection_manager.v3.RequestIDExtension.typed_config": (
        "envoy.request_id",
    ),
}


def categories_at(field_name: str) -> tuple[str, ...]:
    """The categories of extensions that may stand in a field (full proto name); empty when any may."""
    return _SITES.get(field_name, ())
