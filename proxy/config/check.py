"""Validation rules and the support ledger over a message, in one walk.

For each message type a checker is compiled at first use. It touches only the fields that are set, and a table
says which of them need a look; what must not be absent is a short list of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from msgspec import Struct, field

from proxy.base.errors import Problem
from proxy.config import extensions, validation_rules
from proxy.config.any_unpack import unpack_any
from proxy.config.ledger import NO_EFFECT, PAGE, UNSUPPORTED, is_classed, support_of
from proxy.config.positions import path_of


class Findings(Struct):
    """What a check found: problems refuse the message, warnings do not.

    `invalid` tells that the message itself breaks a rule of its proto, not only what an Any in it holds.
    """

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    invalid: bool = False


class _Finding:
    __slots__ = ("path", "reason", "rule", "warning")

    def __init__(
        self, reason: str, warning: bool = False, segment: str | int | None = None, *, rule: bool = False
    ) -> None:
        self.reason = reason
        self.warning = warning
        self.rule = rule
        self.path: list[str | int] = [] if segment is None else [segment]


_Found = list[_Finding] | None
_Checker = Callable[[Any, set[str]], _Found]
"""`check(message, warned)`; `warned` holds the fields that were warned about already."""
_FieldChecker = Callable[[Any, set[str]], _Found]

_checkers: dict[str, _Checker] = {}

_MAX_SECONDS = (2**63 - 1) // 10**9
"""Envoy counts nanoseconds in 64 bits."""

_NAME_ONLY = "must be set: a name alone does not select an extension, in Envoy neither"


def _has_config(message: Any) -> bool:
    return bool(message.typed_config.type_url)


_NEEDS_CONFIG: dict[str, Callable[[Any], bool]] = {
    "envoy.config.accesslog.v3.AccessLog": _has_config,
    "envoy.config.listener.v3.Filter": lambda message: (
        message.HasField("config_discovery") or _has_config(message)
    ),
    extensions.HTTP_FILTER: lambda message: (
        message.is_optional or message.HasField("config_discovery") or _has_config(message)
    ),
}


def check_message(message: Any, path: str = "") -> Findings:
    """What is wrong with a message by its rules and the ledger. `path` goes before the paths of problems."""
    findings = Findings()
    for finding in _checker_for(message.DESCRIPTOR)(message, set()) or ():
        below = path_of(reversed(finding.path))
        full = f"{path}{'' if below.startswith('[') or not path or not below else '.'}{below}"
        (findings.warnings if finding.warning else findings.problems).append(Problem(full, finding.reason))
        findings.invalid |= finding.rule
    return findings


def _checker_for(descriptor: Descriptor) -> _Checker:
    name = descriptor.full_name
    checker = _checkers.get(name)
    if checker is None:
        checker = _checkers[name] = _compile(descriptor)
    return checker


def _compile(descriptor: Descriptor) -> _Checker:
    checkers: dict[FieldDescriptor, tuple[str, _FieldChecker]] = {}
    absent: list[tuple[str, Callable[[Any], Any], str, bool]] = []
    for one in descriptor.fields:
        checker = _field_checker(one)
        if checker is not None:
            checkers[one] = (one.name, checker)
        reason = _reason_when_absent(one)
        if reason is not None:
            absent.append((one.name, _presence(one), reason, True))
    if descriptor.full_name in _NEEDS_CONFIG:
        absent.append(("typed_config", _NEEDS_CONFIG[descriptor.full_name], _NAME_ONLY, False))
    oneofs = [
        (name, f"one of {', '.join(members)} must be set")
        for name, members in validation_rules.required_oneofs(descriptor)
    ]
    find = checkers.get

    def check(message: Any, warned: set[str]) -> _Found:
        found: _Found = None
        for one, value in message.ListFields():
            entry = find(one)
            if entry is not None:
                segment, checker = entry
                below = checker(value, warned)
                if below is not None:
                    for finding in below:
                        finding.path.append(segment)
                    found = below if found is None else found + below
        for name, present, reason, rule in absent:
            if not present(message):
                found = (found or []) + [_Finding(reason, segment=name, rule=rule)]
        for name, reason in oneofs:
            if message.WhichOneof(name) is None:
                found = (found or []) + [_Finding(reason, rule=True)]
        return found

    return check


def _presence(one: FieldDescriptor) -> Callable[[Any], Any]:
    name = one.name
    if one.has_presence:
        return lambda message: message.HasField(name)
    return lambda message: getattr(message, name)


def _reason_when_absent(one: FieldDescriptor) -> str | None:
    """Why a message without the field is refused, if it is: an absent scalar counts as its zero."""
    rules = validation_rules.rules_of(one)
    if rules is None or one.containing_oneof is not None or support_of(one).status == UNSUPPORTED:
        return None
    if one.message_type is not None and not one.is_repeated:
        return "must be set" if validation_rules.is_required(rules) else None
    if one.has_presence:
        return None
    rule = validation_rules.value_rule(one, rules)
    if rule is None:
        return None
    return (
        rule(
            (),
        )
        if one.is_repeated
        else rule(one.default_value)
    )


def _field_checker(one: FieldDescriptor) -> _FieldChecker | None:
    support = support_of(one)
    if support.status == UNSUPPORTED:
        why = f": {support.reason}" if support.reason else ""
        reason = f"is not supported{why} (see {PAGE})"
        return lambda _value, _warned: [_Finding(reason)]
    rules = validation_rules.rules_of(one)
    checkers: list[_FieldChecker] = []
    if rules is not None:
        rule = validation_rules.value_rule(one, rules)
        if rule is not None:
            checkers.append(_whole_value(rule))
    if one.enum_type is not None and not one.is_repeated and not validation_rules.only_defined(rules):
        checkers.append(_known_value(one.enum_type))
    # What has no effect need not be known any further.
    known = support.status != NO_EFFECT or one.message_type is None or is_classed(one.message_type)
    inner = _inner_checker(one, rules) if known else None
    if inner is not None:
        checkers.append(_rules_only(inner) if support.status == NO_EFFECT else inner)
    if support.status == NO_EFFECT:
        checkers.append(_no_effect(one.full_name, support.reason))
    if len(checkers) < 2:
        return checkers[0] if checkers else None

    def check(value: Any, warned: set[str]) -> _Found:
        found: list[_Finding] = []
        for checker in checkers:
            found += checker(value, warned) or ()
        return found or None

    return check


def _whole_value(rule: validation_rules.Rule) -> _FieldChecker:
    def check(value: Any, _warned: set[str]) -> _Found:
        reason = rule(value)
        return None if reason is None else [_Finding(reason, rule=True)]

    return check


def _known_value(enum: EnumDescriptor) -> _FieldChecker:
    known = frozenset(enum.values_by_number)
    names = ", ".join(value.name for value in enum.values)

    def check(value: int, _warned: set[str]) -> _Found:
        return None if value in known else [_Finding(f"{value} is not one of {names}")]

    return check


def _duration(value: Any, _warned: set[str]) -> _Found:
    if value.seconds < 0 or value.nanos < 0:
        return [_Finding("must not be negative")]
    return [_Finding(f"must be at most {_MAX_SECONDS}s")] if value.seconds > _MAX_SECONDS else None


def _no_effect(full_name: str, reason: str) -> _FieldChecker:
    text = f"has no effect: {reason}"

    def check(_value: Any, warned: set[str]) -> _Found:
        if full_name in warned:
            return None
        warned.add(full_name)
        return [_Finding(text, warning=True)]

    return check


def _rules_only(inner: _FieldChecker) -> _FieldChecker:
    """What is not supported in a field without effect is not missed either."""

    def check(value: Any, warned: set[str]) -> _Found:
        return [finding for finding in inner(value, warned) or () if finding.rule] or None

    return check


def _inner_checker(one: FieldDescriptor, rules: Any) -> _FieldChecker | None:
    """The checker of what is inside the field: list items, map entries, a message."""
    if one.message_type is not None and one.message_type.GetOptions().map_entry:
        return _map_checker(one, rules)
    item = _message_checker(one, rules)
    if not one.is_repeated:
        return item
    rule = validation_rules.item_rule(one, rules) if rules is not None else None
    if rule is None and item is None:
        return None

    def check(items: Any, warned: set[str]) -> _Found:
        found: _Found = None
        for index, value in enumerate(items):
            below = item(value, warned) if item is not None else None
            reason = rule(value) if rule is not None else None
            if reason is not None:
                below = [*(below or ()), _Finding(reason, rule=True)]
            if below is not None:
                for finding in below:
                    finding.path.append(index)
                found = below if found is None else found + below
        return found

    return check


def _map_checker(one: FieldDescriptor, rules: Any) -> _FieldChecker | None:
    entry: Any = one.message_type
    value_field = entry.fields_by_name["value"]
    key_rule = validation_rules.key_rule(entry.fields_by_name["key"], rules) if rules is not None else None
    value_rule = validation_rules.item_rule(value_field, rules) if rules is not None else None
    inner = _message_checker(value_field, None, site=one.full_name)
    if key_rule is None and value_rule is None and inner is None:
        return None

    def check(pairs: Any, warned: set[str]) -> _Found:
        found: list[_Finding] = []
        for key, value in pairs.items():
            below = list(inner(value, warned) or ()) if inner is not None else []
            for rule, subject in ((key_rule, key), (value_rule, value)):
                reason = rule(subject) if rule is not None else None
                if reason is not None:
                    below.append(_Finding(reason, rule=True))
            for finding in below:
                finding.path.append(f"[{key!r}]")
            found += below
        return found or None

    return check


def _message_checker(one: FieldDescriptor, rules: Any, site: str = "") -> _FieldChecker | None:
    if one.message_type is None or (rules is not None and validation_rules.skips_message(rules)):
        return None
    name = one.message_type.full_name
    if name == "google.protobuf.Any":
        place = site or one.full_name
        return _any_checker(extensions.categories_at(place), may_be_empty=place in _MAY_BE_EMPTY)
    if name == "google.protobuf.Duration" and not validation_rules.bounds_duration(rules):
        return _duration
    if name.startswith("google.protobuf."):
        return None
    categories = extensions.categories_at(site or one.full_name)
    if categories and name in extensions.CARRIERS:
        return _carrier_checker(categories, may_be_empty=(site or one.full_name) in _MAY_BE_EMPTY)
    descriptor = one.message_type
    checker: _Checker | None = None

    def check(message: Any, warned: set[str]) -> _Found:
        nonlocal checker
        if checker is None:
            checker = _checker_for(descriptor)
        return checker(message, warned)

    tolerant = _TOLERANT.get(name)
    return check if tolerant is None else _unless_left_out(check, *tolerant)


def _unless_left_out(check: _FieldChecker, any_of: Callable[[Any], Any], reason: str) -> _FieldChecker:
    """For messages that are passed over when the extension in them is not known; a warning says so."""

    def tolerant(message: Any, warned: set[str]) -> _Found:
        carried = any_of(message)
        if carried is None or extensions.is_registered(carried):
            return check(message, warned)
        return [
            _Finding(f"{extensions.unknown_type(extensions.carried_type(carried))}; {reason}", warning=True)
        ]

    return tolerant


def _optional_filter(message: Any) -> Any:
    return message.typed_config if message.is_optional and message.typed_config.type_url else None


def _policy(message: Any) -> Any:
    carried = message.typed_extension_config.typed_config
    return carried if carried.type_url else None


_TOLERANT: dict[str, tuple[Callable[[Any], Any], str]] = {
    extensions.HTTP_FILTER: (_optional_filter, "it is optional, so it is left out"),
    "envoy.config.cluster.v3.LoadBalancingPolicy.Policy": (_policy, "the next policy of the list is tried"),
}


_MAY_BE_EMPTY = frozenset(
    {
        "envoy.config.bootstrap.v3.Bootstrap.typed_dns_resolver_config",
        "envoy.config.cluster.v3.Cluster.typed_dns_resolver_config",
        "envoy.config.route.v3.FilterConfig.config",
    }
)
"""Fields where Envoy takes an `Any` without a type for none at all."""


def _carrier_checker(categories: tuple[str, ...], *, may_be_empty: bool) -> _FieldChecker:
    """For a `{name, typed_config}` message: what may stand in it depends on the field that it is in."""
    inner = _any_checker(categories, may_be_empty=may_be_empty)

    def check(message: Any, warned: set[str]) -> _Found:
        if not message.HasField("typed_config"):
            return [_Finding(_NAME_ONLY, segment="typed_config")]
        found = inner(message.typed_config, warned)
        for finding in found or ():
            finding.path.append("typed_config")
        if not message.name:
            found = [*(found or ()), _Finding("must not be empty", segment="name", rule=True)]
        return found

    return check


def _any_checker(categories: tuple[str, ...], *, may_be_empty: bool) -> _FieldChecker:
    def check(message: Any, warned: set[str]) -> _Found:
        if categories and not message.type_url and not may_be_empty:
            return [_Finding(_NAME_ONLY, segment="@type")]
        inner, reason = unpack_any(message)
        if inner is None:
            if categories and reason and not extensions.is_known(message):
                reason = extensions.unknown_type(extensions.carried_type(message), categories)
            return [_Finding(reason)] if reason else None
        name = inner.DESCRIPTOR.full_name
        if categories and not any(name in extensions.in_category(category) for category in categories):
            return [_Finding(f"{name} cannot stand here; expected {extensions.listed(categories)}")]
        if name.startswith("google.protobuf."):
            return None
        found = _checker_for(inner.DESCRIPTOR)(inner, warned)
        for finding in found or ():
            finding.rule = False
        return found

    return check
