"""`xds.type.matcher.v3.Matcher` compiled to a function.

Source: xds/type/matcher/v3/matcher.proto. A matcher that leads to another matcher takes what that one finds; if it
finds nothing the search goes on, as in Envoy. With `keep_matching` an action is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from msgspec import Struct

from proxy.base.errors import OutriderError
from proxy.base.matchers import compile_string_matcher
from proxy.base.regex import wire_text
from proxy.config.any_unpack import unpack_extension
from proxy.config.context import CompileContext

Data = TypeVar("Data")
Action = TypeVar("Action")

#: What an input reads: the value, or None where there is none, which no predicate matches.
Read = Callable[[Data], str | None]
#: A compiled matcher: the action for the data, or None.
Find = Callable[[Data], Action | None]
_Inputs = Mapping[str, Callable[[Any], Callable[[Any], Any]]]

IP_MATCHER = "xds.type.matcher.v3.IPMatcher"
DOMAIN_MATCHER = "xds.type.matcher.v3.ServerNameMatcher"


class UnavailableInputError(OutriderError):
    """A matcher asks for what its data cannot have, such as a certificate without TLS.

    It then finds nothing, whatever else would match. A reader raises it, and who asks the matcher catches it.
    """


class MatcherKind(Struct, Generic[Data, Action], frozen=True):
    """What may stand in the matchers of one place.

    `inputs` makes the reader from the message of an input, by its full name. `action` compiles the message of an
    action (message, path, context), or reports a problem and gives None. `values` are inputs like `inputs` that
    give values of metadata, which only the matcher of those reads. With `domains` names may be looked up by
    pattern.
    """

    inputs: Mapping[str, Callable[[Any], Read[Data]]]
    action: Callable[[Any, str, CompileContext], Action | None]
    values: Mapping[str, Callable[[Any], Callable[[Data], Any]]] = {}
    domains: bool = True


def compile_matcher(
    message: Any, path: str, ctx: CompileContext, kind: MatcherKind[Data, Action]
) -> Find[Data, Action]:
    """Compile a `Matcher`; problems go to `ctx`."""
    return _Compiler(ctx, kind).matcher(message, path)


class _Compiler(Generic[Data, Action]):
    """Compiles the messages that make up a matcher; each method takes one with its path."""

    def __init__(self, ctx: CompileContext, kind: MatcherKind[Data, Action]) -> None:
        self._ctx = ctx
        self._kind = kind

    def matcher(self, message: Any, path: str) -> Find[Data, Action]:
        fallback = None
        if message.HasField("on_no_match"):
            fallback = self._on_match(message.on_no_match, f"{path}.on_no_match")
        first: Find[Data, Action] = _nothing
        match message.WhichOneof("matcher_type"):
            case "matcher_list":
                first = self._list(message.matcher_list, f"{path}.matcher_list")
            case "matcher_tree":
                first = self._tree(message.matcher_tree, f"{path}.matcher_tree")
        return first if fallback is None else _one_after_the_other(first, fallback)

    def _on_match(self, message: Any, path: str) -> Find[Data, Action]:
        match message.WhichOneof("on_match"):
            case "matcher":
                further = self.matcher(message.matcher, f"{path}.matcher")
                return _nothing if message.keep_matching else further
            case "action":
                unpacked = unpack_extension(message.action, f"{path}.action", self._ctx)
                if unpacked is None:
                    return _nothing
                action = self._kind.action(unpacked, f"{path}.action.typed_config", self._ctx)
                return _nothing if message.keep_matching else lambda _data: action
        self._ctx.problem(path, "one of matcher, action is required")
        return _nothing

    def _input(self, message: Any, path: str) -> Read[Data]:
        return self._read(message, path, self._kind.inputs, self._kind.values)

    def _value(self, message: Any, path: str) -> Callable[[Data], Any]:
        return self._read(message, path, self._kind.values, self._kind.inputs)

    def _read(self, message: Any, path: str, inputs: _Inputs, unfit: _Inputs) -> Callable[[Data], Any]:
        """One of `inputs`; those that are `unfit` give what the matcher cannot read, so it never matches."""
        unpacked = unpack_extension(message, path, self._ctx)
        if unpacked is None:
            return _nothing
        name = unpacked.DESCRIPTOR.full_name
        make = inputs.get(name)
        if make is not None:
            return make(unpacked)
        if name in unfit:
            self._ctx.warning(f"{path}.typed_config", f"{name} never matches here: the matcher is for others")
        else:
            reason = f"{name} is no input here: it may be one of {', '.join(inputs)}"
            self._ctx.problem(f"{path}.typed_config", reason)
        return _nothing

    # -- a list of predicates

    def _list(self, message: Any, path: str) -> Find[Data, Action]:
        entries = []
        for i, one in enumerate(message.matchers):
            at = f"{path}.matchers[{i}]"
            holds = self._predicate(one.predicate, f"{at}.predicate")
            entries.append((holds, self._on_match(one.on_match, f"{at}.on_match")))

        def find(data: Data) -> Action | None:
            for holds, on_match in entries:
                if holds(data):
                    found = on_match(data)
                    if found is not None:
                        return found
            return None

        return find

    def _predicate(self, message: Any, path: str) -> Callable[[Data], bool]:
        which = message.WhichOneof("match_type")
        match which:
            case "single_predicate":
                return self._single(message.single_predicate, f"{path}.single_predicate")
            case "or_matcher" | "and_matcher":
                together = any if which == "or_matcher" else all
                parts = [
                    self._predicate(one, f"{path}.{which}.predicate[{i}]")
                    for i, one in enumerate(getattr(message, which).predicate)
                ]
                return lambda data: together(part(data) for part in parts)
            case "not_matcher":
                inner = self._predicate(message.not_matcher, f"{path}.not_matcher")
                return lambda data: not inner(data)
        self._ctx.problem(path, "one of single_predicate, or_matcher, and_matcher, not_matcher is required")
        return lambda _data: False

    def _single(self, message: Any, path: str) -> Callable[[Data], bool]:
        if message.WhichOneof("matcher") == "custom_match":
            return self._custom_predicate(message, path)
        read = self._input(message.input, f"{path}.input")
        test = compile_string_matcher(message.value_match, f"{path}.value_match", self._ctx)
        return _on_text(read, test)

    def _custom_predicate(self, message: Any, path: str) -> Callable[[Data], bool]:
        from proxy.matching import input_matchers  # few trees have one

        at = f"{path}.custom_match"
        unpacked = unpack_extension(message.custom_match, at, self._ctx)
        name = "" if unpacked is None else unpacked.DESCRIPTOR.full_name
        at += ".typed_config"
        if name == input_matchers.IP:
            read = self._input(message.input, f"{path}.input")
            return _on_text(read, input_matchers.compile_ip_ranges(unpacked, at, self._ctx))
        if name == input_matchers.CONSISTENT_HASHING:
            read = self._input(message.input, f"{path}.input")
            return _on_text(read, input_matchers.compile_share(unpacked, at, self._ctx))
        if name == input_matchers.METADATA:
            value = self._value(message.input, f"{path}.input")
            test = input_matchers.compile_metadata_value(unpacked, at, self._ctx)
            return (lambda _data: False) if value is _nothing else (lambda data: test(value(data)))
        if name:
            self._ctx.problem(at, f"{name} is not supported: it may be {', '.join(input_matchers.ALL)}")
        return lambda _data: False

    # -- a look-up by one value

    def _tree(self, message: Any, path: str) -> Find[Data, Action]:
        read = self._input(message.input, f"{path}.input")
        match message.WhichOneof("tree_type"):
            case "exact_match_map":
                return _exact(read, self._map(message.exact_match_map, f"{path}.exact_match_map"))
            case "prefix_match_map":
                return _prefix(read, self._map(message.prefix_match_map, f"{path}.prefix_match_map"))
            case "custom_match":
                return self._custom(read, message.custom_match, f"{path}.custom_match")
        self._ctx.problem(path, "one of exact_match_map, prefix_match_map, custom_match is required")
        return _nothing

    def _map(self, message: Any, path: str) -> dict[str, Find[Data, Action]]:
        return {
            wire_text(key): self._on_match(value, f"{path}.map[{key!r}]")
            for key, value in message.map.items()
        }

    def _custom(self, read: Read[Data], message: Any, path: str) -> Find[Data, Action]:
        unpacked = unpack_extension(message, path, self._ctx)
        if unpacked is None:
            return _nothing
        at = f"{path}.typed_config"
        match unpacked.DESCRIPTOR.full_name:
            case name if name == IP_MATCHER:
                from proxy.matching.ip_ranges import compile_ip_matcher  # few trees have one

                return compile_ip_matcher(unpacked, at, self._ctx, read, self._on_match)
            case name if name == DOMAIN_MATCHER and self._kind.domains:
                from proxy.matching.domains import compile_domain_matcher  # few trees have one

                return compile_domain_matcher(unpacked, at, self._ctx, read, self._on_match)
            case name:
                possible = f"{IP_MATCHER} or {DOMAIN_MATCHER}" if self._kind.domains else IP_MATCHER
                self._ctx.problem(at, f"{name} is not supported here: it may be {possible}")
        return _nothing


def _nothing(_data: object) -> None:
    return None


def _on_text(read: Read[Data], test: Callable[[str], bool]) -> Callable[[Data], bool]:
    def holds(data: Data) -> bool:
        value = read(data)
        return value is not None and test(value)

    return holds


def _one_after_the_other(first: Find[Data, Action], second: Find[Data, Action]) -> Find[Data, Action]:
    def find(data: Data) -> Action | None:
        found = first(data)
        return second(data) if found is None else found

    return find


def _exact(read: Read[Data], entries: Mapping[str, Find[Data, Action]]) -> Find[Data, Action]:
    def find(data: Data) -> Action | None:
        value = read(data)
        if value is None:
            return None
        on_match = entries.get(value)
        return None if on_match is None else on_match(data)

    return find


def _prefix(read: Read[Data], entries: Mapping[str, Find[Data, Action]]) -> Find[Data, Action]:
    lengths = sorted({len(key) for key in entries}, reverse=True)

    def find(data: Data) -> Action | None:
        value = read(data)
        if value is None:
            return None
        for length in lengths:
            on_match = entries.get(value[:length]) if length <= len(value) else None
            if on_match is not None:
                found = on_match(data)
                if found is not None:
                    return found
        return None

    return find
