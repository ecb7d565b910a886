"""What requests carry of a trace, whatever the fields that carry it."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct


class BadContextError(ValueError):
    """A request carries something that is no context; it is passed on as it is, and nothing is recorded."""


class TraceContext(Struct):
    """Ids are lower-case hexadecimal digits: 16 or 32 of a trace, 16 of spans. `parent_id` is "" for none.

    `single_field` tells that the context came in one field `b3`.
    """

    trace_id: str
    span_id: str
    parent_id: str = ""
    sampled: bool = False
    state: str = ""
    single_field: bool = False


def new_id(draw: Callable[[], int]) -> str:
    """A fresh id of 16 digits; `draw` gives integers from 0 to 2**64-1."""
    return f"{draw() or 1:016x}"
