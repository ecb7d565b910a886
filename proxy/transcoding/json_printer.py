"""Prints protobuf messages as JSON, in the form of the C++ library: field order, numbers, escapes.

Well-known types with a JSON form of their own go through `google.protobuf.json_format`. The entries of a map come
in no certain order.
"""

from __future__ import annotations

import base64
import math
import re
import struct
from typing import Any, Final

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from msgspec import Struct

from proxy.transcoding.scalars import print_float

_ESCAPED: Final = re.compile("[\x00-\x1f\"\\\\<>\x7f-\x9f\xad\u0600-\u0603\u06dd\u070f\u17b4\u17b5"
    "\u200b-\u200f\u2028-\u202e\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0001"
    "\U000e0020-\U000e007f\U0001d173-\U0001d17a]")  # fmt: skip
_SHORT: Final = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LONG_INTEGERS: Final = frozenset({FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64})
_SPECIAL: Final = frozenset(
    f"google.protobuf.{name}"
    for name in ("Duration", "FieldMask", "ListValue", "Struct", "Timestamp", "Value")
)
_WRAPPERS: Final = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Bool", "Bytes", "Double", "Float", "Int32", "Int64", "String", "UInt32", "UInt64")
)


class PrintOptions(Struct, frozen=True):
    """`PrintOptions` of the filter, without the ways to delimit a stream."""

    whitespace: bool = False
    always_print_primitives: bool = False
    enums_as_integers: bool = False
    proto_names: bool = False


class JsonPrinter:
    """Prints messages of one descriptor pool."""

    def __init__(self, pool: DescriptorPool, options: PrintOptions) -> None:
        self._pool = pool
        self._options = options

    def print(self, message: Any) -> str:
        """The text. Raises `ValueError` or `TypeError` for a well-known type that has no JSON form."""
        text = self._message(message, 0)
        return text + "\n" if self._options.whitespace else text

    def _message(self, message: Any, depth: int) -> str:
        name = message.DESCRIPTOR.full_name
        if name in _WRAPPERS:
            return self._scalar(message.DESCRIPTOR.fields_by_name["value"], message.value)
        if name in _SPECIAL:
            return self._plain(json_format.MessageToDict(message), depth)
        if name == "google.protobuf.Any":
            return self._any(message, depth)
        return self._wrap("{", "}", self._entries(message, depth), depth)

    def _any(self, message: Any, depth: int) -> str:
        if not message.type_url:
            return "{}"
        try:
            descriptor = self._pool.FindMessageTypeByName(message.type_url.rpartition("/")[2])
        except KeyError:
            raise ValueError(f"no message {message.type_url}") from None
        inner = message_factory.GetMessageClass(descriptor).FromString(message.value)
        kind = f'"@type":{self._gap}{print_string(message.type_url)}'
        if descriptor.full_name in _SPECIAL | _WRAPPERS | {"google.protobuf.Any"}:
            entries = [f'"value":{self._gap}{self._message(inner, depth + 1)}']
        else:
            entries = self._entries(inner, depth)
        return self._wrap("{", "}", [kind, *entries], depth)

    def _entries(self, message: Any, depth: int) -> list[str]:
        proto_names = self._options.proto_names
        return [
            f"{print_string(field.name if proto_names else field.json_name)}:{self._gap}"
            f"{self._field(field, value, depth + 1)}"
            for field, value in self._fields(message)
        ]

    @property
    def _gap(self) -> str:
        return " " if self._options.whitespace else ""

    def _fields(self, message: Any) -> list[tuple[Any, Any]]:
        if not self._options.always_print_primitives:
            present: list[tuple[Any, Any]] = message.ListFields()
            return present
        return [
            (field, getattr(message, field.name))
            for field in sorted(message.DESCRIPTOR.fields, key=lambda field: field.number)
            if not field.has_presence or message.HasField(field.name)
        ]

    def _field(self, field: Any, value: Any, depth: int) -> str:
        if not field.is_repeated:
            return self._one(field, value, depth)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            inner = field.message_type.fields_by_name["value"]
            entries = [
                f"{print_string(_key_text(key))}:{self._gap}{self._one(inner, value[key], depth + 1)}"
                for key in value
            ]
            return self._wrap("{", "}", entries, depth)
        return self._wrap("[", "]", [self._one(field, item, depth + 1) for item in value], depth)

    def _one(self, field: Any, value: Any, depth: int) -> str:
        return self._message(value, depth) if field.message_type is not None else self._scalar(field, value)

    def _scalar(self, field: Any, value: Any) -> str:
        kind = field.cpp_type
        if kind == FieldDescriptor.CPPTYPE_ENUM:
            return self._enum(field.enum_type, value)
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return "true" if value else "false"
        if kind in _LONG_INTEGERS:
            return f'"{value}"'
        if kind == FieldDescriptor.CPPTYPE_DOUBLE:
            return _print_real(value, single=False)
        if kind == FieldDescriptor.CPPTYPE_FLOAT:
            return _print_real(value, single=True)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return f'"{base64.b64encode(value).decode()}"'
        return print_string(value) if isinstance(value, str) else str(value)

    def _enum(self, descriptor: Any, number: int) -> str:
        if descriptor.full_name == "google.protobuf.NullValue":
            return "null"
        named = descriptor.values_by_number.get(number)
        return str(number) if self._options.enums_as_integers or named is None else f'"{named.name}"'

    def _plain(self, value: Any, depth: int) -> str:
        if isinstance(value, dict):
            entries = [
                f"{print_string(key)}:{self._gap}{self._plain(one, depth + 1)}" for key, one in value.items()
            ]
            return self._wrap("{", "}", entries, depth)
        if isinstance(value, list):
            return self._wrap("[", "]", [self._plain(one, depth + 1) for one in value], depth)
        if isinstance(value, str):
            return print_string(value)
        if value is None or isinstance(value, bool):
            return {None: "null", True: "true", False: "false"}[value]
        return print_float(value) if isinstance(value, float) else str(value)

    def _wrap(self, opening: str, closing: str, parts: list[str], depth: int) -> str:
        if not parts or not self._options.whitespace:
            return f"{opening}{','.join(parts)}{closing}"
        indent = "\n" + " " * depth
        return f"{opening}{','.join(f'{indent} {part}' for part in parts)}{indent}{closing}"


def print_string(text: str) -> str:
    """A JSON string."""
    return f'"{_ESCAPED.sub(_escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    short = _SHORT.get(character)
    if short is not None:
        return short
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def _key_text(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)


def _print_real(value: float, *, single: bool) -> str:
    if not math.isfinite(value):
        return '"NaN"' if math.isnan(value) else '"Infinity"' if value > 0 else '"-Infinity"'
    if not single:
        return print_float(value)
    text = f"{value:.6g}"
    return text if _float32(float(text)) == value else f"{value:.9g}"


def _float32(value: float) -> float:
    try:
        rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.inf
    return rounded
