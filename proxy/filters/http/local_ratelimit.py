"""`envoy.filters.http.local_ratelimit`: answers requests that come faster than token buckets fill.

Source: envoy.extensions.filters.http.local_ratelimit.v3 and Envoy's documentation of the filter. The config of
the most specific level of the route counts, as a whole, with buckets of its own. All workers draw from the same
buckets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

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
from proxy.ratelimit.buckets import bucket_maker, own_buckets
from proxy.ratelimit.local import LocalRateLimiter


class LocalRateLimitStats(StatGroup):
    """`<stat_prefix>.http_local_rate_limit.*`."""

    COUNTERS: ClassVar[tuple[str, ...]] = ("enabled", "enforced", "ok", "rate_limited")

    enabled: int
    enforced: int
    ok: int
    rate_limited: int


class Decision(NamedTuple):
    """What has become of a request: `bucket` is the one to tell clients of, None if none was asked."""

    config: LocalRateLimitConfig
    allowed: bool
    bucket: TokenBucket | None

    @property
    def told(self) -> bool:
        """Whether the client is told of the bucket."""
        return self.bucket is not None and self.config.tells_limits

    def tell(self, headers: HeaderMap, now: float) -> None:
        """Add to a response what its client is told."""
        bucket = self.bucket
        if bucket is not None and self.config.tells_limits:
            headers.add("x-ratelimit-limit", str(bucket.max_tokens))
            headers.add("x-ratelimit-remaining", str(bucket.remaining(now)))
            headers.add("x-ratelimit-reset", str(bucket.reset_seconds(now)))


class LocalRateLimitFilter(HttpFilter):
    """One request, which may have been decided about."""

    def __init__(
        self, callbacks: StreamCallbacks, limits: LocalRateLimits, decision: Decision | None = None
    ) -> None:
        super().__init__(callbacks)
        self._limits = limits
        self._decision = decision

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        decision = self._decision
        if decision is None:
            decision = self._decision = self._limits.decide(head, self.callbacks, self.name)
        if decision.allowed:
            return FilterStatus.CONTINUE
        config = decision.config
        stats = self._limits.stats(config)
        if config.enforced is None or not config.enforced(self._limits.services.random):
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
        if self._decision is not None:
            self._decision.tell(head.headers, self._limits.services.loop.time())
        return FilterStatus.CONTINUE

    def _add_fields(self, headers: HeaderMap) -> None:
        assert self._decision is not None
        config, info = self._decision.config, self.callbacks.info
        assert config.response_ops is not None
        # Envoy renders them before the stream has a response code.
        code, info.response_code = info.response_code, 0
        config.response_ops.apply(ResponseHead(config.status, headers), info)
        info.response_code = code


class TellingFilter(HttpFilter):
    """Of a request that was let pass: tells the client what is left."""

    leaves_requests = True

    def __init__(self, callbacks: StreamCallbacks, decision: Decision, services: WorkerServices) -> None:
        super().__init__(callbacks)
        self._decision = decision
        self._now = services.loop.time

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        self._decision.tell(head.headers, self._now())
        return FilterStatus.CONTINUE


class LocalRateLimits:
    """Decides for the filters of one configuration; a `GatedMaker`."""

    def __init__(self, config: LocalRateLimitConfig, services: WorkerServices) -> None:
        self._config = config
        self.services = services
        self.stats(config)

    def __call__(self, callbacks: StreamCallbacks) -> HttpFilter:
        """See `GatedMaker`."""
        return LocalRateLimitFilter(callbacks, self)

    def gate(self, callbacks: StreamCallbacks, name: str) -> Callable[[StreamCallbacks], HttpFilter] | None:
        """See `GatedMaker`."""
        head = callbacks.info.request
        assert head is not None
        decision = self.decide(head, callbacks, name)
        if decision.allowed and not decision.told:
            return None
        if decision.allowed:
            return lambda callbacks: TellingFilter(callbacks, decision, self.services)
        return lambda callbacks: LocalRateLimitFilter(callbacks, self, decision)

    def decide(self, head: RequestHead, callbacks: StreamCallbacks, name: str) -> Decision:
        """Draw from the buckets of a request, and count what comes of it."""
        config: LocalRateLimitConfig = callbacks.route_config(name) or self._config
        services = self.services
        if config.enabled is None or not config.enabled(services.random):
            return Decision(config, True, None)
        stats = self.stats(config)
        stats.enabled += 1
        selection = config.selection
        descriptors = () if selection is None else selection.descriptors(head, callbacks)
        limiter = self._limiter(config, callbacks)
        allowed, bucket = limiter.decide(descriptors, services.loop.time())
        if allowed:
            stats.ok += 1
        else:
            stats.rate_limited += 1
        return Decision(config, allowed, bucket)

    def stats(self, config: LocalRateLimitConfig) -> LocalRateLimitStats:
        """The numbers of the filter's config, or of a route's."""
        stats: LocalRateLimitStats | None = config.stats
        if stats is None:
            prefix = f"{config.stat_prefix}.http_local_rate_limit."
            stats = config.stats = self.services.stats.shared(LocalRateLimitStats, prefix)
        return stats

    def _limiter(self, config: LocalRateLimitConfig, callbacks: StreamCallbacks) -> LocalRateLimiter:
        services = self.services
        if not config.per_connection:
            if config.limiter is None:
                make = bucket_maker(services, config.limits.identity)
                config.limiter = LocalRateLimiter(config.limits, make)
            return config.limiter
        # As in Envoy: the first config that asks for one decides what the limits of the connection are.
        connection = callbacks.info.connection
        limiter: LocalRateLimiter | None = connection.rate_limiter
        if limiter is None:
            limiter = connection.rate_limiter = LocalRateLimiter(config.limits, own_buckets(services))
        return limiter


def _create(
    config: LocalRateLimitConfig,
    services: WorkerServices,
    stat_prefix: str,  # noqa: ARG001
) -> LocalRateLimits:
    return LocalRateLimits(config, services)


FACTORY = HttpFilterFactory(
    name="envoy.filters.http.local_ratelimit",
    type_name="envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
    terminal=False,
    compile=compile_local_ratelimit,
    create=_create,
    compile_route=compile_route_ratelimit,
    idle=lambda config: config.idle,
)
