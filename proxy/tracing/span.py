"""A span while it lasts, and what every provider does with it."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from proxy.base.messages import RequestHead
from proxy.tracing.context import TraceContext
from proxy.tracing.tags import Tags


class Span(Struct):
    """`start` and `end` are seconds since the epoch, as those of `moments`. `client`: it is that of a call."""

    name: str
    context: TraceContext
    client: bool
    start: float
    end: float = 0.0
    tags: Tags = {}
    moments: list[tuple[str, float]] = []


class Provider(Protocol):
    """Starts, continues and reports spans in the way of one kind of collector."""

    def start(self, name: str, head: RequestHead, at: float, *, client: bool, traced: bool) -> Span | None:
        """The span of a request, from `at` on, a child of the caller's if `head` names one.

        None where what it names cannot be understood.
        """

    def child(self, name: str, parent: Span, at: float) -> Span:
        """The span of a call that `parent` makes from `at` on."""

    def inject(self, span: Span, head: RequestHead) -> None:
        """Name the span in a request as the parent of what comes next."""

    def report(self, span: Span) -> None:
        """Send a span that is over, and sampled."""
