"""Plain Python data out of protobuf `Struct`s, and JSON text out of plain data."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import ListValue, Struct, Value

from proxy.formatter.wire import quote_json, to_wire

_EXACT = 1 << 53


def plain_value(value: Any, key: str | None = None) -> Any:
    """A `Value`, `Struct`, `ListValue` or map of them as Python data; texts become wire text.

    With `key` the member of that name, or None. Whole numbers become `int`.
    """
    if key is not None:
        fields = _members(value)
        return None if fields is None or key not in fields else fields[key]
    if isinstance(value, Value):
        return _of_value(value)
    if isinstance(value, ListValue):
        return [_of_value(item) for item in value.values]
    if isinstance(value, Struct):
        return {to_wire(name): _of_value(item) for name, item in value.fields.items()}
    if isinstance(value, str):
        return to_wire(value) if not value.isascii() and not _is_wire(value) else value
    return value


def _members(value: Any) -> Any:
    """What can be looked into by name: the fields of a struct, or a map of structs."""
    if isinstance(value, Value):
        return value.struct_value.fields if value.WhichOneof("kind") == "struct_value" else None
    if isinstance(value, Struct):
        return value.fields
    if isinstance(value, Message) or not hasattr(value, "items"):
        return None
    return value


def _of_value(value: Value) -> Any:
    match value.WhichOneof("kind"):
        case "string_value":
            return to_wire(value.string_value)
        case "number_value":
            return whole(value.number_value)
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return plain_value(value.struct_value)
        case "list_value":
            return plain_value(value.list_value)
        case _:
            return None


def whole(number: float) -> int | float:
    """`number` as an integer where it is one and a double holds it exactly."""
    return int(number) if number.is_integer() and abs(number) <= _EXACT else number


def json_text(value: Any) -> str:
    """JSON without spaces, keys sorted, texts taken as wire text; what has no JSON form is shown as text."""
    match value:
        case str():
            return quote_json(value)
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return repr(value) if value == value and abs(value) != float("inf") else "null"
        case dict():
            members = ",".join(f"{quote_json(str(k))}:{json_text(v)}" for k, v in sorted(value.items()))
            return "{" + members + "}"
        case list() | tuple():
            return "[" + ",".join(map(json_text, value)) + "]"
        case Struct() | ListValue() | Value():
            return json_text(plain_value(value))
        case _:
            return quote_json(to_wire(str(value)))


def _is_wire(text: str) -> bool:
    """Whether every character could be a byte: text that a filter took from a header."""
    return all(character <= "\xff" for character in text)
