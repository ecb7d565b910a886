"""Small edits on node trees, keeping the place of what is replaced."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from proxy.config.positions import camel_case


def get(node: Node, name: str) -> Any:
    """The value of a key in snake_case or camelCase, or None."""
    if isinstance(node, MappingNode):
        spellings = (name, camel_case(name))
        for key, value in reversed(node.value):
            if isinstance(key, ScalarNode) and key.value in spellings:
                return value
    return None


def text_of(node: Any) -> str:
    """The text of a scalar; empty for anything else."""
    return node.value if isinstance(node, ScalarNode) else ""


def pop(node: MappingNode, name: str) -> Any:
    """Take a key out; its value, or None."""
    value = get(node, name)
    if value is not None:
        spellings = (name, camel_case(name))
        node.value = [pair for pair in node.value if getattr(pair[0], "value", None) not in spellings]
    return value


def put(node: MappingNode, name: str, value: Node) -> None:
    """Set a key; the value's place becomes the key's place."""
    pop(node, name)
    node.value.append((text(name, value), value))


def text(value: str, place: Node) -> ScalarNode:
    """A quoted scalar that stands where `place` stands."""
    return ScalarNode("", value, place.start_mark, place.end_mark, style='"')


def plain(value: str, place: Node) -> ScalarNode:
    """An unquoted scalar that stands where `place` stands."""
    return ScalarNode("", value, place.start_mark, place.end_mark)


def mapping(place: Node, **fields: Node) -> MappingNode:
    """A mapping that stands where `place` stands."""
    return MappingNode(
        "", [(text(name, value), value) for name, value in fields.items()], place.start_mark, place.end_mark
    )


def sequence(items: Iterable[Node], place: Node) -> SequenceNode:
    """A list that stands where `place` stands."""
    return SequenceNode("", list(items), place.start_mark, place.end_mark)


def items_of(node: Node) -> list[Any]:
    """The items of a list; anything else counts as a list of one."""
    return node.value if isinstance(node, SequenceNode) else [node]


def rename(node: MappingNode, old: str, new: str) -> Any:
    """Give a key another name; its value, or None when it is not there."""
    value = pop(node, old)
    if value is not None:
        put(node, new, value)
    return value
