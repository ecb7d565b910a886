"""From the field path of a problem to its place in the source text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from proxy.base.errors import Problem

Segments = list[str | int]

_SEGMENT = re.compile(r"\[(\d+)\]|\[(?:'([^']*)'|\"([^\"]*)\")\]|([^.\[\]]+)")


def segments_of(path: str) -> Segments:
    """The steps of a path such as `a.b[3].c['key']`."""
    return [
        int(index) if index else name or quoted or double
        for index, quoted, double, name in _SEGMENT.findall(path)
    ]


def path_of(segments: Iterable[str | int]) -> str:
    """The text of a path. A segment that begins with '[' is a map key and is appended as it is."""
    text = ""
    for segment in segments:
        if isinstance(segment, int):
            text += f"[{segment}]"
        elif segment.startswith("["):
            text += segment
        else:
            text += f".{segment}" if text else segment
    return text


def camel_case(name: str) -> str:
    """The JSON spelling of a proto field name."""
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def position(node: Any) -> tuple[int, int]:
    """Line and column of a node or event, from 1; (0, 0) for one that came from no text."""
    mark = node.start_mark
    return (0, 0) if mark is None else (mark.line + 1, mark.column + 1)


class Positions:
    """The trees of the sources that were merged, in order, kept to say where a field stands.

    A later source is laid over an earlier one: its scalars win, its lists continue the earlier lists.
    """

    def __init__(self, sources: Sequence[tuple[str, Node]]) -> None:
        self._sources = list(sources)

    def place(self, problem: Problem) -> Problem:
        """The problem with its origin, line and column, if it has a path and no place yet."""
        if problem.line or not self._sources:
            return problem
        candidates = [(origin, root, root) for origin, root in self._sources]
        for segment in segments_of(problem.path):
            deeper = _step(candidates, segment)
            if not deeper:
                break
            candidates = deeper
        origin, _, node = candidates[-1]
        line, column = position(node)
        return replace(problem, origin=origin, line=line, column=column)


_Candidate = tuple[str, Node, Node]


def _step(candidates: list[_Candidate], segment: str | int) -> list[_Candidate]:
    deeper = []
    for origin, _, node in candidates:
        if isinstance(segment, int):
            items = node.value if isinstance(node, SequenceNode) else [node]
            if segment < len(items):
                return [(origin, node, items[segment])]
            segment -= len(items)
        else:
            found = _child(node, segment)
            if found is not None:
                deeper.append((origin, node, found))
    return deeper


def _child(node: Node, name: str) -> Node | None:
    """The value of a key in snake_case or camelCase; for a TypedStruct, of a key of what it carries."""
    if not isinstance(node, MappingNode):
        return None
    camel = camel_case(name)
    carried = None
    for key, value in reversed(node.value):
        if isinstance(key, ScalarNode):
            if key.value in (name, camel):
                return value  # type: ignore[no-any-return]
            if key.value == "value":
                carried = value
    if carried is not None and any(getattr(key, "value", "") == "@type" for key, _ in node.value):
        return _child(carried, name)
    return None
