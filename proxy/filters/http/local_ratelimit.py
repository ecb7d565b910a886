"""`envoy.filters.http.local_ratelimit`: answers requests that come faster than token buckets fill.

Source: envoy.extensions.filters.http.local_ratelimit.v3 and Envoy's documentation of the filter. The config of
the most specific level of the route counts, as a whole, with buckets of its own. All workers draw from the same
buckets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.response_flags import ResponseFlag
from proxy.base.services import WorkerServices
from proxy.base.stats import StatGroup
from proxy.base.token_bucket import TokenBucket
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks
from proxy.filters.http.local_ratelimit_config import (
    LocalRateLimitConfig,
    compile_local_ratelimit,
    compile_route_ratelimit,
)
from proxy.ratelimit.local import LocalRateLimiter, bucket_maker, own_buckets


class LocalRateLimitStats(StatGroup):
    """`<stat_prefix>.http_local_rate_limit.*`."""

    COUNTERS: ClassVar[tuple[str, ...]] = ("enabled", "enforced", "ok", "rate_limited")

    enabled: int
    enforced: int
    ok: int
    rate_limited: int


class LocalRateLimitFilter(HttpFilter):
    """One request."""

    def __init__(
        self, callbacks: StreamCallbacks, config: LocalRateLimitConfig, services: WorkerServices
    ) -> None:
        super().__init__(callbacks)
        self._config = config
        self._services = services
        #: What the client is told of; None before a bucket was asked.
        self._bucket: TokenBucket | None = None

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        self._config = config = self.callbacks.route_config(self.name) or self._config
        services = self._services
        if config.enabled is None or not config.enabled(services.random):
            return FilterStatus.CONTINUE
        stats = _stats(config, services)
        stats.enabled += 1
        selection = config.selection
        descriptors = () if selection is None else selection.descriptors(head, self.callbacks)
        allowed, self._bucket = self._limiter(config).decide(descriptors, services.loop.time())
        if allowed:
            stats.ok += 1
            return FilterStatus.CONTINUE
        stats.rate_limited += 1
        if config.enforced is None or not config.enforced(services.random):
            if config.request_ops is not None:
                config.request_ops.apply(head, self.callbacks.info)
            return FilterStatus.CONTINUE
        stats.enforced += 1
        self.callbacks.local_reply(
            config.status,
            "local_rate_limited",
            "local_rate_limited",
            ResponseFlag.RATE_LIMITED,
            modify=self._add_fields if config.response_ops is not None else None,
            grpc_status=config.grpc_status,
        )
        return FilterStatus.STOP

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        bucket = self._bucket
        if bucket is not None and self._config.tells_limits:
            now = self._services.loop.time()
            head.headers.add("x-ratelimit-limit", str(bucket.max_tokens))
            head.headers.add("x-ratelimit-remaining", str(bucket.remaining(now)))
            head.headers.add("x-ratelimit-reset", str(bucket.reset_seconds(now)))
        return FilterStatus.CONTINUE

    def _add_fields(self, headers: HeaderMap) -> None:
        config, info = self._config, self.callbacks.info
        assert config.response_ops is not None
        # Envoy renders them before the stream has a response code.
        code, info.response_code = info.response_code, 0
        config.response_ops.apply(ResponseHead(config.status, headers), info)
        info.response_code = code

    def _limiter(self, config: LocalRateLimitConfig) -> LocalRateLimiter:
        if not config.per_connection:
            return _limiter(config, self._services)
        # As in Envoy: the first config that asks for one decides what the limits of the connection are.
        connection = self.callbacks.info.connection
        limiter: LocalRateLimiter | None = connection.rate_limiter
        if limiter is None:
            limiter = LocalRateLimiter(config.limits, own_buckets(self._services))
            connection.rate_limiter = limiter
        return limiter


def _limiter(config: LocalRateLimitConfig, services: WorkerServices) -> LocalRateLimiter:
    if config.limiter is None:
        config.limiter = LocalRateLimiter(config.limits, bucket_maker(services, config.limits.identity))
    return config.limiter


def _stats(config: LocalRateLimitConfig, services: WorkerServices) -> LocalRateLimitStats:
    stats: LocalRateLimitStats | None = config.stats
    if stats is None:
        prefix = f"{config.stat_prefix}.http_local_rate_limit."
        stats = config.stats = services.stats.shared(LocalRateLimitStats, prefix)
    return stats


def _create(
    config: LocalRateLimitConfig,
    services: WorkerServices,
    stat_prefix: str,  # noqa: ARG001
) -> Callable[[StreamCallbacks], HttpFilter]:
    _stats(config, services)
    return lambda callbacks: LocalRateLimitFilter(callbacks, config, services)


FACTORY = HttpFilterFactory(
    name="envoy.filters.http.local_ratelimit",
    type_name="envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
    terminal=False,
    compile=compile_local_ratelimit,
    create=_create,
    compile_route=compile_route_ratelimit,
    idle=lambda config: config.idle,
)
