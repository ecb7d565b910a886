"""Gathers the spans of one worker and sends them: when enough have come together, and when the interval is over.

While the collector is away, a report that fails is not sent again, and spans beyond the bound are dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from proxy.base.services import WorkerServices

_SpanT = TypeVar("_SpanT")


class Reporter(Generic[_SpanT]):
    """`send` takes a batch. `interval_key` and `batch_key` are runtime keys: milliseconds, and spans of a batch."""

    def __init__(
        self,
        services: WorkerServices,
        send: Callable[[list[_SpanT]], None],
        stats: Any,
        interval_key: str,
        batch_key: str,
        batch: int,
    ) -> None:
        self._services = services
        self._send = send
        self._stats = stats
        self._interval_key = interval_key
        self._batch_key = batch_key
        self._batch = batch
        self._spans: list[_SpanT] = []
        self._wake(services.loop.time())

    def report(self, span: _SpanT) -> None:
        """Take a span that is over."""
        self._spans.append(span)
        if len(self._spans) >= self._services.runtime.integer(self._batch_key, self._batch):
            self._flush()

    @property
    def pending(self) -> int:
        """How many spans wait."""
        return len(self._spans)

    def on_wake(self, now: float) -> None:
        """The interval is over; see `Timers`."""
        self._stats.timer_flushed += 1
        self._flush()
        self._wake(now)

    def _wake(self, now: float) -> None:
        interval = max(1, self._services.runtime.integer(self._interval_key, 5000)) / 1000
        self._services.timers.wake(now + interval, self)

    def _flush(self) -> None:
        spans, self._spans = self._spans, []
        if spans:
            self._stats.spans_sent += len(spans)
            self._send(spans)
