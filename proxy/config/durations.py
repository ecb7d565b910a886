"""Durations of the proto as seconds."""

from __future__ import annotations

from typing import Any


def seconds(message: Any, field: str, default: float) -> float:
    """The `google.protobuf.Duration` in `message.<field>` as seconds; `default` if it is unset."""
    if not message.HasField(field):
        return default
    duration = getattr(message, field)
    return float(duration.seconds + duration.nanos / 1e9)


def optional_seconds(message: Any, field: str) -> float | None:
    """The same, but None if it is unset."""
    if not message.HasField(field):
        return None
    return seconds(message, field, 0.0)
