"""The engine that a filter's config makes: by rules, or by a matcher."""

from __future__ import annotations

from typing import Any

from proxy.config.context import CompileContext
from proxy.filters.rbac.matcher import compile_matcher_engine
from proxy.filters.rbac.rules import compile_rules
from proxy.filters.rbac.verdict import Judge


def compile_engine(
    message: Any, rules: str, matcher: str, path: str, ctx: CompileContext, *, http: bool
) -> Judge | None:
    """The engine that the fields of those names make, None if neither is set; the matcher comes first."""
    if message.HasField(matcher):
        if message.HasField(rules):
            ctx.warning(f"{path}.{rules}", f"is ignored, because {matcher} is set")
        return compile_matcher_engine(getattr(message, matcher), f"{path}.{matcher}", ctx, http=http)
    if not message.HasField(rules):
        return None
    return compile_rules(getattr(message, rules), f"{path}.{rules}", ctx, http=http)
