"""`HttpConnectionManager`, compiled: everything that a worker needs to run one, and nothing it has to look up.

Source: envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager. Times are seconds,
0.0 switches the timeout off.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from proxy.access_log.compile import CompiledAccessLog, compile_access_logs
from proxy.base.matchers import StringMatch, compile_string_matcher
from proxy.base.stat_names import stat_name
from proxy.codec.http1_request import UnderscoresAction
from proxy.codec.http2_options import Http2Options
from proxy.config import durations
from proxy.config.any_unpack import unpack
from proxy.config.context import CompileContext
from proxy.config.http2_options import compile_http2_options
from proxy.config.resources import ResourceSource
from proxy.config.runtime_guards import REQUEST_HEADERS_COUNT, REQUEST_HEADERS_KB
from proxy.formatter.header_ops import HeaderOps, compile_header_mutations
from proxy.hcm.discovered_filter import HttpFilterConfig
from proxy.hcm.filter_config import compile_http_filters
from proxy.hcm.ip_detection import IpDetection, IpNetwork, compile_ip_detections, compile_networks
from proxy.hcm.local_reply import LocalReplyMapper, compile_local_reply
from proxy.router.discovered_table import discovered_table
from proxy.router.route_table import RouteTable, compile_route_table
from proxy.router.scope_list import ScopedRoutes, compile_scoped_routes
from proxy.router.upstream_filters import UpstreamFilter, compile_upstream_filters
from xds_client.resource_types import ResourceType

if TYPE_CHECKING:
    from proxy.tracing.config import TracingConfig

#: Values of the proto's enums, by name where the code compares them.
OVERWRITE, APPEND_IF_ABSENT, PASS_THROUGH = 0, 1, 2
KEEP_UNCHANGED, REJECT_REQUEST, UNESCAPE_AND_REDIRECT, UNESCAPE_AND_FORWARD = 1, 2, 3, 4


class CodecType(Enum):
    """`HttpConnectionManager.CodecType`, with the proto's numbers."""

    AUTO = 0
    HTTP1 = 1
    HTTP2 = 2
    HTTP3 = 3


class InternalAddresses(Struct, frozen=True):
    """`internal_address_config`: who counts as internal; nobody without it."""

    networks: tuple[IpNetwork, ...] = ()
    unix_sockets: bool = False


class UpgradeConfig(Struct, frozen=True):
    """One of `upgrade_configs`: a lower-case upgrade type ("connect" among them)."""

    enabled: bool
    filters: tuple[HttpFilterConfig, ...] | None


class HcmConfig(Struct, frozen=True):
    """One compiled connection manager."""

    stat_prefix: str
    codec_type: CodecType
    route_table: RouteTable
    #: Where `route_table` is from, if a control plane brings it and may change it.
    rds: ResourceSource | None
    #: What chooses the table of a request where there are several; `route_table` is empty then.
    scopes: ScopedRoutes | None
    filters: tuple[HttpFilterConfig, ...]
    router_options: RouterOptions
    access_logs: tuple[CompiledAccessLog, ...]
    local_reply: LocalReplyMapper | None

    accept_http_10: bool
    default_host: str
    enable_trailers: bool
    preserve_case: bool
    proper_case: bool
    allow_absolute_url: bool
    allow_chunked_length: bool
    #: Protocols that nobody hears of when a client asks to change to them.
    ignored_upgrades: tuple[StringMatch, ...]
    keep_open_on_error: bool
    max_headers_bytes: int
    max_headers_count: int
    underscores: UnderscoresAction
    http2: Http2Options

    idle_timeout: float
    max_connection_duration: float
    max_stream_duration: float
    max_requests_per_connection: int
    stream_idle_timeout: float
    stream_flush_timeout: float
    request_timeout: float
    request_headers_timeout: float
    drain_timeout: float
    delayed_close_timeout: float

    server_name: str
    server_header: int
    via: str
    add_user_agent: bool
    scheme_overwrite: str
    scheme_match_upstream: bool
    use_remote_address: bool
    xff_trusted_hops: int
    skip_xff_append: bool
    ip_detections: tuple[IpDetection, ...]
    internal_addresses: InternalAddresses
    append_x_forwarded_port: bool
    generate_request_id: bool
    preserve_external_request_id: bool
    always_set_request_id: bool
    forward_client_cert: int
    client_cert_details: tuple[str, ...]
    proxy_100_continue: bool
    append_local_overload: bool
    normalize_path: bool
    merge_slashes: bool
    escaped_slashes: int
    strip_any_port: bool
    strip_matching_port: bool
    strip_trailing_dot: bool
    early_mutations: tuple[HeaderOps, ...]
    upgrades: dict[str, UpgradeConfig]
    tracing: TracingConfig | None = None
    #: Whether clients are not told what a host calls the operation; see `Decorator`.
    hides_operation: bool = False


class RouterOptions(Struct, frozen=True):
    """The router filter's own config (envoy.extensions.filters.http.router.v3.Router)."""

    dynamic_stats: bool = True
    suppress_envoy_headers: bool = False
    strict_check_headers: tuple[str, ...] = ()
    respect_expected_timeout: bool = False
    suppress_grpc_codes: bool = False
    #: Of each try of a request, see `proxy.router.logged_request.UpstreamLog`.
    upstream_logs: tuple[CompiledAccessLog, ...] = ()
    logs_begins: bool = False
    log_interval: float = 0.0
    upstream_filters: tuple[UpstreamFilter, ...] | None = None


def compile_hcm(message: Any, path: str, context: CompileContext) -> HcmConfig:
    """Compile one HCM message; see `CompileContext` for how problems are reported."""
    codec_type = CodecType(message.codec_type)
    if codec_type is CodecType.HTTP3:
        context.problem(f"{path}.codec_type", "HTTP/3 is not supported; use AUTO, HTTP1 or HTTP2")
    if message.common_http_protocol_options.HasField("max_response_headers_kb"):
        context.problem(
            f"{path}.common_http_protocol_options.max_response_headers_kb",
            "is for clusters; it cannot be set on http_connection_manager",
        )
    filters, router = compile_http_filters(message.http_filters, f"{path}.http_filters", context)
    common = message.common_http_protocol_options
    http1 = message.http_protocol_options
    key_format = http1.header_key_format.WhichOneof("header_format")
    server_name = message.server_name or "envoy"
    runtime = context.runtime
    headers_kb = message.max_request_headers_kb.value or runtime.integer(REQUEST_HEADERS_KB, 60)
    headers_count = (
        common.max_headers_count.value
        if common.HasField("max_headers_count")
        else runtime.integer(REQUEST_HEADERS_COUNT, 100)
    )
    rds, route_table = _routes(message, path, context)
    return HcmConfig(
        stat_prefix=message.stat_prefix,
        codec_type=codec_type,
        route_table=route_table,
        rds=rds,
        scopes=compile_scoped_routes(
            message.scoped_routes, f"{path}.scoped_routes", f"http.{message.stat_prefix}.", context
        )
        if message.WhichOneof("route_specifier") == "scoped_routes"
        else None,
        filters=filters,
        router_options=router_options(
            router, f"{path}.http_filters[{len(message.http_filters) - 1}].typed_config", context
        ),
        access_logs=compile_access_logs(message.access_log, f"{path}.access_log", context),
        local_reply=compile_local_reply(message.local_reply_config, f"{path}.local_reply_config", context)
        if message.HasField("local_reply_config")
        else None,
        accept_http_10=http1.accept_http_10,
        default_host=http1.default_host_for_http_10,
        enable_trailers=http1.enable_trailers,
        preserve_case=key_format == "stateful_formatter",
        proper_case=key_format == "proper_case_words",
        allow_absolute_url=http1.allow_absolute_url.value if http1.HasField("allow_absolute_url") else True,
        allow_chunked_length=http1.allow_chunked_length,
        ignored_upgrades=tuple(
            compile_string_matcher(
                matcher, f"{path}.http_protocol_options.ignore_http_11_upgrade[{index}]", context
            )
            for index, matcher in enumerate(http1.ignore_http_11_upgrade)
        ),
        keep_open_on_error=http1.override_stream_error_on_invalid_http_message.value
        if http1.HasField("override_stream_error_on_invalid_http_message")
        else message.stream_error_on_invalid_http_message.value,
        max_headers_bytes=headers_kb * 1024,
        max_headers_count=headers_count,
        underscores=UnderscoresAction(common.headers_with_underscores_action),
        http2=_http2_options(message, path, context, headers_kb, headers_count),
        idle_timeout=durations.seconds(common, "idle_timeout", 3600.0),
        max_connection_duration=durations.seconds(common, "max_connection_duration", 0.0),
        max_stream_duration=durations.seconds(common, "max_stream_duration", 0.0),
        max_requests_per_connection=common.max_requests_per_connection.value,
        stream_idle_timeout=(idle := durations.seconds(message, "stream_idle_timeout", 300.0)),
        stream_flush_timeout=durations.seconds(message, "stream_flush_timeout", idle),
        request_timeout=durations.seconds(message, "request_timeout", 0.0),
        request_headers_timeout=durations.seconds(message, "request_headers_timeout", 0.0),
        drain_timeout=durations.seconds(message, "drain_timeout", 5.0),
        delayed_close_timeout=durations.seconds(message, "delayed_close_timeout", 1.0),
        server_name=server_name,
        server_header=message.server_header_transformation,
        via=message.via,
        add_user_agent=message.add_user_agent.value,
        scheme_overwrite=message.scheme_header_transformation.scheme_to_overwrite,
        scheme_match_upstream=message.scheme_header_transformation.match_upstream,
        use_remote_address=message.use_remote_address.value,
        xff_trusted_hops=message.xff_num_trusted_hops,
        skip_xff_append=message.skip_xff_append,
        ip_detections=compile_ip_detections(message, path, context),
        internal_addresses=InternalAddresses(
            compile_networks(
                message.internal_address_config.cidr_ranges,
                f"{path}.internal_address_config.cidr_ranges",
                context,
            ),
            message.internal_address_config.unix_sockets,
        ),
        append_x_forwarded_port=message.append_x_forwarded_port,
        generate_request_id=message.generate_request_id.value
        if message.HasField("generate_request_id")
        else True,
        preserve_external_request_id=message.preserve_external_request_id,
        always_set_request_id=message.always_set_request_id_in_response,
        forward_client_cert=message.forward_client_cert_details,
        client_cert_details=_client_cert_details(message.set_current_client_cert_details),
        proxy_100_continue=message.proxy_100_continue,
        append_local_overload=message.append_local_overload,
        normalize_path=message.normalize_path.value,
        merge_slashes=message.merge_slashes,
        escaped_slashes=message.path_with_escaped_slashes_action,
        strip_any_port=message.strip_any_host_port,
        strip_matching_port=_strip_matching_port(message, path, context),
        strip_trailing_dot=message.strip_trailing_host_dot,
        early_mutations=_early_mutations(message, path, context),
        upgrades=_upgrades(message, path, context),
        tracing=_tracing(message, path, context),
    )


def _tracing(message: Any, path: str, context: CompileContext) -> TracingConfig | None:
    if not message.HasField("tracing"):
        return None
    from proxy.tracing.config import compile_tracing  # few configs trace

    return compile_tracing(message, path, context)


def _routes(message: Any, path: str, context: CompileContext) -> tuple[ResourceSource | None, RouteTable]:
    if message.WhichOneof("route_specifier") != "rds":
        at = f"{path}.route_config"
        return None, compile_route_table(message.route_config, at, context, eager=context.eager)
    rds = message.rds
    name = rds.route_config_name
    source = context.resources.want(
        ResourceType.ROUTE,
        name,
        rds.config_source,
        f"{path}.rds.config_source",
        context,
        f"http.{message.stat_prefix}.rds.{stat_name(name)}.",
    )
    return source, discovered_table(source, context)


def _http2_options(
    message: Any, path: str, context: CompileContext, headers_kb: int, headers_count: int
) -> Http2Options:
    options = compile_http2_options(message.http2_protocol_options, f"{path}.http2_protocol_options", context)
    override = options.override_stream_error_on_invalid_http_message
    if message.HasField(
        "stream_error_on_invalid_http_message"
    ) and not message.http2_protocol_options.HasField("override_stream_error_on_invalid_http_message"):
        override = message.stream_error_on_invalid_http_message.value
    return replace(
        options,
        max_headers_kb=headers_kb,
        max_headers_count=headers_count,
        override_stream_error_on_invalid_http_message=override,
    )


def router_options(router: Any, path: str, context: CompileContext) -> RouterOptions:
    """Compile the router's message, or None for its defaults."""
    if router is None:
        return RouterOptions()
    options = router.upstream_log_options
    return RouterOptions(
        dynamic_stats=router.dynamic_stats.value if router.HasField("dynamic_stats") else True,
        suppress_envoy_headers=router.suppress_envoy_headers,
        strict_check_headers=tuple(router.strict_check_headers),
        respect_expected_timeout=router.respect_expected_rq_timeout,
        suppress_grpc_codes=router.suppress_grpc_request_failure_code_stats,
        upstream_logs=compile_access_logs(router.upstream_log, f"{path}.upstream_log", context),
        logs_begins=options.flush_upstream_log_on_upstream_stream,
        log_interval=durations.seconds(options, "upstream_log_flush_interval", 0.0),
        upstream_filters=compile_upstream_filters(
            router.upstream_http_filters, f"{path}.upstream_http_filters", context
        ),
    )


def _strip_matching_port(message: Any, path: str, context: CompileContext) -> bool:
    if message.strip_matching_host_port and message.strip_any_host_port:
        context.problem(
            f"{path}.strip_matching_host_port", "only one of strip_matching_host_port and strip_any_host_port"
        )
    return bool(message.strip_matching_host_port)


def _client_cert_details(details: Any) -> tuple[str, ...]:
    names = []
    if details.subject.value:
        names.append("subject")
    names.extend(name for name in ("cert", "chain", "dns", "uri") if getattr(details, name))
    return tuple(names)


def _early_mutations(message: Any, path: str, context: CompileContext) -> tuple[HeaderOps, ...]:
    result = []
    for index, extension in enumerate(message.early_header_mutation_extensions):
        where = f"{path}.early_header_mutation_extensions[{index}].typed_config"
        config = unpack(extension.typed_config, where, context)
        if config is not None:
            ops = compile_header_mutations(config.mutations, f"{where}.mutations", context, request=True)
            if ops is not None:
                result.append(ops)
    return tuple(result)


def _upgrades(message: Any, path: str, context: CompileContext) -> dict[str, UpgradeConfig]:
    result: dict[str, UpgradeConfig] = {}
    for index, config in enumerate(message.upgrade_configs):
        where = f"{path}.upgrade_configs[{index}]"
        name = config.upgrade_type.lower()
        if name in result:
            context.problem(where, f"upgrade_type {config.upgrade_type!r} is configured twice")
        enabled = config.enabled.value if config.HasField("enabled") else True
        filters = None
        if config.filters:
            filters, _ = compile_http_filters(config.filters, f"{where}.filters", context)
        result[name] = UpgradeConfig(enabled, filters)
    return result
