"""`traceparent` and `tracestate` (W3C Trace Context), as Envoy reads and writes them."""

from __future__ import annotations

from typing import Final

from proxy.base.digits import is_hex
from proxy.base.headers import HeaderMap
from proxy.tracing.context import BadContextError, TraceContext

TRACEPARENT: Final = "traceparent"
_LENGTH: Final = 55
_SIZES: Final = [2, 32, 16, 2]
_SAMPLED: Final = 1


def extract(headers: HeaderMap) -> TraceContext | None:
    """The context of the caller's span; None if there is none.

    Raises BadContextError if there is something else.
    """
    text = headers.get(TRACEPARENT)
    if text is None:
        return None
    parts = text.split("-")
    if len(text) != _LENGTH or [len(part) for part in parts] != _SIZES or not all(map(is_hex, parts)):
        raise BadContextError(text)
    _, trace_id, span_id, flags = (part.lower() for part in parts)
    if not trace_id.strip("0") or not span_id.strip("0"):
        raise BadContextError(text)
    return TraceContext(
        trace_id,
        span_id,
        sampled=bool(int(flags, 16) & _SAMPLED),
        state=headers.get("tracestate", ""),
    )


def traceparent(context: TraceContext) -> str:
    """The field's value that names this span as the parent."""
    return f"00-{context.trace_id:0>32}-{context.span_id}-{'01' if context.sampled else '00'}"


def inject(context: TraceContext, headers: HeaderMap) -> None:
    """Name this span as the parent of what comes next."""
    headers.set(TRACEPARENT, traceparent(context))
    headers.set("tracestate", context.state)
