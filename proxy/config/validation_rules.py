"""The `validate.rules` options of Envoy's messages, compiled into functions.

A rule function takes a field's value and returns why it is refused, or None. What each rule means is defined
by protoc-gen-validate's `validate.proto`; the wording is ours.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from validate import validate_pb2

Rule = Callable[[Any], str | None]

_COMPARISONS: tuple[tuple[str, Callable[[Any, Any], bool], str], ...] = (
    ("gt", operator.gt, "greater than"),
    ("gte", operator.ge, "at least"),
    ("lt", operator.lt, "less than"),
    ("lte", operator.le, "at most"),
    ("const", operator.eq, "equal to"),
)
# From protoc-gen-validate's templates: header name, header value, and the form of both with `strict: false`.
_HEADER_NAME = re.compile(r":?[0-9a-zA-Z!#$%&'*+\-.^_|~`]+\Z")
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*\Z")
_HEADER_LOOSE = re.compile(r"[^\x00\n\r]*\Z")
_SHOWN = 80

_WRAPPERS = {
    "google.protobuf.BoolValue": "bool",
    "google.protobuf.BytesValue": "bytes",
    "google.protobuf.DoubleValue": "double",
    "google.protobuf.FloatValue": "float",
    "google.protobuf.Int32Value": "int32",
    "google.protobuf.Int64Value": "int64",
    "google.protobuf.StringValue": "string",
    "google.protobuf.UInt32Value": "uint32",
    "google.protobuf.UInt64Value": "uint64",
}


#: Fields whose rule Envoy 1.40 has dropped, while the published messages still have it.
_DROPPED = frozenset({"envoy.type.v3.TokenBucket.max_tokens"})


def rules_of(field: FieldDescriptor) -> Any:
    """The `validate.FieldRules` of a field, or None."""
    if field.full_name in _DROPPED:
        return None
    options = field.GetOptions()
    return options.Extensions[validate_pb2.rules] if options.HasExtension(validate_pb2.rules) else None


def required_oneofs(descriptor: Any) -> list[tuple[str, list[str]]]:
    """The oneofs of which a member must be set, with the names of their members."""
    return [
        (oneof.name, [field.name for field in oneof.fields])
        for oneof in descriptor.oneofs
        if oneof.GetOptions().Extensions[validate_pb2.required]
    ]


def is_required(rules: Any) -> bool:
    """Whether a message field must be present."""
    kind = rules.WhichOneof("type")
    return rules.message.required or (
        kind in ("duration", "timestamp", "any") and getattr(rules, kind).required
    )


def skips_message(rules: Any) -> bool:
    """Whether the rules inside a message field are not to be looked at."""
    return bool(rules.message.skip)


def only_defined(rules: Any) -> bool:
    """Whether the rules of an enum field, None for none, refuse numbers without a name."""
    return rules is not None and bool(rules.enum.defined_only)


def bounds_duration(rules: Any) -> bool:
    """Whether the rules of a field, None for none, say how short a duration may be."""
    return rules is not None and any(rules.duration.HasField(name) for name in ("gt", "gte"))


def value_rule(field: FieldDescriptor, rules: Any) -> Rule | None:
    """The rule for the value of a singular field, or for the whole list or map of a repeated one."""
    kind = rules.WhichOneof("type")
    if kind is None:
        return None
    if kind == "repeated":
        return _all_of(_list_rules(rules.repeated))
    if kind == "map":
        return _all_of(_map_rules(rules.map))
    return _scalar_rule(field, kind, getattr(rules, kind))


def item_rule(field: FieldDescriptor, rules: Any) -> Rule | None:
    """The rule for each item of a list, or each value of a map."""
    kind = rules.WhichOneof("type")
    items = rules.repeated.items if kind == "repeated" else rules.map.values if kind == "map" else None
    inner = items.WhichOneof("type") if items is not None else None
    return _scalar_rule(field, inner, getattr(items, inner)) if items is not None and inner else None


def key_rule(field: FieldDescriptor, rules: Any) -> Rule | None:
    """The rule for each key of a map."""
    inner = rules.map.keys.WhichOneof("type") if rules.WhichOneof("type") == "map" else None
    return _scalar_rule(field, inner, getattr(rules.map.keys, inner)) if inner else None


def _all_of(rules: list[Rule]) -> Rule | None:
    if len(rules) < 2:
        return rules[0] if rules else None

    def check(value: Any) -> str | None:
        for rule in rules:
            reason = rule(value)
            if reason is not None:
                return reason
        return None

    return check


def _scalar_rule(field: FieldDescriptor, kind: str, spec: Any) -> Rule | None:
    rule = _all_of(_KINDS[kind](field, spec))
    if rule is not None and field.message_type is not None and field.message_type.full_name in _WRAPPERS:
        return _unwrapped(rule)
    return rule


def _unwrapped(rule: Rule) -> Rule:
    return lambda wrapper: rule(wrapper.value)


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _number_rules(_field: FieldDescriptor, spec: Any) -> list[Rule]:
    rules = [
        _comparison(compare, getattr(spec, name), words, lambda value: value, _show)
        for name, compare, words in _COMPARISONS
        if spec.HasField(name)
    ]
    return rules + _membership(spec)


def _comparison(
    compare: Callable[[Any, Any], bool],
    bound: Any,
    words: str,
    key: Callable[[Any], Any],
    show: Callable[[Any], str],
) -> Rule:
    limit = key(bound)
    text = f"must be {words} {show(bound)}"
    return lambda value: None if compare(key(value), limit) else f"{show(value)} {text}"


def _membership(spec: Any) -> list[Rule]:
    rules: list[Rule] = []
    allowed = tuple(getattr(spec, "in"))
    if allowed:
        listed = ", ".join(map(_show, allowed))
        rules.append(lambda value: None if value in allowed else f"{_show(value)} must be one of {listed}")
    refused = tuple(spec.not_in)
    if refused:
        rules.append(lambda value: f"{_show(value)} is not allowed here" if value in refused else None)
    return rules


def _bool_rules(_field: FieldDescriptor, spec: Any) -> list[Rule]:
    wanted = spec.const
    if not spec.HasField("const"):
        return []
    text = f"must be {str(wanted).lower()}"
    return [lambda value: None if value == wanted else text]


def _length_rules(
    spec: Any, measure: Callable[[Any], int], names: tuple[str, str, str], unit: str
) -> list[Rule]:
    exact, low, high = (getattr(spec, name) if name and spec.HasField(name) else None for name in names)
    rules: list[Rule] = []
    if exact is not None:
        text = f"must be {exact} {unit} long"
        rules.append(lambda value: None if measure(value) == exact else f"{_show(value)} {text}")
    if low == 1:
        rules.append(lambda value: None if value else "must not be empty")
    elif low:
        rules.append(lambda v: None if measure(v) >= low else f"{_show(v)} must have at least {low} {unit}")
    if high is not None:
        rules.append(
            lambda v: None if measure(v) <= high else f"has {measure(v)} {unit}; at most {high} allowed"
        )
    return rules


def _string_rules(_field: FieldDescriptor, spec: Any) -> list[Rule]:
    rules = _length_rules(spec, len, ("len", "min_len", "max_len"), "characters")
    rules += _length_rules(
        spec, lambda text: len(text.encode()), ("len_bytes", "min_bytes", "max_bytes"), "bytes"
    )
    if spec.HasField("const"):
        wanted = spec.const
        rules.append(lambda text: None if text == wanted else f"{_show(text)} must be {wanted!r}")
    if spec.pattern:
        rules.append(_pattern_rule(re.compile(spec.pattern), f"must match {spec.pattern}"))
    for name, test, words in (
        ("prefix", str.startswith, "must begin with"),
        ("suffix", str.endswith, "must end with"),
        ("contains", operator.contains, "must contain"),
    ):
        if spec.HasField(name):
            rules.append(_affix_rule(test, getattr(spec, name), words))
    if spec.not_contains:
        rules.append(
            lambda text: f"must not contain {spec.not_contains!r}" if spec.not_contains in text else None
        )
    rules += _membership(spec)
    form = spec.WhichOneof("well_known")
    if form == "well_known_regex" and spec.well_known_regex:
        rules.append(_header_rule(spec))
    elif form is not None and form != "well_known_regex" and getattr(spec, form):
        raise NotImplementedError(f"string rule {form}")
    return [_unless_empty(rule) for rule in rules] if spec.ignore_empty else rules


def _header_rule(spec: Any) -> Rule:
    if spec.HasField("strict") and not spec.strict:
        return _pattern_rule(_HEADER_LOOSE, "must not contain NUL, CR or LF")
    if spec.well_known_regex == validate_pb2.HTTP_HEADER_NAME:
        return _pattern_rule(_HEADER_NAME, "must be a header name")
    return _pattern_rule(_HEADER_VALUE, "must not contain control characters")


def _pattern_rule(pattern: re.Pattern[str], words: str) -> Rule:
    search = pattern.search if pattern.pattern.startswith("^") else pattern.match
    return lambda text: None if search(text) else f"{_show(text)} {words}"


def _affix_rule(test: Callable[[str, str], bool], part: str, words: str) -> Rule:
    return lambda text: None if test(text, part) else f"{_show(text)} {words} {part!r}"


def _unless_empty(rule: Rule) -> Rule:
    return lambda value: rule(value) if value else None


def _bytes_rules(_field: FieldDescriptor, spec: Any) -> list[Rule]:
    return _length_rules(spec, len, ("len", "min_len", "max_len"), "bytes") + _membership(spec)


def _enum_rules(field: FieldDescriptor, spec: Any) -> list[Rule]:
    enum: Any = field.enum_type
    names = {value.number: value.name for value in enum.values}
    rules: list[Rule] = []
    if spec.HasField("const"):
        wanted = spec.const
        rules.append(lambda value: None if value == wanted else f"must be {names.get(wanted, wanted)}")
    if spec.defined_only:
        listed = ", ".join(f"{name} ({number})" for number, name in names.items())
        rules.append(
            lambda value: None if value in names else f"{value} is not defined; expected one of {listed}"
        )
    allowed = frozenset(getattr(spec, "in"))
    if allowed:
        words = ", ".join(names.get(number, str(number)) for number in sorted(allowed))
        rules.append(
            lambda value: None if value in allowed else f"{names.get(value, value)} must be one of {words}"
        )
    refused = frozenset(spec.not_in)
    if refused:
        rules.append(
            lambda value: f"{names.get(value, value)} is not allowed here" if value in refused else None
        )
    return rules


def _duration_rules(_field: FieldDescriptor, spec: Any) -> list[Rule]:
    rules = [
        _comparison(compare, getattr(spec, name), words, _nanoseconds, _show_duration)
        for name, compare, words in _COMPARISONS
        if spec.HasField(name)
    ]
    allowed = [_nanoseconds(value) for value in getattr(spec, "in")]
    if allowed or spec.not_in:
        raise NotImplementedError("duration rules in and not_in")
    return rules


def _nanoseconds(duration: Any) -> int:
    return int(duration.seconds) * 1_000_000_000 + int(duration.nanos)


def _show_duration(duration: Any) -> str:
    return f"{_nanoseconds(duration) / 1e9:.9f}".rstrip("0").rstrip(".") + "s"


def _any_rules(_field: FieldDescriptor, spec: Any) -> list[Rule]:
    allowed, refused = frozenset(getattr(spec, "in")), frozenset(spec.not_in)
    rules: list[Rule] = []
    if allowed:
        rules.append(lambda v: None if v.type_url in allowed else f"type {v.type_url!r} is not allowed here")
    if refused:
        rules.append(lambda v: f"type {v.type_url!r} is not allowed here" if v.type_url in refused else None)
    return rules


def _message_rules(_field: FieldDescriptor, _spec: Any) -> list[Rule]:
    return []


def _list_rules(spec: Any) -> list[Rule]:
    low, high = spec.min_items, spec.max_items
    rules: list[Rule] = []
    if low:
        rules.append(lambda items: None if len(items) >= low else f"must have at least {low} item(s)")
    if spec.HasField("max_items"):
        rules.append(
            lambda items: None if len(items) <= high else f"has {len(items)} items; at most {high} allowed"
        )
    if spec.unique:
        rules.append(_unique)
    return rules


def _unique(items: Any) -> str | None:
    seen: set[Any] = set()
    for item in items:
        key = (
            item
            if isinstance(item, str | bytes | int | float)
            else item.SerializeToString(deterministic=True)
        )
        if key in seen:
            return f"{_show(item)} stands in the list twice"
        seen.add(key)
    return None


def _map_rules(spec: Any) -> list[Rule]:
    low, high = spec.min_pairs, spec.max_pairs
    rules: list[Rule] = []
    if low:
        rules.append(lambda pairs: None if len(pairs) >= low else f"must have at least {low} entry(ies)")
    if spec.HasField("max_pairs"):
        rules.append(
            lambda pairs: None if len(pairs) <= high else f"has {len(pairs)} entries; at most {high} allowed"
        )
    return rules


_KINDS: dict[str, Callable[[FieldDescriptor, Any], list[Rule]]] = {
    "any": _any_rules,
    "bool": _bool_rules,
    "bytes": _bytes_rules,
    "duration": _duration_rules,
    "enum": _enum_rules,
    "message": _message_rules,
    "string": _string_rules,
} | dict.fromkeys(
    ("double", "float", "int32", "int64", "uint32", "uint64", "fixed32", "fixed64", "sfixed32", "sfixed64",
     "sint32", "sint64"),
    _number_rules,
)  # fmt: skip
