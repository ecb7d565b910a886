"""`xds.type.matcher.v3.ServerNameMatcher`: the most specific pattern that a name fits decides.

Source: xds/type/matcher/v3/domain.proto. A pattern is a name, `*.` followed by one, or `*`. If what a pattern leads
to finds nothing, the next less specific one is asked. Names are compared as they are written.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from proxy.base.regex import wire_text
from proxy.config.context import CompileContext

Data = TypeVar("Data")
Action = TypeVar("Action")


def compile_domain_matcher(
    message: Any,
    path: str,
    ctx: CompileContext,
    read: Callable[[Data], str | None],
    on_match: Callable[[Any, str], Callable[[Data], Action | None]],
) -> Callable[[Data], Action | None]:
    """Compile a `ServerNameMatcher` on the names that `read` gives; problems go to `ctx`."""
    patterns: dict[str, Callable[[Data], Action | None]] = {}
    for i, one in enumerate(message.domain_matchers):
        at = f"{path}.domain_matchers[{i}]"
        leads_to = on_match(one.on_match, f"{at}.on_match")
        for j, domain in enumerate(one.domains):
            reason = _fault(domain)
            pattern = wire_text(domain)
            if not reason and pattern in patterns:
                reason = f"duplicate domain: {domain}"
            if reason:
                ctx.problem(f"{at}.domains[{j}]", reason)
            patterns[pattern] = leads_to

    def find(data: Data) -> Action | None:
        name = read(data)
        if not name:
            return None
        for pattern in _patterns_of(name):
            leads_to = patterns.get(pattern)
            if leads_to is not None:
                found = leads_to(data)
                if found is not None:
                    return found
        return None

    return find


def _fault(domain: str) -> str:
    if not domain:
        return "a domain must not be empty"
    if domain != "*" and "*" in domain.removeprefix("*."):
        return f"invalid wildcard domain format: {domain} (only '*' and '*.domain' are supported)"
    return "" if domain != "*." else f"invalid wildcard domain format: {domain}"


def _patterns_of(name: str) -> list[str]:
    """What a name fits, the most specific first. A name that is itself a pattern's text fits no exact one."""
    patterns = [] if name.startswith("*") else [name]
    dot = name.find(".")
    while dot >= 0:
        patterns.append(f"*{name[dot:]}")
        dot = name.find(".", dot + 1)
    patterns.append("*")
    return patterns
