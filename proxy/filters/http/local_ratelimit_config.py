"""`LocalRateLimit` compiled: of the filter, and of a route in its place.

Source: envoy.extensions.filters.http.local_ratelimit.v3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from envoy.extensions.common.ratelimit.v3 import ratelimit_pb2
from msgspec import Struct

from proxy.base.matchers import Draw, compile_runtime_fraction
from proxy.base.token_bucket import TokenBucketConfig
from proxy.codec.grpc import GrpcStatus
from proxy.config.context import CompileContext
from proxy.config.token_buckets import compile_token_bucket
from proxy.formatter.header_ops import HeaderOps, compile_header_ops
from proxy.formatter.wire import to_wire
from proxy.ratelimit.actions import Selection, compile_filter_rate_limits
from proxy.ratelimit.buckets import identity_of
from proxy.ratelimit.descriptors import Entries
from proxy.ratelimit.local import LocalLimits, LocalRateLimiter

_TOO_MANY_REQUESTS: Final = 429
_MAX_DYNAMIC: Final = 20


class LocalRateLimitConfig(Struct):
    """One compiled `LocalRateLimit`.

    `enabled` and `enforced` None mean never, as in Envoy. `limiter` is that of the worker, made at the first
    request, and None where the limits are those of each connection; `stats` are made with it.
    `selection` is None where there are no descriptors that a request could be counted as.
    """

    stat_prefix: str
    status: int
    grpc_status: int | None
    limits: LocalLimits
    enabled: Callable[[Draw], bool] | None
    enforced: Callable[[Draw], bool] | None
    request_ops: HeaderOps | None
    response_ops: HeaderOps | None
    per_connection: bool
    tells_limits: bool
    selection: Selection | None
    limiter: LocalRateLimiter | None = None
    stats: Any = None

    @property
    def idle(self) -> bool:
        """Whether it lets every request pass without counting it."""
        return self.enabled is None


def compile_local_ratelimit(message: Any, path: str, context: CompileContext) -> LocalRateLimitConfig:
    """That of the filter. Without a `token_bucket`, what no descriptor matches is not limited."""
    return _compile(message, path, context)


def compile_route_ratelimit(message: Any, path: str, context: CompileContext) -> LocalRateLimitConfig:
    """That of a route, which must have a bucket."""
    if not message.HasField("token_bucket"):
        context.problem(
            f"{path}.token_bucket", "local rate limit token bucket must be set for per filter configs"
        )
    return _compile(message, path, context)


def _compile(message: Any, path: str, context: CompileContext) -> LocalRateLimitConfig:
    code = message.status.code
    exhausted = message.rate_limited_as_resource_exhausted
    return LocalRateLimitConfig(
        message.stat_prefix,
        code if code >= 400 else _TOO_MANY_REQUESTS,
        GrpcStatus.RESOURCE_EXHAUSTED if exhausted else None,
        _limits(message, path, context),
        _fraction(message, "filter_enabled", context),
        _fraction(message, "filter_enforced", context),
        compile_header_ops(
            message.request_headers_to_add_when_not_enforced,
            (),
            path,
            context,
            request=True,
            added="request_headers_to_add_when_not_enforced",
        ),
        compile_header_ops(message.response_headers_to_add, (), path, context, request=False),
        message.local_rate_limit_per_downstream_connection,
        message.enable_x_ratelimit_headers == ratelimit_pb2.DRAFT_VERSION_03,
        _selection(message, path, context),
    )


def _selection(message: Any, path: str, context: CompileContext) -> Selection | None:
    own = compile_filter_rate_limits(message.rate_limits, f"{path}.rate_limits", context)
    return Selection(own, message.stage, message.vh_rate_limits) if message.descriptors else None


def _fraction(message: Any, field: str, context: CompileContext) -> Callable[[Draw], bool] | None:
    if not message.HasField(field):
        return None
    return compile_runtime_fraction(getattr(message, field), context.runtime)


def _limits(message: Any, path: str, context: CompileContext) -> LocalLimits:
    default = None
    if message.HasField("token_bucket"):
        default = compile_token_bucket(message.token_bucket, f"{path}.token_bucket", context)
    exact: dict[Entries, TokenBucketConfig] = {}
    wildcards: dict[Entries, TokenBucketConfig] = {}
    for index, descriptor in enumerate(message.descriptors):
        where = f"{path}.descriptors[{index}]"
        entries = tuple((to_wire(entry.key), to_wire(entry.value)) for entry in descriptor.entries)
        bucket = compile_token_bucket(descriptor.token_bucket, f"{where}.token_bucket", context)
        kind = exact if all(value for _, value in entries) else wildcards
        if entries in kind:
            told = ", ".join(f"{key}={value}" for key, value in entries)
            context.problem(where, f"duplicate descriptor in the local rate descriptor: {told}")
        kind[entries] = bucket
    limited = message.HasField("max_dynamic_descriptors")
    always = message.always_consume_default_token_bucket
    return LocalLimits(
        default,
        exact,
        tuple(wildcards.items()),
        message.max_dynamic_descriptors.value if limited else _MAX_DYNAMIC,
        always.value if message.HasField("always_consume_default_token_bucket") else True,
        identity_of(context.owner, path, message),
    )
