"""When to try again, and how fast to ask: full-jitter exponential back-off and a token bucket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

BASE_INTERVAL: Final = 0.5
"""Seconds; Envoy's first interval between attempts to reach a control plane."""

MAX_INTERVAL: Final = 30.0
"""Seconds; Envoy's longest interval."""

DEFAULT_TOKENS: Final = 100
"""`core.v3.RateLimitSettings.max_tokens` when unset."""

DEFAULT_FILL_RATE: Final = 10.0
"""Tokens a second, `core.v3.RateLimitSettings.fill_rate` when unset."""


class Backoff:
    """Intervals drawn from [0, limit) with a limit that doubles: thousands of clients do not come back at once."""

    def __init__(
        self, draw: Callable[[], float], base: float = BASE_INTERVAL, maximum: float = MAX_INTERVAL
    ) -> None:
        self._draw = draw
        self._base = base
        self._maximum = max(base, maximum)
        self._limit = base

    def next(self) -> float:
        """Seconds to wait before the next attempt."""
        limit = self._limit
        self._limit = min(limit * 2, self._maximum)
        return self._draw() * limit

    def reset(self) -> None:
        """The last attempt had an answer."""
        self._limit = self._base


class RequestBucket:
    """`core.v3.RateLimitSettings`: how many requests may leave. `now` is monotonic, in seconds."""

    def __init__(self, settings: Any, now: float) -> None:
        self._size = float(settings.max_tokens.value if settings.HasField("max_tokens") else DEFAULT_TOKENS)
        self._rate = settings.fill_rate.value if settings.HasField("fill_rate") else DEFAULT_FILL_RATE
        self._tokens = self._size
        self._at = now

    def take(self, now: float) -> float:
        """0 if a request may leave now, else the seconds until the next one may."""
        self._tokens = min(self._size, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._rate
