"""What a `DnsCacheConfig` says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from msgspec import Struct

from proxy.config.context import CompileContext
from proxy.config.durations import seconds
from proxy.upstream.cluster_config import DnsConfig, DnsFamily
from proxy.upstream.compile_dns import compile_resolver, failure_intervals
from proxy.upstream.fields import wrapped

# The proto gives these defaults.
_REFRESH_RATE: Final = 60.0
_MIN_REFRESH_RATE: Final = 5.0
_HOST_TTL: Final = 300.0
_MAX_HOSTS: Final = 1024
_QUERY_TIMEOUT: Final = 5.0
_MAX_PENDING: Final = 1024


@dataclass(frozen=True, slots=True)
class DnsCacheConfig:
    """One cache. Seconds throughout; `query_timeout` 0.0 means none of its own.

    `dns.refresh_rate` holds where an answer has no time to live. `preresolve` are names with their ports.
    """

    name: str
    dns: DnsConfig = field(default_factory=lambda: DnsConfig(refresh_rate=_REFRESH_RATE))
    min_refresh_rate: float = _MIN_REFRESH_RATE
    host_ttl: float = _HOST_TTL
    max_hosts: int = _MAX_HOSTS
    query_timeout: float = _QUERY_TIMEOUT
    max_pending_requests: int = _MAX_PENDING
    preresolve: tuple[tuple[str, int], ...] = ()
    #: The message, for the process that resolves.
    serialized: bytes = field(default=b"", compare=False, repr=False)


class DynamicForwardProxyConfig(Struct, frozen=True):
    """The `ClusterConfig.kind` of a cluster whose hosts are those of a DNS cache.

    `named` is whether its `cluster_type` has the name by which the HTTP filter knows such clusters.
    """

    cache: DnsCacheConfig
    named: bool


def compile_dns_cache(message: Any, path: str, ctx: CompileContext) -> DnsCacheConfig:
    """Compile an `envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheConfig`.

    All that name one cache must say the same of it.
    """
    serialized: bytes = message.SerializeToString(deterministic=True)
    if ctx.dns_caches.setdefault(message.name, serialized) != serialized:
        ctx.problem(path, f"config specified DNS cache '{message.name}' with different settings")
    refresh = seconds(message, "dns_refresh_rate", _REFRESH_RATE)
    base, longest = failure_intervals(message, refresh, path, ctx)
    families = message.DESCRIPTOR.fields_by_name["dns_lookup_family"].enum_type.values_by_number
    dns = DnsConfig(
        refresh_rate=refresh,
        failure_base=base,
        failure_max=longest,
        respect_ttl=True,
        family=DnsFamily(families[message.dns_lookup_family].name),
        **compile_resolver(message, message, path, ctx),
    )
    preresolve = tuple((one.address, one.port_value) for one in message.preresolve_hostnames)
    max_hosts = wrapped(message, "max_hosts", _MAX_HOSTS)
    if len(preresolve) > max_hosts:
        ctx.problem(
            f"{path}.preresolve_hostnames",
            f"DNS Cache [{message.name}] configured with preresolve_hostnames={len(preresolve)} larger than "
            f"max_hosts={max_hosts}",
        )
    return DnsCacheConfig(
        name=message.name,
        dns=dns,
        min_refresh_rate=seconds(message, "dns_min_refresh_rate", _MIN_REFRESH_RATE),
        host_ttl=seconds(message, "host_ttl", _HOST_TTL),
        max_hosts=max_hosts,
        query_timeout=seconds(message, "dns_query_timeout", _QUERY_TIMEOUT),
        max_pending_requests=wrapped(message.dns_cache_circuit_breaker, "max_pending_requests", _MAX_PENDING),
        preresolve=preresolve,
        serialized=serialized,
    )
