"""How a DNS cluster resolves: the fields of `Cluster` and of the newer `DnsCluster` extension."""

from __future__ import annotations

from typing import Any, Final

from proxy.base.address import Address
from proxy.config.any_unpack import unpack
from proxy.config.context import CompileContext
from proxy.config.durations import seconds
from proxy.config.extensions import type_name_of
from proxy.upstream.cluster_config import DnsConfig, DnsFamily
from proxy.upstream.compile_endpoints import ip_literal
from proxy.upstream.fields import wrapped

_CARES: Final = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
_GETADDRINFO: Final = "envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig"
_MAX_BACKOFF_FACTOR: Final = 10  # Envoy: max_interval defaults to ten times base_interval


def compile_dns(message: Any, extension: Any, path: str, ctx: CompileContext) -> DnsConfig:
    """The resolution settings of a cluster; `extension` is its `DnsCluster` or None."""
    source = message if extension is None else extension
    if extension is not None:
        path = f"{path}.cluster_type.typed_config"
    refresh = seconds(source, "dns_refresh_rate", 5.0)
    if refresh < 0.001:
        ctx.problem(f"{path}.dns_refresh_rate", "value must be greater than 1ms")
    base, longest = failure_intervals(source, refresh, path, ctx)
    return DnsConfig(
        refresh_rate=refresh,
        failure_base=base,
        failure_max=longest,
        respect_ttl=source.respect_dns_ttl,
        jitter=seconds(source, "dns_jitter", 0.0),
        family=_family(source, extension is not None),
        **compile_resolver(message, source, path, ctx),
    )


def failure_intervals(source: Any, refresh: float, path: str, ctx: CompileContext) -> tuple[float, float]:
    """The shortest and longest seconds of `dns_failure_refresh_rate`; zeros where it is not set."""
    if not source.HasField("dns_failure_refresh_rate"):
        return 0.0, 0.0
    base = seconds(source.dns_failure_refresh_rate, "base_interval", refresh)
    longest = seconds(source.dns_failure_refresh_rate, "max_interval", base * _MAX_BACKOFF_FACTOR)
    if longest < base:
        ctx.problem(
            f"{path}.dns_failure_refresh_rate",
            "dns_failure_refresh_rate must have max_interval greater than or equal to the base_interval",
        )
    return base, longest


def _family(source: Any, is_extension: bool) -> DnsFamily:
    number: int = source.dns_lookup_family
    if is_extension:
        number -= 1  # the extension's enum begins with UNSPECIFIED, which means AUTO
    return list(DnsFamily)[max(number, 0)]


def compile_resolver(message: Any, source: Any, path: str, ctx: CompileContext) -> dict[str, Any]:
    """The fields of `DnsConfig` that say which servers are asked, and how.

    `source` has `typed_dns_resolver_config`; `message` has the older spellings.
    """
    if source.typed_dns_resolver_config.typed_config.type_url:
        typed = source.typed_dns_resolver_config.typed_config
        return _typed_resolver(typed, f"{path}.typed_dns_resolver_config.typed_config", ctx)
    if message.HasField("dns_resolution_config"):
        config = message.dns_resolution_config
        resolvers = _addresses(config.resolvers, f"{path}.dns_resolution_config.resolvers", ctx)
        return {"resolvers": resolvers, **_options(config.dns_resolver_options)}
    # A DNS cache has no such list.
    resolvers = getattr(message, "dns_resolvers", ())
    return {
        "resolvers": _addresses(resolvers, f"{path}.dns_resolvers", ctx),
        "use_tcp": message.use_tcp_for_dns_lookups,
    }


def _typed_resolver(typed: Any, path: str, ctx: CompileContext) -> dict[str, Any]:
    name = type_name_of(typed.type_url)
    if name == _GETADDRINFO:
        return {}
    if name != _CARES:
        ctx.problem(path, f"DNS resolver {name!r} is not supported; {_CARES} and {_GETADDRINFO} are")
        return {}
    config = unpack(typed, path, ctx)
    if config is None:
        return {}
    return {
        "resolvers": _addresses(config.resolvers, f"{path}.resolvers", ctx),
        "resolvers_as_fallback": config.use_resolvers_as_fallback,
        "query_timeout": float(wrapped(config, "query_timeout_seconds", 5)),
        "query_tries": wrapped(config, "query_tries", 4),
        **_options(config.dns_resolver_options),
    }


def _options(options: Any) -> dict[str, bool]:
    return {
        "use_tcp": options.use_tcp_for_dns_lookups,
        "use_search_domains": not options.no_default_search_domain,
    }


def _addresses(messages: Any, path: str, ctx: CompileContext) -> tuple[Address, ...]:
    result: list[Address] = []
    for index, message in enumerate(messages):
        if message.WhichOneof("address") != "socket_address":
            ctx.problem(f"{path}[{index}]", "a resolver needs a socket_address")
            continue
        ip = ip_literal(message.socket_address.address)
        if ip is None:
            ctx.problem(
                f"{path}[{index}].socket_address.address",
                f"malformed IP address: {message.socket_address.address}",
            )
            continue
        result.append(Address(ip, message.socket_address.port_value or 53))
    return tuple(result)
