"""What the compressor and the decompressor filter have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from proxy.base.headers import HeaderMap
from proxy.base.stats import StatGroup, StatRegistry
from proxy.config.context import CompileContext

_Group = TypeVar("_Group", bound=StatGroup)


def shared_stats(registry: StatRegistry, prefix: str, kind: type[_Group]) -> _Group:
    """The group of that kind and prefix: filters of the same name and place count together."""
    key = f"{kind.__name__} {prefix}"
    found = registry.get(key)
    if not isinstance(found, kind):
        found = kind(prefix)
        registry.add(key, found)
    return found


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
