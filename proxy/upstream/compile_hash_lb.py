"""The terms of RING_HASH and MAGLEV, as cluster fields and as extensions."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from proxy.config.context import CompileContext
from proxy.router.hash_policy import compile_hash_policy
from proxy.upstream.fields import wrapped
from proxy.upstream.lb.api import HashingConfig, LbPolicy

_RING_MINIMUM: Final = 1024
_RING_MAXIMUM: Final = 8 * 1024 * 1024
_MURMUR_LEGACY: Final = 1  # Cluster.RingHashLbConfig.MURMUR_HASH_2
_MURMUR: Final = 2  # RingHash.MURMUR_HASH_2


def compile_legacy_hashing(message: Any, policy: LbPolicy, path: str, ctx: CompileContext) -> HashingConfig:
    """Of a `Cluster`: `ring_hash_lb_config` or `maglev_lb_config`, and `consistent_hashing_lb_config`."""
    common = message.common_lb_config.consistent_hashing_lb_config
    factor = wrapped(common, "hash_balance_factor", 0)
    if policy is LbPolicy.MAGLEV:
        inner, at = message.maglev_lb_config, f"{path}.maglev_lb_config"
        return _maglev(inner, common.use_hostname_for_hashing, factor, at, ctx)
    inner, at = message.ring_hash_lb_config, f"{path}.ring_hash_lb_config"
    murmur = inner.hash_function == _MURMUR_LEGACY
    return _ring(inner, murmur, common.use_hostname_for_hashing, factor, at, ctx)


def compile_hashing(config: Any, policy: LbPolicy, path: str, ctx: CompileContext) -> HashingConfig:
    """Of a `RingHash` or `Maglev` extension."""
    common = config.consistent_hashing_lb_config
    at = f"{path}.consistent_hashing_lb_config.hash_policy"
    own = compile_hash_policy(common.hash_policy, at, ctx)
    hostname = common.use_hostname_for_hashing
    factor = wrapped(common, "hash_balance_factor", 0)
    if policy is LbPolicy.MAGLEV:
        return replace(_maglev(config, hostname, factor, path, ctx), policy=own)
    if not config.HasField("consistent_hashing_lb_config"):
        hostname = config.use_hostname_for_hashing
        factor = wrapped(config, "hash_balance_factor", 0)
    ring = _ring(config, config.hash_function == _MURMUR, hostname, factor, path, ctx)
    return replace(ring, policy=own)


def _ring(
    config: Any, murmur: bool, hostname: bool, factor: int, path: str, ctx: CompileContext
) -> HashingConfig:
    least = wrapped(config, "minimum_ring_size", _RING_MINIMUM)
    most = wrapped(config, "maximum_ring_size", _RING_MAXIMUM)
    if least > most:
        ctx.problem(
            f"{path}.minimum_ring_size",
            f"ring hash: minimum_ring_size ({least}) > maximum_ring_size ({most})",
        )
    return HashingConfig(murmur, max(least, 1), max(most, 1), use_hostname=hostname, balance_factor=factor)


def _maglev(config: Any, hostname: bool, factor: int, path: str, ctx: CompileContext) -> HashingConfig:
    size = wrapped(config, "table_size", 65537)
    if size < 2 or not _is_prime(size):
        ctx.problem(f"{path}.table_size", "The table size of maglev must be prime number")
        size = 65537
    return HashingConfig(table_size=size, use_hostname=hostname, balance_factor=factor)


def _is_prime(number: int) -> bool:
    return all(number % divisor for divisor in range(2, int(number**0.5) + 1))
