"""`json_format`: a tree of formats rendered as one line of typed JSON.

A value that is a single command keeps its type; anything else is a string. Keys are sorted. A fact that a
stream lacks is `null`, or with `omit_empty` left out, and so is an object that holds nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value

from proxy.base.stream_info import StreamInfo
from proxy.config.context import CompileContext
from proxy.formatter.compile import Format, compile_parts
from proxy.formatter.json_value import json_text, whole
from proxy.formatter.spec import Operator
from proxy.formatter.wire import quote_json, to_wire

#: Renders one value; None where it is to be left out.
_Node = Callable[[StreamInfo], str | int | None]


class JsonFormat:
    """A compiled `json_format`; `render` gives the object and a newline, as wire text."""

    __slots__ = ("_root", "constant", "static")

    def __init__(self, root: _Node, *, static: bool) -> None:
        self._root = root
        self.static = static
        self.constant: str | None = None

    def render(self, info: StreamInfo) -> str:
        """The line for one stream."""
        return f"{self._root(info)}\n"


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
        return JsonFormat(lambda info: members(info) or "{}", static=compiler.static)
    template, getters = compiler.dense_object(message, path)
    return JsonFormat(_dense(template, getters), static=compiler.static)


def _dense(template: str, getters: list[_Node]) -> _Node:
    frozen = tuple(getters)
    return lambda info: template % tuple([getter(info) for getter in frozen])


class _Compiler:
    """Compiles one tree, in one of two ways: without omission the whole tree is one template."""

    def __init__(self, context: CompileContext, omit_empty: bool, extensions: Container[str]) -> None:
        self._context = context
        self._omit_empty = omit_empty
        self._extensions = extensions
        self.static = True

    def dense_object(self, message: Struct, path: str) -> tuple[str, list[_Node]]:
        """A template for the object and the getters of its places."""
        getters: list[_Node] = []
        members = []
        for key in _sorted_keys(message):
            text, found = self._dense_value(message.fields[key], f"{path}.{key}")
            members.append(_escape(quote_json(to_wire(key))) + ":" + text)
            getters += found
        return "{" + ",".join(members) + "}", getters

    def _dense_value(self, value: Value, path: str) -> tuple[str, list[_Node]]:
        match value.WhichOneof("kind"):
            case "struct_value":
                return self.dense_object(value.struct_value, path)
            case "list_value":
                items = [
                    self._dense_value(item, f"{path}[{index}]")
                    for index, item in enumerate(value.list_value.values)
                ]
                getters = [getter for _, found in items for getter in found]
                return "[" + ",".join(text for text, _ in items) + "]", getters
            case "string_value":
                leaf = self._leaf(value.string_value, path, "null")
                return (_escape(leaf), []) if isinstance(leaf, str) else ("%s", [leaf])
            case _:
                return _escape(_literal(value)), []

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
                leaf = self._leaf(value.string_value, path, None)
                return _always(leaf) if isinstance(leaf, str) else leaf
            case "null_value":
                return _always(None)
            case _:
                return _always(_literal(value))

    def _sparse_list(self, values: list[Value], path: str) -> _Node:
        nodes = [self._sparse_value(item, f"{path}[{index}]") for index, item in enumerate(values)]

        def render(info: StreamInfo) -> str:
            return "[" + ",".join(str(text) for node in nodes if (text := node(info)) is not None) + "]"

        return render

    def _leaf(self, text: str, path: str, missing: str | None) -> str | _Node:
        """JSON text for a constant, else a renderer that yields `missing` for a missing fact."""
        parts = compile_parts(text, path, self._context, self._extensions)
        self.static = self.static and all(part.static for part in parts if isinstance(part, Operator))
        if len(parts) == 1 and isinstance(parts[0], Operator):
            return _typed(parts[0], missing)
        joined = Format(parts, "" if self._omit_empty else "-")
        if joined.constant is not None:
            return quote_json(joined.constant)
        return lambda info: quote_json(joined.render(info))


def _typed(part: Operator, missing: str | None) -> _Node:
    getter = part.value

    def render(info: StreamInfo) -> str | int | None:
        value = getter(info)
        kind = type(value)
        if kind is str:
            return quote_json(value)
        if kind is int:
            return value  # type: ignore[no-any-return]  # an int, as just tested
        return missing if value is None else json_text(value)

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


def _escape(text: str) -> str:
    return text.replace("%", "%%")
