"""Small pieces shared by matching, rewriting and redirects; and the unpacking of extension configs."""

from __future__ import annotations

from typing import Any

from proxy.config.context import CompileContext


def port_start(authority: str) -> int:
    """Where `:port` begins in an authority, or -1; a colon inside `[...]` does not count."""
    colon = authority.rfind(":")
    return colon if colon > authority.rfind("]") else -1


def unpack(packed: Any, message: Any, path: str, ctx: CompileContext) -> Any | None:
    """The `message` inside a `google.protobuf.Any`, or None with a problem reported."""
    expected = message.DESCRIPTOR.full_name
    if packed.type_url.rpartition("/")[2] != expected:
        ctx.problem(path, f"type {packed.type_url!r} is not supported here, expected {expected}")
        return None
    return message.FromString(packed.value)
