"""What the compressor and the decompressor filter have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxy.base.headers import HeaderMap
from proxy.config.context import CompileContext


def compile_feature_flag(flag: Any, context: CompileContext) -> Callable[[], bool]:
    """A `RuntimeFeatureFlag`, which is on unless it says otherwise."""
    default = not flag.HasField("default_value") or bool(flag.default_value.value)
    key = flag.runtime_key
    if not key:
        return lambda: default
    runtime = context.runtime
    return lambda: runtime.boolean(key, default)


def forbids_transforming(headers: HeaderMap) -> bool:
    """Whether cache-control says `no-transform` (RFC 9111 section 5.2.2.6)."""
    control = headers.get("cache-control")
    return control is not None and any(
        token.strip().lower() == "no-transform" for token in control.split(",")
    )


def is_upgrade(headers: HeaderMap) -> bool:
    """Whether what follows the head is no body but another protocol."""
    return "upgrade" in headers and any(
        token.strip().lower() == "upgrade" for token in headers.get("connection", "").split(",")
    )
