"""`envoy.filters.network.local_ratelimit`: closes new connections that come faster than a token bucket fills.

The bucket is that of this worker; filters with the same `share_key` and the same bucket have one together.
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


class LocalRateLimitConfig(Struct, frozen=True):
    """`runtime_key` "" means that `enabled` always holds; `share_key` "" that the bucket is the filter's own."""

    stat_prefix: str
    bucket: TokenBucketConfig
    enabled: bool
    runtime_key: str
    share_key: str


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
    return LocalRateLimitConfig(
        stat_prefix=message.stat_prefix,
        bucket=compile_token_bucket(message.token_bucket, f"{path}.token_bucket", ctx),
        enabled=message.runtime_enabled.default_value.value if gated else True,
        runtime_key=message.runtime_enabled.runtime_key if gated else "",
        share_key=message.share_key,
    )


def _create(
    config: LocalRateLimitConfig, services: WorkerServices, listener: ListenerFacts
) -> LocalRateLimitFilter:
    del listener
    stats = services.stats.shared(LocalRateLimitStats, f"local_rate_limit.{config.stat_prefix}.")
    return LocalRateLimitFilter(config, services, _bucket(config, services), stats)


def _bucket(config: LocalRateLimitConfig, services: WorkerServices) -> TokenBucket:
    now = services.loop.time()
    if not config.share_key:
        return TokenBucket(config.bucket, now)
    key = ("local_ratelimit", config.share_key, config.bucket)
    bucket: TokenBucket = services.shared.setdefault(key, TokenBucket(config.bucket, now))
    return bucket


FACTORY = NetworkFilterFactory(
    name="envoy.filters.network.local_ratelimit",
    type_name="envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit",
    terminal=False,
    compile=_compile,
    create=_create,
)
