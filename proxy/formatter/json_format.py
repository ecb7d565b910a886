"""`json_format`: a tree of formats rendered as one line of typed JSON.

A value that is a single command keeps its type; anything else is a string. Keys are sorted. A fact that a
stream lacks is `null`, or with `omit_empty` left out, and so is an object that holds nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from json.encoder import encode_basestring
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value

from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.formatter.compile import Format, compile_parts
from proxy.formatter.json_value import json_text, whole
from proxy.formatter.spec import Facts, Operator, all_facts
from proxy.formatter.template import Hole, Template
from proxy.formatter.wire import quote_json, to_wire

#: Renders one value; None where it is to be left out.
_Node = Callable[[StreamInfo], str | int | None]


class JsonFormat:
    """A compiled `json_format`; `render` gives the object and a newline, as wire text. See `Format`."""

    __slots__ = ("constant", "facts", "render", "static")

    def __init__(self, render: Callable[[StreamInfo], str], *, static: bool, facts: Facts) -> None:
        self.render = render
        self.static = static
        self.facts = facts
        self.constant: str | None = None


def compile_json_format(
    message: Struct,
    path: str,
    context: CompileContext,
    *,
    omit_empty: bool = False,
    extensions: Container[str] = (),
) -> JsonFormat:
    """Compile a `json_format`; problems name the member, as in `path.key`."""
    compiler = _Compiler(context, omit_empty, extensions)
    if omit_empty:
        members = compiler.sparse_object(message, path)
        render: Callable[[StreamInfo], str] = lambda info: f"{members(info) or '{}'}\n"  # noqa: E731
    else:
        render = Template([*compiler.dense_object(message, path), "\n"], "null").render
    return JsonFormat(render, static=compiler.static, facts=compiler.facts)


class _Compiler:
    """Compiles one tree, in one of two ways: without omission the whole tree is one template."""

    def __init__(self, context: CompileContext, omit_empty: bool, extensions: Container[str]) -> None:
        self._context = context
        self._omit_empty = omit_empty
        self._extensions = extensions
        self.static = True
        self.facts = Facts.NONE

    def dense_object(self, message: Struct, path: str) -> list[str | Hole]:
        """The parts of a template for the object."""
        parts: list[str | Hole] = ["{"]
        for index, key in enumerate(_sorted_keys(message)):
            parts.append(("," if index else "") + quote_json(to_wire(key)) + ":")
            parts += self._dense_value(message.fields[key], f"{path}.{key}")
        return [*parts, "}"]

    def _dense_value(self, value: Value, path: str) -> list[str | Hole]:
        match value.WhichOneof("kind"):
            case "struct_value":
                return self.dense_object(value.struct_value, path)
            case "list_value":
                parts: list[str | Hole] = ["["]
                for index, item in enumerate(value.list_value.values):
                    parts += [","] if index else []
                    parts += self._dense_value(item, f"{path}[{index}]")
                return [*parts, "]"]
            case "string_value":
                return [self._leaf(value.string_value, path)]
            case _:
                return [_literal(value)]

    def sparse_object(self, message: Struct, path: str) -> _Node:
        """A renderer that leaves out what is missing, and itself if nothing remains."""
        members = [
            (quote_json(to_wire(key)) + ":", self._sparse_value(message.fields[key], f"{path}.{key}"))
            for key in _sorted_keys(message)
        ]

        def render(info: StreamInfo) -> str | None:
            shown = [f"{key}{text}" for key, node in members if (text := node(info)) is not None]
            return "{" + ",".join(shown) + "}" if shown else None

        return render

    def _sparse_value(self, value: Value, path: str) -> _Node:
        match value.WhichOneof("kind"):
            case "struct_value":
                return self.sparse_object(value.struct_value, path)
            case "list_value":
                return self._sparse_list(list(value.list_value.values), path)
            case "string_value":
                leaf = self._leaf(value.string_value, path)
                return _always(leaf) if isinstance(leaf, str) else leaf.getter
            case "null_value":
                return _always(None)
            case _:
                return _always(_literal(value))

    def _sparse_list(self, values: list[Value], path: str) -> _Node:
        nodes = [self._sparse_value(item, f"{path}[{index}]") for index, item in enumerate(values)]

        def render(info: StreamInfo) -> str:
            return "[" + ",".join(str(text) for node in nodes if (text := node(info)) is not None) + "]"

        return render

    def _leaf(self, text: str, path: str) -> str | Hole:
        """JSON text for a constant, else a hole for it, filled with None for a missing fact."""
        parts = compile_parts(text, path, self._context, self._extensions)
        operators = [part for part in parts if isinstance(part, Operator)]
        self.static = self.static and all(one.static for one in operators)
        self.facts |= all_facts(operators)
        kept = all(one.kept for one in operators)
        if len(parts) == 1 and operators:
            return Hole(_typed(operators[0]), kept)
        joined = Format(parts, "" if self._omit_empty else "-")
        if joined.constant is not None:
            return quote_json(joined.constant)
        return Hole(lambda info: quote_json(joined.render(info)), kept)


def _typed(part: Operator) -> _Node:
    getter = part.value

    def render(info: StreamInfo) -> str | int | None:
        value = getter(info)
        kind = type(value)
        if kind is str:
            return encode_basestring(value) if value.isascii() else quote_json(value)
        if kind is int:
            return value  # type: ignore[no-any-return]  # an int, as just tested
        return None if value is None else json_text(value)

    return render


def _always(text: str | None) -> _Node:
    return lambda _info: text


def _literal(value: Value) -> str:
    match value.WhichOneof("kind"):
        case "number_value":
            return json_text(whole(value.number_value))
        case "bool_value":
            return "true" if value.bool_value else "false"
        case _:
            return "null"


def _sorted_keys(message: Any) -> list[str]:
    return sorted(message.fields, key=lambda key: key.encode())
