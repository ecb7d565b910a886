"""`envoy.type.v3.TokenBucket` compiled."""

from __future__ import annotations

from typing import Any, Final

from proxy.base.token_bucket import TokenBucketConfig
from proxy.config.context import CompileContext
from proxy.config.durations import seconds

#: The lower bound of Envoy's rate limits for `fill_interval`, seconds.
_SHORTEST_FILL: Final = 0.05


def compile_token_bucket(message: Any, path: str, ctx: CompileContext) -> TokenBucketConfig:
    """The bucket of a local rate limit; a problem if it fills in less than 50 ms. One of no tokens never does."""
    per_fill = message.tokens_per_fill.value if message.HasField("tokens_per_fill") else 1
    if per_fill < 1:
        ctx.problem(f"{path}.tokens_per_fill", "value must be greater than 0")
    interval = seconds(message, "fill_interval", 0.0)
    if interval < _SHORTEST_FILL:
        if message.max_tokens:
            ctx.problem(f"{path}.fill_interval", "local rate limit token bucket fill timer must be >= 50ms")
        interval = _SHORTEST_FILL
    return TokenBucketConfig(message.max_tokens, per_fill, interval)
