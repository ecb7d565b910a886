"""`envoy.filters.listener.local_ratelimit`: closes connections that come faster than a token bucket allows.

Each listener has a bucket of its own, as in Envoy, which all workers draw from.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from msgspec import Struct

from proxy.base.services import WorkerServices
from proxy.base.stats import StatGroup
from proxy.base.stream_info import ConnectionInfo
from proxy.base.token_bucket import TokenBucketConfig
from proxy.config.context import CompileContext
from proxy.config.token_buckets import compile_token_bucket
from proxy.filters.api import ListenerFacts
from proxy.filters.listener.api import Decision, ListenerFilterFactory
from proxy.ratelimit.buckets import bucket_maker, identity_of


class LocalRateLimitConfig(Struct, frozen=True):
    """`runtime_key` "" means that `enabled` always holds; `identity`: see `proxy.ratelimit.buckets`."""

    stat_prefix: str
    bucket: TokenBucketConfig
    enabled: bool
    runtime_key: str
    identity: bytes


class LocalRateLimitStats(StatGroup):
    """`listener_local_ratelimit.<stat_prefix>.*`."""

    COUNTERS: ClassVar[tuple[str, ...]] = ("rate_limited",)

    rate_limited: int


class LocalRateLimitFilter:
    """The filter; see `proxy.filters.listener.api.ListenerFilter`."""

    def __init__(
        self, config: LocalRateLimitConfig, services: WorkerServices, stats: LocalRateLimitStats
    ) -> None:
        self._config = config
        self._runtime = services.runtime
        self._now = services.loop.time
        self._bucket = bucket_maker(services, config.identity)(config.bucket, b"", dynamic=False)
        self._stats = stats

    def accept(self, connection: ConnectionInfo, transport: asyncio.BaseTransport) -> Decision:
        """Take a token, or refuse."""
        del connection, transport
        config = self._config
        enabled = config.enabled
        if config.runtime_key:
            enabled = self._runtime.boolean(config.runtime_key, enabled)
        if not enabled or self._bucket.take(self._now()):
            return Decision.CONTINUE
        self._stats.rate_limited += 1
        return Decision.REJECT


def _compile(message: Any, path: str, ctx: CompileContext) -> LocalRateLimitConfig:
    gated = message.HasField("runtime_enabled")
    return LocalRateLimitConfig(
        stat_prefix=message.stat_prefix,
        bucket=compile_token_bucket(message.token_bucket, f"{path}.token_bucket", ctx),
        enabled=message.runtime_enabled.default_value.value if gated else True,
        runtime_key=message.runtime_enabled.runtime_key if gated else "",
        identity=identity_of(ctx.owner, path, message),
    )


def _create(
    config: LocalRateLimitConfig, services: WorkerServices, listener: ListenerFacts
) -> LocalRateLimitFilter:
    del listener
    stats = services.stats.shared(LocalRateLimitStats, f"listener_local_ratelimit.{config.stat_prefix}.")
    return LocalRateLimitFilter(config, services, stats)


FACTORY = ListenerFilterFactory(
    name="envoy.filters.listener.local_ratelimit",
    type_name="envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit",
    compile=_compile,
    create=_create,
)
