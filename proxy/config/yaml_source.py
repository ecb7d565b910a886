"""YAML text to a tree of nodes that remember their place, through libyaml.

JSON is read by the same code, since YAML contains it. Only the first document of a file counts, as in Envoy.
Scalars are not resolved here: what a text means depends on the field that it is for, see `scalars`.
"""

from __future__ import annotations

import json
import re
from typing import Any

import yaml
from yaml._yaml import CParser
from yaml.nodes import MappingNode, Node, ScalarNode

from proxy.base.errors import ConfigError, Problem
from proxy.config.positions import position

MAX_DEPTH = 100
"""Levels of nesting in a document; protobuf refuses to decode messages nested deeper than this."""

MAX_EXPANDED_NODES = 5_000_000
"""Nodes of a document after its aliases are expanded: a few lines of aliases to aliases can mean billions."""

_SAFE_COMPOSE_DEPTH = 500
_BRACKETS = re.compile(r"[\[\]{}]")
_DEEP_INDENT = re.compile(rf"\n[ \-?:]{{{_SAFE_COMPOSE_DEPTH}}}")

_PLAIN_WORDS = (
    ("found character '\\t' that cannot start any token", "a tab is used to indent; YAML allows only spaces"),
    (
        "found character that cannot start any token",
        "this character cannot start a value; put the value in quotes",
    ),
    (
        "mapping values are not allowed in this context",
        "unexpected ':'; check the indentation, or quote the value",
    ),
    ("did not find expected key", "expected a key here; check the indentation"),
    ("did not find expected '-' indicator", "expected '-' here; check the indentation of this list"),
    ("did not find expected ',' or ']'", "a '[' list is not closed: expected ',' or ']'"),
    ("did not find expected ',' or '}'", "a '{' mapping is not closed: expected ',' or '}'"),
    ("could not find expected ':'", "expected ':' after this key"),
    ("found unexpected end of stream", "a quoted text is not closed"),
    (
        "did not find expected alphabetic or numeric character",
        "expected a name after '*' or '&'; put the value in quotes, or close the quoted text above",
    ),
    ("found undefined alias", "an alias refers to an anchor that is not defined above it"),
    ("found duplicate anchor; first occurrence", "this anchor is defined twice"),
    ("found incompatible YAML document", "only YAML 1.x is supported"),
)


class _Composer(CParser):
    """Builds nodes and leaves tags alone; resolving them in Python would double the time."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> None:
        """No tag."""

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        """Nothing to follow."""

    def ascend_resolver(self) -> None:
        """Nothing to follow."""


def compose(source: str | bytes, origin: str) -> Node | None:
    """The tree of the first document, or None when there is none. `origin` names the source in problems.

    Raises `ConfigError` with one problem for text that is not YAML or is nested or aliased out of bounds.
    """
    text = _decode(source, origin) if isinstance(source, bytes) else source
    if _may_be_deep(text):
        _check_event_depth(text, origin)
    try:
        parser = _Composer(text.encode("utf-8", "surrogatepass"))
        node: Node | None = parser.get_node() if parser.check_node() else None
    except yaml.YAMLError as error:
        if origin.endswith(".json"):
            return _compose_json(text, origin)
        raise ConfigError([_syntax_problem(error, text, origin)]) from error
    if node is not None and "*" in text and "&" in text:
        _check_aliases(node, origin)
    return node


def _compose_json(text: str, origin: str) -> Node | None:
    """JSON that is not YAML: almost always an error, else escaped surrogate pairs, which lose positions."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            [Problem("", f"JSON syntax: {error.msg}", error.lineno, error.colno, origin)]
        ) from error
    return compose(json.dumps(value, ensure_ascii=False), "")


def _decode(data: bytes, origin: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = _line_column(data, error.start)
        reason = f"byte 0x{data[error.start]:02x} is not valid UTF-8"
        raise ConfigError([Problem("", reason, line, column, origin)]) from error


def _line_column(data: bytes, offset: int) -> tuple[int, int]:
    """Line and column of a byte offset, from 1; columns count characters."""
    before = data[:offset]
    line_start = before.rfind(b"\n") + 1
    return before.count(b"\n") + 1, len(before[line_start:].decode("utf-8", "replace")) + 1


def _syntax_problem(error: yaml.YAMLError, text: str, origin: str) -> Problem:
    if isinstance(error, yaml.reader.ReaderError):
        line, column = _line_column(text.encode("utf-8", "surrogatepass"), error.position)
        reason = f"character U+{error.character:04X} is not allowed: {error.reason}"
        return Problem("", reason, line, column, origin)
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        cause = error.problem or error.context or "not YAML"
        line, column = (0, 0) if mark is None else (mark.line + 1, mark.column + 1)
        if "cannot start any token" in cause and mark is not None and _character(text, mark) == "\t":
            cause = "found character '\\t' that cannot start any token"
        for phrase, words in _PLAIN_WORDS:
            if phrase in cause:
                cause = words
                break
        if error.context_mark is not None and error.context_mark.line + 1 != line:
            cause += f" ({error.context}, which begins at line {error.context_mark.line + 1})"
        return Problem("", f"YAML syntax: {cause}", line, column, origin)
    return Problem("", f"YAML syntax: {error}", 0, 0, origin)


def _character(text: str, mark: Any) -> str:
    lines = text.split("\n", mark.line + 1)
    return lines[mark.line][mark.column : mark.column + 1] if mark.line < len(lines) else ""


def _may_be_deep(text: str) -> bool:
    """Whether the nesting could exhaust the C stack when libyaml composes it; errs towards yes."""
    depth = 0
    for match in _BRACKETS.finditer(text):
        if match.group() in "[{":
            depth += 1
            if depth > _SAFE_COMPOSE_DEPTH:
                return True
        elif depth:
            depth -= 1
    return (
        _DEEP_INDENT.search("\n" + text[:_SAFE_COMPOSE_DEPTH]) is not None
        or _DEEP_INDENT.search(text) is not None
    )


def _check_event_depth(text: str, origin: str) -> None:
    """Raise before composing when the event stream itself nests too deeply; composing recurses in C."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MAX_DEPTH:
                    reason = f"nested more than {MAX_DEPTH} levels deep"
                    raise ConfigError([Problem("", reason, *position(event), origin)])
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            elif isinstance(event, yaml.DocumentEndEvent):
                return
    except yaml.YAMLError as error:
        raise ConfigError([_syntax_problem(error, text, origin)]) from error


def _check_aliases(root: Node, origin: str) -> None:
    """Raise for an alias to something that contains it, and for aliases that expand out of bounds."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, done = stack.pop()
        if isinstance(node, ScalarNode):
            sizes[id(node)] = 1
            continue
        children = (
            [part for pair in node.value for part in pair] if isinstance(node, MappingNode) else node.value
        )
        if done:
            open_nodes.discard(id(node))
            sizes[id(node)] = size = 1 + sum(sizes[id(child)] for child in children)
            if size > MAX_EXPANDED_NODES:
                reason = f"aliases expand to more than {MAX_EXPANDED_NODES} values"
                raise ConfigError([Problem("", reason, *position(node), origin)])
        elif id(node) in open_nodes:
            reason = "an alias refers to something that contains the alias itself"
            raise ConfigError([Problem("", reason, *position(node), origin)])
        elif id(node) not in sizes:
            open_nodes.add(id(node))
            stack.append((node, True))
            stack.extend((child, False) for child in children if id(child) not in sizes)
