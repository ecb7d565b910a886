"""Moments as text."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(seconds: float) -> str:
    """Unix seconds as UTC with milliseconds, "2026-01-31T23:59:59.250Z"; a whole second has no fraction.

    That is the JSON form of a `google.protobuf.Timestamp` of whole milliseconds.
    """
    moment = datetime.fromtimestamp(int(seconds * 1000) / 1000, UTC)
    precision = "milliseconds" if moment.microsecond else "seconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")
