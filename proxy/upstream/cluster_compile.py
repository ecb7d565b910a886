"""`config.cluster.v3.Cluster` → `ClusterConfig`: every check that Envoy makes when it builds a cluster."""

from __future__ import annotations

import socket
from typing import Any, Final

from proxy.base.address import Address
from proxy.base.stat_names import stat_name
from proxy.config.any_unpack import unpack
from proxy.config.context import CompileContext
from proxy.config.durations import seconds
from proxy.config.resources import ResourceSource
from proxy.upstream.circuit_breaker import DEFAULT_THRESHOLDS, UNLIMITED, Thresholds
from proxy.upstream.cluster_config import (
    OVERRIDE_STATUSES,
    BindConfig,
    ClusterConfig,
    Discovery,
    EndpointConfig,
    KeepaliveConfig,
    PreconnectConfig,
    SocketOptionConfig,
    TransportMatch,
    UpstreamProtocol,
)
from proxy.upstream.compile_dns import compile_dns
from proxy.upstream.compile_endpoints import compile_endpoints, compile_policy, ip_literal
from proxy.upstream.compile_http_options import compile_http_options
from proxy.upstream.compile_kind import KINDS, check_names, compile_kind, with_default_names
from proxy.upstream.compile_lb import compile_lb
from proxy.upstream.fields import wrapped
from proxy.upstream.health_flags import Health
from proxy.upstream.outlier.config import compile_outlier
from proxy.upstream.tracked import compile_tracked
from xds_client.resource_types import ResourceType

DNS_CLUSTER: Final = "envoy.extensions.clusters.dns.v3.DnsCluster"
RAW_BUFFER: Final = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
INTERNAL_UPSTREAM: Final = "envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport"
PROXY_PROTOCOL: Final = "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
UPSTREAM_STARTTLS: Final = "envoy.extensions.transport_sockets.starttls.v3.UpstreamStartTlsConfig"
UPSTREAM_TLS: Final = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"

#: What connections offer by ALPN where the TLS context names nothing, as in Envoy.
_HTTP1_ALPN: Final = ["http/1.1"]
_HTTP2_ALPN: Final = ["h2"]


def compile_cluster(message: Any, path: str, ctx: CompileContext) -> ClusterConfig:
    """Check a cluster and freeze it; what is wrong goes to `ctx`."""
    discovery, extension = _discovery(message, path, ctx)
    kind = compile_kind(message, extension, path, ctx) if discovery is Discovery.BY_STREAM else None
    resolves = discovery in {Discovery.STRICT_DNS, Discovery.LOGICAL_DNS}
    dns = compile_dns(message, extension, path, ctx) if resolves else None
    endpoints, assignment = _endpoints(message, discovery, path, ctx)
    choice = compile_http_options(with_default_names(message, extension), path, ctx)
    check_names(extension, choice.auto_sni, path, ctx)
    transport, http2_transport, passthrough, proxy_header = _transports(
        message, choice.protocol, f"{path}.transport_socket", ctx
    )
    tracked = compile_tracked(message)
    return ClusterConfig(
        name=message.name,
        stat_name=message.alt_stat_name or message.name,
        discovery=discovery,
        connect_timeout=_connect_timeout(message, path, ctx),
        buffer_limit=wrapped(message, "per_connection_buffer_limit_bytes", 1024 * 1024),
        endpoints=endpoints,
        assignment_policy=compile_policy(message.load_assignment, f"{path}.load_assignment", ctx),
        assignment=assignment,
        lb=compile_lb(message, path, ctx, provided=kind is not None, named=discovery is Discovery.STRICT_DNS),
        outlier=compile_outlier(message, path, ctx),
        close_on_health_failure=message.close_connections_on_host_health_failure,
        breakers=_breakers(message.circuit_breakers, f"{path}.circuit_breakers", ctx),
        protocol=choice.protocol,
        http=choice.http,
        http2=choice.http2,
        auto_sni=choice.auto_sni,
        hash_policy=choice.hash_policy,
        retry_policy=choice.retry_policy,
        mirrors=choice.mirrors,
        http_filters=choice.http_filters,
        error_matcher=choice.error_matcher,
        dns=dns,
        bind=_bind(message, path, ctx),
        keepalive=_keepalive(message),
        first_address_family=_FAMILIES.get(
            message.upstream_connection_options.happy_eyeballs_config.first_address_family_version
        ),
        first_address_count=wrapped(
            message.upstream_connection_options.happy_eyeballs_config, "first_address_family_count", 1
        ),
        transport=transport,
        http2_transport=http2_transport,
        passthrough=passthrough,
        proxy_header=proxy_header,
        transport_matches=_transport_matches(message, choice.protocol, path, ctx),
        metadata=message.metadata if message.HasField("metadata") else None,
        report_metrics=tuple(message.lrs_report_endpoint_metrics),
        wait_for_warm=wrapped(message, "wait_for_warm_on_init", True),
        close_on_host_set_change=message.common_lb_config.close_connections_on_host_set_change,
        health_checks=_health_checks(message, discovery, choice.protocol, path, ctx),
        ignores_unchecked=message.common_lb_config.ignore_new_hosts_until_first_hc,
        override_statuses=_override_statuses(message.common_lb_config),
        keeps_checked_hosts=bool(message.health_checks) and not message.ignore_health_on_host_removal,
        kind=kind,
        preconnect=_preconnect(message.preconnect_policy),
        tracked=tracked,
        follows_requests=tracked is not None and tracked.follows_requests,
    )


def _preconnect(message: Any) -> PreconnectConfig | None:
    config = PreconnectConfig(
        wrapped(message, "per_upstream_preconnect_ratio", 1.0),
        wrapped(message, "predictive_preconnect_ratio", 1.0),
    )
    return None if config == PreconnectConfig() else config


def _health_checks(
    message: Any, discovery: Discovery, protocol: UpstreamProtocol, path: str, ctx: CompileContext
) -> tuple[Any, ...]:
    if not message.health_checks:
        return ()
    from proxy.upstream.health_check.compile import compile_health_checks  # few clusters have them

    if discovery is Discovery.BY_STREAM:
        ctx.problem(f"{path}.health_checks", "hosts that come and go with streams cannot be checked")
    http2 = protocol in {UpstreamProtocol.HTTP2, UpstreamProtocol.DOWNSTREAM, UpstreamProtocol.AUTO}
    return compile_health_checks(message.health_checks, f"{path}.health_checks", ctx, http2=http2)


def _discovery(message: Any, path: str, ctx: CompileContext) -> tuple[Discovery, Any]:
    if not message.HasField("cluster_type"):
        number = message.type if message.HasField("type") else 0
        name = message.DESCRIPTOR.enum_types_by_name["DiscoveryType"].values_by_number[number].name
        if name == "ORIGINAL_DST":
            return Discovery.BY_STREAM, None
        if name in Discovery.__members__:
            return Discovery[name], None
        reason = f"{name} is not supported; STATIC, STRICT_DNS, LOGICAL_DNS, EDS and ORIGINAL_DST are"
        ctx.problem(f"{path}.type", reason)
        return Discovery.STATIC, None
    inner_path = f"{path}.cluster_type.typed_config"
    custom = unpack(message.cluster_type.typed_config, inner_path, ctx)
    if custom is None:
        if not message.cluster_type.HasField("typed_config"):
            ctx.problem(f"{path}.cluster_type", f"type {message.cluster_type.name!r} is not supported")
        return Discovery.STATIC, None
    if custom.DESCRIPTOR.full_name in KINDS:
        return Discovery.BY_STREAM, custom
    if custom.DESCRIPTOR.full_name != DNS_CLUSTER:
        ctx.problem(inner_path, f"{custom.DESCRIPTOR.full_name} is not a cluster type")
        return Discovery.STATIC, None
    logical = custom.all_addresses_in_single_endpoint
    return Discovery.LOGICAL_DNS if logical else Discovery.STRICT_DNS, custom


def _endpoints(
    message: Any, discovery: Discovery, path: str, ctx: CompileContext
) -> tuple[tuple[EndpointConfig, ...], ResourceSource | None]:
    if discovery is not Discovery.EDS:
        if message.HasField("eds_cluster_config"):
            ctx.problem(f"{path}.eds_cluster_config", "eds_cluster_config set in a non-EDS cluster")
        return compile_endpoints(message.load_assignment, discovery, f"{path}.load_assignment", ctx), None
    if message.HasField("load_assignment"):
        ctx.warning(f"{path}.load_assignment", "an EDS cluster gets its endpoints by eds_cluster_config")
    if not message.HasField("eds_cluster_config"):
        ctx.problem(f"{path}.eds_cluster_config", "cannot create an EDS cluster without an EDS config")
        return (), None
    eds = message.eds_cluster_config
    source = ctx.resources.want(
        ResourceType.ENDPOINT,
        eds.service_name or message.name,
        eds.eds_config,
        f"{path}.eds_cluster_config.eds_config",
        ctx,
        f"cluster.{stat_name(message.alt_stat_name or message.name)}.",
    )
    return (), source


def _connect_timeout(message: Any, path: str, ctx: CompileContext) -> float:
    timeout = seconds(message, "connect_timeout", 5.0)
    if timeout <= 0:
        ctx.problem(f"{path}.connect_timeout", "value must be greater than 0s")
    return timeout


def _retry_budget(threshold: Any) -> tuple[float, int] | None:
    if not threshold.HasField("retry_budget"):
        return None
    budget = threshold.retry_budget
    percent = budget.budget_percent.value if budget.HasField("budget_percent") else 20.0
    return percent, wrapped(budget, "min_retry_concurrency", 3)


def _breakers(message: Any, path: str, ctx: CompileContext) -> tuple[Thresholds, Thresholds]:
    per_host: dict[int, int] = {}
    for index, threshold in enumerate(message.per_host_thresholds):
        inner = f"{path}.per_host_thresholds[{index}]"
        per_host.setdefault(threshold.priority, wrapped(threshold, "max_connections", UNLIMITED))
        for name in ("max_pending_requests", "max_requests", "max_retries", "max_connection_pools"):
            if threshold.HasField(name):
                ctx.problem(f"{inner}.{name}", "only max_connections has a meaning per host")
    found: dict[int, Thresholds] = {}
    for threshold in message.thresholds:
        # Envoy takes the first entry of a priority.
        found.setdefault(
            threshold.priority,
            Thresholds(
                max_connections=wrapped(threshold, "max_connections", 1024),
                max_pending_requests=wrapped(threshold, "max_pending_requests", 1024),
                max_requests=wrapped(threshold, "max_requests", 1024),
                max_retries=wrapped(threshold, "max_retries", 3),
                max_connection_pools=wrapped(threshold, "max_connection_pools", UNLIMITED),
                track_remaining=threshold.track_remaining,
                retry_budget=_retry_budget(threshold),
                max_connections_per_host=per_host.get(threshold.priority, UNLIMITED),
            ),
        )
    for priority, most in per_host.items():
        found.setdefault(priority, Thresholds(max_connections_per_host=most))
    return found.get(0, DEFAULT_THRESHOLDS), found.get(1, DEFAULT_THRESHOLDS)


def _bind(message: Any, path: str, ctx: CompileContext) -> BindConfig | None:
    if not message.HasField("upstream_bind_config"):
        return None
    bind = message.upstream_bind_config
    path = f"{path}.upstream_bind_config"
    for name in ("extra_source_addresses", "additional_source_addresses"):
        if len(getattr(bind, name)):
            ctx.problem(f"{path}.{name}", "is not supported")
    if bind.HasField("local_address_selector"):
        ctx.problem(f"{path}.local_address_selector", "is not supported")
    source = None
    if bind.HasField("source_address") and bind.source_address.address:
        ip = ip_literal(bind.source_address.address)
        if ip is None:
            ctx.problem(
                f"{path}.source_address.address", f"malformed IP address: {bind.source_address.address}"
            )
        else:
            source = Address(ip, bind.source_address.port_value)
    options = tuple(
        SocketOptionConfig(
            option.level,
            option.name,
            option.buf_value if option.WhichOneof("value") == "buf_value" else option.int_value,
            option.state,
        )
        for option in bind.socket_options
    )
    return BindConfig(source, bind.freebind.value, options)


#: `UpstreamConnectionOptions.FirstAddressFamilyVersion`.
_FAMILIES: Final = {1: socket.AF_INET, 2: socket.AF_INET6}


def _keepalive(message: Any) -> KeepaliveConfig | None:
    options = message.upstream_connection_options
    if not options.HasField("tcp_keepalive"):
        return None
    keepalive = options.tcp_keepalive
    return KeepaliveConfig(
        probes=wrapped(keepalive, "keepalive_probes", None),
        time=wrapped(keepalive, "keepalive_time", None),
        interval=wrapped(keepalive, "keepalive_interval", None),
    )


def _transport_matches(
    message: Any, protocol: UpstreamProtocol, path: str, ctx: CompileContext
) -> tuple[TransportMatch, ...]:
    names: set[str] = set()
    matches: list[TransportMatch] = []
    for i, one in enumerate(message.transport_socket_matches):
        at = f"{path}.transport_socket_matches[{i}]"
        if one.name in names:
            ctx.problem(f"{at}.name", f"socket match name {one.name!r} is used twice")
        names.add(one.name)
        transports = _transports(one, protocol, f"{at}.transport_socket", ctx)
        matches.append(TransportMatch(one.name, dict(one.match.fields), *transports))
    return tuple(matches)


def _transports(
    message: Any, protocol: UpstreamProtocol, path: str, ctx: CompileContext
) -> tuple[Any, Any, Any, Any]:
    """TLS for connections of HTTP/1 and of HTTP/2 (the same object where they need not differ), and around it.

    What is around it is a `Passthrough` and a `ProxyHeader`. Each is None where it is not asked for.
    """
    tls, path, passthrough, proxy_header = _sockets(message, path, ctx)
    if tls is None:
        if protocol is UpstreamProtocol.AUTO:
            ctx.problem(path, "choosing the protocol by ALPN needs TLS")
        return None, None, passthrough, proxy_header
    # Only clusters with TLS pay for importing it.
    from proxy.connection.tls import compile_upstream_tls

    inner = f"{path}.typed_config"
    match protocol:
        case UpstreamProtocol.HTTP2:
            offers = _HTTP2_ALPN
        case UpstreamProtocol.AUTO:
            offers = _HTTP2_ALPN + _HTTP1_ALPN
        case _:
            offers = _HTTP1_ALPN
    transport = compile_upstream_tls(tls, inner, ctx, offers)
    if protocol is not UpstreamProtocol.DOWNSTREAM or tls.common_tls_context.alpn_protocols:
        return transport, transport, passthrough, proxy_header
    silent = CompileContext(node=ctx.node, secrets=ctx.secrets)
    return transport, compile_upstream_tls(tls, inner, silent, _HTTP2_ALPN), passthrough, proxy_header


def _sockets(message: Any, path: str, ctx: CompileContext) -> tuple[Any, str, Any, Any]:
    """The `UpstreamTlsContext` of a cluster, and where it is; a `Passthrough`, a `ProxyHeader`. Each may be None.

    "Where" is the path of the transport socket that holds the context, which may be inside another.
    """
    nothing = None, path, None, None
    if not message.HasField("transport_socket"):
        return nothing
    socket = message.transport_socket
    if not socket.HasField("typed_config"):
        if socket.name not in {"envoy.transport_sockets.raw_buffer", "raw_buffer"}:
            ctx.problem(path, f"transport socket {socket.name!r} needs a typed_config")
        return nothing
    at = f"{path}.typed_config"
    inner = unpack(socket.typed_config, at, ctx)
    if inner is None:
        return nothing
    match inner.DESCRIPTOR.full_name:
        case name if name == RAW_BUFFER:
            return nothing
        case name if name == UPSTREAM_TLS:
            return inner, path, None, None
        case name if name == INTERNAL_UPSTREAM:
            from proxy.upstream.compile_internal import compile_passthrough  # few clusters need it

            tls, where, _, header = _sockets(inner, f"{at}.transport_socket", ctx)
            return tls, where, compile_passthrough(inner, at, ctx), header
        case name if name == PROXY_PROTOCOL:
            from proxy.upstream.proxy_header import compile_proxy_header  # few clusters need it

            tls, where, passthrough, _ = _sockets(inner, f"{at}.transport_socket", ctx)
            return tls, where, passthrough, compile_proxy_header(inner, at, ctx)
        case name if name == UPSTREAM_STARTTLS:
            from proxy.connection.tls import compile_upstream_tls

            # For its problems only: no filter here starts TLS, so connections stay in clear text.
            compile_upstream_tls(inner.tls_socket_config, f"{at}.tls_socket_config", ctx, _HTTP1_ALPN)
        case name:
            ctx.problem(at, f"{name} is not for upstream use")
    return nothing


def _override_statuses(message: Any) -> frozenset[Health]:
    if not message.HasField("override_host_status"):
        return OVERRIDE_STATUSES
    return frozenset(map(Health, message.override_host_status.statuses))
