"""A token bucket that fills evenly, as Envoy's: a part of an interval brings its part of the tokens."""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

#: Envoy's slowest bucket: one token a year.
_SLOWEST: Final = 1.0 / (365 * 24 * 60 * 60)


class TokenBucketConfig(Struct, frozen=True):
    """`tokens_per_fill` tokens come in every `fill_interval` seconds, until there are `max_tokens`."""

    max_tokens: int
    tokens_per_fill: int
    fill_interval: float


class TokenBucket:
    """Full at first. `now` is always monotonic seconds, `rate` tokens a second.

    The whole state is one number, the moment `full_at` when it will be full again: a bucket that is full is
    the same as a new one.
    """

    __slots__ = ("full_at", "max_tokens", "rate")

    def __init__(self, config: TokenBucketConfig, now: float) -> None:
        self.max_tokens = config.max_tokens
        self.rate = max(config.tokens_per_fill / config.fill_interval, _SLOWEST)
        self.full_at = now

    def take(self, now: float, tokens: int = 1) -> bool:
        """Use up so many tokens; False, and none is used, if there are fewer."""
        full_at = max(self.full_at, now)
        if self.max_tokens - (full_at - now) * self.rate < tokens:
            return False
        self.full_at = full_at + tokens / self.rate
        return True

    def remaining(self, now: float) -> int:
        """Whole tokens that are there."""
        return int(self.level(now))

    def reset_seconds(self, now: float) -> int:
        """How long until there is a token, in whole seconds, rounded up."""
        return math.ceil(max(1.0 - self.level(now), 0.0) / self.rate)

    def level(self, now: float) -> float:
        """How many tokens there are."""
        return self.max_tokens - max(self.full_at - now, 0.0) * self.rate
