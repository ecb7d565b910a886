"""Puts the values of path and query into the JSON of a body.

A value of the body wins over a bound one, unless collisions are to be refused; values of a repeated field come
together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from proxy.transcoding.json_reader import JsonObject
from proxy.transcoding.scalars import ScalarError, as_bool, as_float, as_integer, shown

FieldPath = tuple[Any, ...]
"""Field descriptors from the request message to the field."""


class _Branch:
    """What is bound in one message: leaves as (field, value), and further messages by name."""

    __slots__ = ("collision", "leaves", "messages", "refuses")

    def __init__(self, refuses: bool, collision: list[str] | None = None) -> None:
        self.leaves: list[tuple[Any, str]] = []
        self.messages: dict[str, _Branch] = {}
        self.refuses = refuses
        #: One place for all branches.
        self.collision = [""] if collision is None else collision

    def inner(self, name: str) -> _Branch:
        found = self.messages.get(name)
        if found is None:
            found = self.messages[name] = _Branch(self.refuses, self.collision)
        return found


def under(path: str, value: Any) -> Any:
    """The value as the field at a dotted path of an object; "" and "*" stand for the object itself."""
    if path and path != "*":
        for name in reversed([name for name in path.split(".") if name]):
            value = JsonObject([(name, value)])
    return value


def weave(
    value: Any, bindings: Iterable[tuple[FieldPath, str]], *, refuse_collisions: bool
) -> tuple[Any, str]:
    """`value` with the bindings in it, and what is wrong: the last collision, or ""."""
    root = _Branch(refuse_collisions)
    bound = False
    for path, text in bindings:
        branch = root
        for field in path[:-1]:
            branch = branch.inner(field.name)
        branch.leaves.append((path[-1], text))
        bound = True
    if not bound or not isinstance(value, JsonObject):
        return value, ""
    woven = _woven(value, root)
    return woven, root.collision[0]


def _woven(value: JsonObject, branch: _Branch) -> JsonObject:
    made: list[tuple[str, Any]] = []
    for name, one in value.entries:
        if isinstance(one, JsonObject):
            inner = branch.messages.pop(name, None)
            if inner is not None:
                one = _woven(one, inner)
        elif one is not None and not isinstance(one, list):
            _collide(name, one, branch, made)
        made.append((name, one))
    return _rest_of(branch, made)


def _rest_of(branch: _Branch, made: list[tuple[str, Any]]) -> JsonObject:
    made += [(field.name, text) for field, text in branch.leaves]
    made += [(name, _rest_of(inner, [])) for name, inner in branch.messages.items()]
    return JsonObject(made)


def _collide(name: str, value: Any, branch: _Branch, made: list[tuple[str, Any]]) -> None:
    kept = []
    for field, text in branch.leaves:
        if field.name != name:
            kept.append((field, text))
        elif field.is_repeated:
            made.append((name, text))
        elif branch.refuses:
            branch.collision[0] = _difference(name, value, text) or branch.collision[0]
    branch.leaves = kept


def _difference(name: str, value: Any, text: str) -> str:
    kind, same = "", False
    try:
        if isinstance(value, bool):
            kind = "bool"
            same = as_bool(text) is value
        elif isinstance(value, int):
            kind = "int64" if value < 0 else "uint64"
            same = as_integer(text, 64, signed=value < 0) == value
        elif isinstance(value, float):
            kind = "double"
            same = abs(as_float(text) - value) < 32 * 1.1920929e-07
        else:
            same = text == value
    except ScalarError:
        return f"Failed to convert binding value {name}:{shown(text)} to {kind}"
    if same:
        return ""
    return (
        f"The binding value {shown(text)} of the field {name} is conflicting with the value "
        f"{shown(value)} in the body."
    )
