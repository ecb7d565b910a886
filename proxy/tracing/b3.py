"""The B3 fields of Zipkin: `b3`, or `x-b3-*`. Source: openzipkin/b3-propagation; Envoy's `SpanContextExtractor`."""

from __future__ import annotations

from typing import Final

from proxy.base.digits import hex_number, is_hex
from proxy.base.headers import HeaderMap
from proxy.tracing.context import BadContextError, TraceContext

_ID_DIGITS: Final = 16
_TRACE_DIGITS: Final = 32
_FLAGS: Final = {"0": False, "1": True, "d": True}


def sampled(headers: HeaderMap) -> bool | None:
    """What the caller has decided; None if it has not."""
    single = headers.get("b3")
    if single is None:
        text = headers.get("x-b3-sampled")
        return None if text is None else text in {"1", "true"}
    parts = single.split("-")
    flag = parts[0] if len(parts) == 1 else parts[2] if len(parts) > 2 else ""
    return _FLAGS.get(flag)


def extract(headers: HeaderMap, decided: bool) -> TraceContext | None:
    """The context of the caller's span, with `decided` as its decision; None if there is none.

    Raises BadContextError if there is something else.
    """
    single = headers.get("b3")
    if single is not None:
        return _extract_single(single, decided)
    trace_id, span_id = headers.get("x-b3-traceid"), headers.get("x-b3-spanid")
    if trace_id is None or span_id is None:
        return None
    return TraceContext(
        _trace_id(trace_id),
        _span_id(span_id),
        _parent_id(headers.get("x-b3-parentspanid", "")),
        decided,
    )


def inject(context: TraceContext, headers: HeaderMap) -> None:
    """Name this span as the parent of what comes next, in the form that the caller used."""
    flag = "1" if context.sampled else "0"
    if context.single_field:
        parent = f"-{context.parent_id}" if context.parent_id else ""
        headers.set("b3", f"{context.trace_id}-{context.span_id}-{flag}{parent}")
        return
    headers.set("x-b3-traceid", context.trace_id)
    headers.set("x-b3-spanid", context.span_id)
    if context.parent_id:
        headers.set("x-b3-parentspanid", context.parent_id)
    headers.set("x-b3-sampled", flag)


def _extract_single(text: str, decided: bool) -> TraceContext | None:
    if text in _FLAGS:
        return None
    trace_id, *rest = text.split("-")
    if len(trace_id) not in (_ID_DIGITS, _TRACE_DIGITS) or not 1 <= len(rest) <= 3:
        raise BadContextError(text)
    span_id, flag, parent_id = [*rest, "1", ""][:3] if len(rest) == 1 else [*rest, ""][:3]
    bad_length = len(span_id) != _ID_DIGITS or (len(rest) == 3 and len(parent_id) != _ID_DIGITS)
    if bad_length or flag not in _FLAGS:
        raise BadContextError(text)
    return TraceContext(
        _trace_id(trace_id), _span_id(span_id), _parent_id(parent_id), decided, single_field=True
    )


def _trace_id(text: str) -> str:
    if len(text) == _TRACE_DIGITS and is_hex(text):
        # Envoy keeps two numbers, and no more digits than the greater needs.
        high = text[:_ID_DIGITS].lower()
        return text.lower() if high.strip("0") else text[_ID_DIGITS:].lower()
    return _span_id(text)


def _span_id(text: str) -> str:
    number = hex_number(text)
    if number is None:
        raise BadContextError(text)
    return f"{number:016x}"


def _parent_id(text: str) -> str:
    if not text:
        return ""
    found = _span_id(text)
    return found if found.strip("0") else ""
