"""A token bucket that fills evenly, as Envoy's: a part of an interval brings its part of the tokens."""

from __future__ import annotations

from msgspec import Struct


class TokenBucketConfig(Struct, frozen=True):
    """`tokens_per_fill` tokens come in every `fill_interval` seconds, until there are `max_tokens`."""

    max_tokens: int
    tokens_per_fill: int
    fill_interval: float


class TokenBucket:
    """Full at first. `now` is always monotonic seconds."""

    __slots__ = ("_at", "_max", "_rate", "_tokens")

    def __init__(self, config: TokenBucketConfig, now: float) -> None:
        self._max = float(config.max_tokens)
        self._rate = config.tokens_per_fill / config.fill_interval
        self._tokens = self._max
        self._at = now

    def take(self, now: float) -> bool:
        """Use up one token; False if there is none."""
        tokens = min(self._max, self._tokens + (now - self._at) * self._rate)
        self._at = now
        taken = tokens >= 1.0
        self._tokens = tokens - 1.0 if taken else tokens
        return taken
