"""`envoy.filters.network.local_ratelimit`: closes new connections that come faster than a token bucket fills.

All workers draw from the same bucket; filters with the same `share_key` and the same bucket have one together.
"""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec import Struct

from proxy.base.response_flags import ResponseFlag
from proxy.base.services import WorkerServices
from proxy.base.stats import StatGroup
from proxy.base.stream_info import ConnectionInfo
from proxy.base.token_bucket import TokenBucket, TokenBucketConfig
from proxy.config.context import CompileContext
from proxy.config.token_buckets import compile_token_bucket
from proxy.filters.api import ListenerFacts, NetworkFilterFactory
from proxy.ratelimit.buckets import bucket_maker, identity_of, shared_identity


class LocalRateLimitConfig(Struct, frozen=True):
    """`runtime_key` "" means that `enabled` always holds; `share_key` "" that the bucket is the filter's own.

    `identity` tells the bucket apart in all workers, see `proxy.ratelimit.buckets`.
    """

    stat_prefix: str
    bucket: TokenBucketConfig
    enabled: bool
    runtime_key: str
    share_key: str
    identity: bytes


class LocalRateLimitStats(StatGroup):
    """`local_rate_limit.<stat_prefix>.*`."""

    COUNTERS: ClassVar[tuple[str, ...]] = ("rate_limited",)

    rate_limited: int


class LocalRateLimitFilter:
    """The gate; see `proxy.filters.api.ConnectionGate`."""

    reject_delay = 0.0

    def __init__(
        self,
        config: LocalRateLimitConfig,
        services: WorkerServices,
        bucket: TokenBucket,
        stats: LocalRateLimitStats,
    ) -> None:
        self._config = config
        self._runtime = services.runtime
        self._now = services.loop.time
        self._bucket = bucket
        self._stats = stats

    def on_new_connection(self, connection: ConnectionInfo) -> bool:
        """Take a token; False if there is none."""
        config = self._config
        enabled = config.enabled
        if config.runtime_key:
            enabled = self._runtime.boolean(config.runtime_key, enabled)
        if not enabled or self._bucket.take(self._now()):
            return True
        self._stats.rate_limited += 1
        connection.response_flags |= ResponseFlag.UPSTREAM_RETRY_LIMIT_EXCEEDED
        connection.local_close_reason = "local_ratelimit_close_over_limit"
        return False


def _compile(message: Any, path: str, ctx: CompileContext) -> LocalRateLimitConfig:
    if not message.stat_prefix:
        ctx.problem(f"{path}.stat_prefix", "value length must be at least 1 characters")
    gated = message.HasField("runtime_enabled")
    bucket = compile_token_bucket(message.token_bucket, f"{path}.token_bucket", ctx)
    key = message.share_key
    return LocalRateLimitConfig(
        stat_prefix=message.stat_prefix,
        bucket=bucket,
        enabled=message.runtime_enabled.default_value.value if gated else True,
        runtime_key=message.runtime_enabled.runtime_key if gated else "",
        share_key=key,
        identity=shared_identity(FACTORY.name, key, bucket) if key else identity_of(ctx.owner, path, message),
    )


def _create(
    config: LocalRateLimitConfig, services: WorkerServices, listener: ListenerFacts
) -> LocalRateLimitFilter:
    del listener
    stats = services.stats.shared(LocalRateLimitStats, f"local_rate_limit.{config.stat_prefix}.")
    return LocalRateLimitFilter(config, services, _bucket(config, services), stats)


def _bucket(config: LocalRateLimitConfig, services: WorkerServices) -> TokenBucket:
    key = ("local_ratelimit", config.share_key, config.bucket)
    known: TokenBucket | None = services.shared.get(key) if config.share_key else None
    if known is not None:
        return known
    bucket = bucket_maker(services, config.identity)(config.bucket, b"", dynamic=False)
    if config.share_key:
        services.shared[key] = bucket
    return bucket


FACTORY = NetworkFilterFactory(
    name="envoy.filters.network.local_ratelimit",
    type_name="envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit",
    terminal=False,
    compile=_compile,
    create=_create,
)
