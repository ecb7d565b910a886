"""Matchers on dynamic metadata: `MetadataMatcher` and the `ValueMatcher` tree under it.

Metadata values are plain Python values: None, bool, float or int, str, list and dict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proxy.base.matchers import compile_string_matcher, never
from proxy.base.regex import wire_text
from proxy.base.reporting import Reporter

ValueMatch = Callable[[Any], bool]

#: What a path that leads nowhere yields. Envoy sees a value of no kind: nothing matches it, not even null.
ABSENT: Any = object()


def compile_value_matcher(message: Any, path: str, ctx: Reporter) -> ValueMatch:
    """`envoy.type.matcher.v3.ValueMatcher`."""
    kind = message.WhichOneof("match_pattern")
    if kind == "null_match":
        return lambda value: value is None
    if kind == "bool_match":
        wanted = message.bool_match
        return lambda value: value is wanted
    if kind == "present_match":
        present = message.present_match
        return lambda value: present and value is not ABSENT
    if kind == "double_match":
        return _number_test(message.double_match)
    if kind == "string_match":
        test = compile_string_matcher(message.string_match, f"{path}.string_match", ctx)
        return lambda value: isinstance(value, str) and test(wire_text(value))
    if kind == "list_match":
        one = compile_value_matcher(message.list_match.one_of, f"{path}.list_match.one_of", ctx)
        return lambda value: isinstance(value, list) and any(one(entry) for entry in value)
    if kind == "or_match":
        tests = [
            compile_value_matcher(matcher, f"{path}.or_match.value_matchers[{index}]", ctx)
            for index, matcher in enumerate(message.or_match.value_matchers)
        ]
        return lambda value: any(test(value) for test in tests)
    ctx.problem(path, "match_pattern is required")
    return never


def _number_test(message: Any) -> ValueMatch:
    if message.WhichOneof("match_pattern") == "exact":
        exact = message.exact
        return lambda value: _is_number(value) and value == exact
    start, end = message.range.start, message.range.end
    return lambda value: _is_number(value) and start <= value < end


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def compile_metadata_matcher(
    message: Any, path: str, ctx: Reporter
) -> Callable[[Mapping[str, Any] | None], bool]:
    """`envoy.type.matcher.v3.MetadataMatcher`, on metadata by filter name (None means there is none)."""
    filter_name = message.filter
    keys = tuple(segment.key for segment in message.path)
    test = compile_value_matcher(message.value, f"{path}.value", ctx)
    inverted = message.invert

    def matches(metadata: Mapping[str, Any] | None) -> bool:
        value: Any = ABSENT if metadata is None else metadata.get(filter_name, ABSENT)
        for key in keys:
            value = value.get(key, ABSENT) if isinstance(value, dict) else ABSENT
        return bool(test(value)) is not inverted

    return matches
