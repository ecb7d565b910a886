"""Small pieces shared by matching, rewriting and redirects; and the unpacking of extension configs."""

from __future__ import annotations

from typing import Any

from proxy.config.any_unpack import unpack
from proxy.config.context import CompileContext


def port_start(authority: str) -> int:
    """Where `:port` begins in an authority, or -1; a colon inside `[...]` does not count."""
    colon = authority.rfind(":")
    return colon if colon > authority.rfind("]") else -1


def unpack_as(packed: Any, expected: Any, path: str, ctx: CompileContext) -> Any | None:
    """The message of class `expected` in a `google.protobuf.Any`, or None with a problem reported."""
    message = unpack(packed, path, ctx)
    if message is None:
        return None
    if message.DESCRIPTOR.full_name != expected.DESCRIPTOR.full_name:
        reason = f"type {message.DESCRIPTOR.full_name} is not supported here"
        ctx.problem(path, f"{reason}, expected {expected.DESCRIPTOR.full_name}")
        return None
    return message
