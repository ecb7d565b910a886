"""Reading optional fields of protobuf messages while compiling clusters."""

from __future__ import annotations

from typing import Any


def wrapped(message: Any, name: str, default: Any) -> Any:
    """The value inside a wrapper field such as `UInt32Value`, or `default` if it is not set."""
    return getattr(message, name).value if message.HasField(name) else default
