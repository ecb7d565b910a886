"""Faults met while a node tree is read into a message: node, reason, and a path that grows on the way up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from yaml.nodes import Node, ScalarNode, SequenceNode

from proxy.config.scalars import is_null

ERROR, UNKNOWN_FIELD, WARNING = "error", "unknown field", "warning"


class Fault:
    """Something wrong at a node. `path` is reversed: the innermost segment first."""

    __slots__ = ("node", "path", "reason", "severity")

    def __init__(self, node: Node, reason: str, severity: str = ERROR) -> None:
        self.node = node
        self.reason = reason
        self.severity = severity
        self.path: list[str | int] = []


Faults = list[Fault] | None
Reader = Callable[[Any, Any, int], Faults]
"""`read(message, node, depth)` fills `message` from `node`."""


def describe(node: Any) -> str:
    """What a node is, for the end of a sentence."""
    if node.__class__ is ScalarNode:
        return repr(node.value[:60]) if node.value else "nothing"
    return "a list" if node.__class__ is SequenceNode else "a mapping"


def indexed(faults: Faults, index: int) -> Faults:
    """Put the index of a list item before the paths of its faults."""
    for fault in faults or ():
        fault.path.append(index)
    return faults


def key_text(node: ScalarNode) -> str:
    """The text of a mapping key; a null key is the text "null", as in Envoy."""
    return "null" if is_null(node) else node.value
