"""Clusters whose hosts depend on the stream: ORIGINAL_DST and the extensions that work alike."""

from __future__ import annotations

from typing import Any, Final

from proxy.config.context import CompileContext
from proxy.config.durations import seconds
from proxy.upstream.cluster_config import AggregateConfig, OriginalDstConfig
from proxy.upstream.compile_lb import asks_for_provided
from proxy.upstream.fields import wrapped

AGGREGATE: Final = "envoy.extensions.clusters.aggregate.v3.ClusterConfig"
DYNAMIC_FORWARD_PROXY: Final = "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig"
KINDS: Final = frozenset({AGGREGATE, DYNAMIC_FORWARD_PROXY})

_DEFAULT_HEADER: Final = "x-envoy-original-dst-host"


def compile_kind(message: Any, extension: Any, path: str, ctx: CompileContext) -> Any:
    """The `ClusterConfig.kind` of a cluster; `extension` is the message of its type, None for ORIGINAL_DST."""
    _check_policy(message, extension, path, ctx)
    if extension is None:
        return _original_dst(message, path, ctx)
    if extension.DESCRIPTOR.full_name == DYNAMIC_FORWARD_PROXY:
        return _dynamic_forward_proxy(message, extension, f"{path}.cluster_type.typed_config", ctx)
    if not extension.clusters:
        ctx.problem(f"{path}.cluster_type.typed_config.clusters", "value must contain at least 1 item(s)")
    return AggregateConfig(tuple(extension.clusters))


def check_names(extension: Any, names: Any, path: str, ctx: CompileContext) -> None:
    """Refuse a cluster whose hosts clients choose, unless the hosts' names are checked; `names` is an `AutoSni`."""
    if extension is None or extension.DESCRIPTOR.full_name != DYNAMIC_FORWARD_PROXY:
        return
    checked = names is not None and names.sni and names.san
    if not (checked or extension.allow_insecure_cluster_options):
        ctx.problem(
            path,
            "dynamic_forward_proxy cluster must have auto_sni and auto_san_validation true unless "
            "allow_insecure_cluster_options is set.",
        )


def with_default_names(message: Any, extension: Any) -> Any:
    """The cluster, with what holds for the names of hosts that clients choose where it says nothing about them."""
    if (
        extension is None
        or extension.DESCRIPTOR.full_name != DYNAMIC_FORWARD_PROXY
        or message.HasField("upstream_http_protocol_options")
    ):
        return message
    result = type(message)()
    result.CopyFrom(message)
    result.upstream_http_protocol_options.auto_sni = True
    result.upstream_http_protocol_options.auto_san_validation = True
    return result


def _check_policy(message: Any, extension: Any, path: str, ctx: CompileContext) -> None:
    provided = asks_for_provided(message)
    if message.HasField("load_balancing_policy") and not provided:
        ctx.problem(f"{path}.load_balancing_policy", "a cluster of this type brings its own load balancer")
        return
    if provided and extension is not None:
        # With ORIGINAL_DST, Envoy insists on `lb_policy` nevertheless.
        return
    policies = message.DESCRIPTOR.enum_types_by_name["LbPolicy"].values_by_number
    policy = policies[message.lb_policy].name
    if policy != "CLUSTER_PROVIDED":
        kind = "ORIGINAL_DST" if extension is None else message.cluster_type.name
        ctx.problem(
            f"{path}.lb_policy",
            f"LB policy {policy} is not valid for Cluster type {kind}. Only 'CLUSTER_PROVIDED' is allowed with "
            f"cluster type '{kind}'",
        )


def _dynamic_forward_proxy(message: Any, extension: Any, path: str, ctx: CompileContext) -> Any:
    from proxy.upstream.dns_cache.config import (  # few configs have one
        DynamicForwardProxyConfig,
        compile_dns_cache,
    )

    if not extension.HasField("dns_cache_config"):
        ctx.problem(f"{path}.dns_cache_config", "a dynamic_forward_proxy cluster needs a DNS cache")
    return DynamicForwardProxyConfig(
        compile_dns_cache(extension.dns_cache_config, f"{path}.dns_cache_config", ctx),
        message.cluster_type.name == "envoy.clusters.dynamic_forward_proxy",
    )


def _original_dst(message: Any, path: str, ctx: CompileContext) -> OriginalDstConfig:
    if message.HasField("load_assignment"):
        reason = "ORIGINAL_DST clusters must have no load assignment configured"
        ctx.problem(f"{path}.load_assignment", reason)
    config = message.original_dst_lb_config
    header = ""
    if config.use_http_header:
        header = config.http_header_name.lower() or _DEFAULT_HEADER
    elif config.http_header_name:
        ctx.problem(
            f"{path}.original_dst_lb_config.http_header_name",
            "set use_http_header to true if http_header_name is desired",
        )
    metadata: tuple[str, ...] = ()
    if config.HasField("metadata_key"):
        metadata = (config.metadata_key.key, *(segment.key for segment in config.metadata_key.path))
    return OriginalDstConfig(
        header,
        metadata,
        wrapped(config, "upstream_port_override", None),
        seconds(message, "cleanup_interval", 5.0),
    )
