"""Finds the gRPC method of an HTTP method and path, and what path and query bind.

A trie of template segments. Literals win over `*`, `*` over `**`; the same method and template registered twice
matches nothing, as in Envoy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from msgspec import Struct

from proxy.transcoding.http_template import HttpTemplate, Unescape, Variable, parse_template, unescape

_Method = TypeVar("_Method")


class Binding(Struct, frozen=True):
    """A value for the field at `field_path`, whose names may still be escaped."""

    field_path: tuple[str, ...]
    value: str


class MatcherOptions(Struct, frozen=True):
    """`ignored_parameters` never bind; the others are fields of the filter's config."""

    ignored_parameters: frozenset[str] = frozenset()
    unescape: Unescape = Unescape.EXCEPT_RESERVED
    plus_is_space: bool = False
    match_unregistered_verb: bool = False


class _Target(Struct, Generic[_Method], frozen=True):
    method: _Method
    body: str
    variables: tuple[Variable, ...]


class Match(Struct, Generic[_Method], frozen=True):
    """`body` is the field path of the body in the request message: "" for none, "*" for the message itself."""

    method: _Method
    body: str
    bindings: list[Binding]


class _Node(Generic[_Method]):
    __slots__ = ("children", "targets", "wildcard")

    def __init__(self) -> None:
        self.children: dict[str, _Node[_Method]] = {}
        #: By HTTP method with the verb; None where two templates collide.
        self.targets: dict[str, _Target[_Method] | None] = {}
        self.wildcard = False

    def target(self, key: str) -> tuple[bool, _Target[_Method] | None]:
        if key in self.targets:
            return True, self.targets[key]
        return "*" in self.targets, self.targets.get("*")

    def find(self, parts: Sequence[str], at: int, key: str) -> tuple[bool, _Target[_Method] | None]:
        """(found something, which is None if it is ambiguous)."""
        while at < len(parts):
            child = self.children.get(parts[at])
            if child is not None:
                found = child.find(parts, at + 1, key)
                if found[0]:
                    return found
            if not self.wildcard:
                break
            at += 1
        else:
            found = self.target(key)
            rest = self.children.get("**")
            return found if found[0] or rest is None else rest.target(key)
        for name in ("*", "**"):
            child = self.children.get(name)
            if child is not None:
                found = child.find(parts, at + 1, key)
                if found[0]:
                    return found
        return False, None


class PathMatcher(Generic[_Method]):
    """See module."""

    def __init__(self, options: MatcherOptions) -> None:
        self._options = options
        self._root: _Node[_Method] = _Node()
        self._verbs: set[str] = set()

    def register(self, http_method: str, template: str, body: str, method: _Method) -> None:
        """Raises `TemplateError` for a template not in form."""
        parsed: HttpTemplate = parse_template(template)
        node = self._root
        for segment in parsed.segments:
            node = node.children.setdefault(segment, _Node())
            if segment == "**":
                node.wildcard = True
        key = http_method + parsed.verb
        node.targets[key] = None if key in node.targets else _Target(method, body, parsed.variables)
        if parsed.verb:
            self._verbs.add(parsed.verb)

    def match(self, http_method: str, path: str, query: str) -> Match[_Method] | None:
        """The method for a path without its query, None if there is none."""
        parts, verb = self._split(path)
        target = self._root.find(parts, 0, http_method + verb)[1]
        if target is None:
            return None
        bindings = [self._bind(variable, parts) for variable in target.variables]
        if query:
            bindings += self._query_bindings(query)
        return Match(target.method, target.body, bindings)

    def _split(self, path: str) -> tuple[list[str], str]:
        verb = ""
        colon = path.rfind(":")
        if colon > path.rfind("/"):
            candidate = path[colon + 1 :]
            if self._options.match_unregistered_verb or candidate in self._verbs:
                verb = candidate
                path = path[:colon]
        parts = path[1:].split("/") if path else []
        while parts and not parts[-1]:
            parts.pop()
        return parts, verb

    def _bind(self, variable: Variable, parts: list[str]) -> Binding:
        end = variable.end if variable.end >= 0 else len(parts) + variable.end + 1
        several = variable.end < 0 or end - variable.start > 1
        spec = self._options.unescape if several else Unescape.ALL
        return Binding(
            variable.field_path, "/".join(unescape(part, spec) for part in parts[variable.start : end])
        )

    def _query_bindings(self, query: str) -> list[Binding]:
        options = self._options
        bindings = []
        for parameter in query.split("&"):
            name, equals, value = parameter.partition("=")
            if name and equals and name not in options.ignored_parameters:
                bindings.append(Binding(tuple(name.split(".")), unescape(value, plus=options.plus_is_space)))
        return bindings
