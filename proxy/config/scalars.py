"""What a YAML scalar means for a field of a given type, by the rules of Envoy's loader (observed on 1.40).

Envoy turns YAML into JSON first: a quoted scalar is a JSON string; a plain one is null, a bool, a number
(only integers of 32 bits) or else a string. Then protobuf reads the JSON value by the type of the field, and
takes a string for a number or a bool, but never a number or a bool for a string.

A converter takes a node and returns the value, or raises `ValueError` with the reason in plain words.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from yaml.nodes import ScalarNode

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_INT32 = range(-(2**31), 2**31)
_INT64 = range(-(2**63), 2**63)


def _flexible_case(words: str) -> frozenset[str]:
    return frozenset(form for word in words.split() for form in (word, word.capitalize(), word.upper()))


_YAML_TRUE = _flexible_case("y yes true on")
_YAML_FALSE = _flexible_case("n no false off")
_TEXT_TRUE = frozenset(("true", "t", "yes", "y", "1"))
_TEXT_FALSE = frozenset(("false", "f", "no", "n", "0"))

_MAYBE_NOT_TEXT = re.compile(r"[-+0-9~yYnNtTfFoO]|\Z").match
_YAML_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))\Z").match
_DECIMAL = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?\Z").match
_INTEGER = re.compile(r"-?[0-9]+\Z").match
_HEX = re.compile(r"-?0[xX][0-9a-fA-F]+\Z").match
_DURATION = re.compile(r"(-?)([0-9]+)(?:\.([0-9]{1,9}))?s\Z").match
_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[-+]\d\d:\d\d)\Z").match

_MAX_DURATION_SECONDS = 315_576_000_000
_SHOWN = 60


def show(text: str) -> str:
    """A value for a message, quoted and cut to a readable length."""
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def is_null(node: Any) -> bool:
    """Whether a node is a plain null."""
    return node.__class__ is ScalarNode and not node.style and node.value in _NULLS


def json_value(node: ScalarNode) -> str | bool | int | None:
    """The JSON value that Envoy makes of a scalar; an int is always one of 32 bits."""
    text: str = node.value
    if node.style or not _MAYBE_NOT_TEXT(text):
        return text
    if text in _NULLS:
        return None
    if text in _YAML_TRUE:
        return True
    if text in _YAML_FALSE:
        return False
    number = _yaml_integer(text)
    if number is None:
        return text
    return number if number in _INT32 else str(number)


def _yaml_integer(text: str) -> int | None:
    match = _YAML_INTEGER(text)
    if match is None or len(text) > 24:
        return None
    sign, hexadecimal, octal, decimal = match.groups()
    if hexadecimal is not None:
        number = int(hexadecimal, 16)
    elif octal is not None:
        number = int(octal, 8)
    else:
        number = int(decimal)
    if sign == "-":
        number = -number
    return number if number in _INT64 else None


def text_value(node: Any) -> str:
    """A `string` field."""
    if node.__class__ is not ScalarNode:
        raise ValueError(f"expected text, found {_kind(node)}")
    text: str = node.value
    if node.style or not _MAYBE_NOT_TEXT(text):
        return text
    value = json_value(node)
    if value.__class__ is not str:
        raise ValueError(f'expected text, found the {_kind(node)} {text}; write it in quotes: "{text}"')
    return value


def bool_value(node: Any) -> bool:
    """A `bool` field."""
    value = json_value(node) if node.__class__ is ScalarNode else None
    if value is True or value is False:
        return value
    if isinstance(value, str):
        word = value.lower()
        if word in _TEXT_TRUE:
            return True
        if word in _TEXT_FALSE:
            return False
    raise ValueError(f"expected true or false, found {_found(node)}")


def bytes_value(node: Any) -> bytes:
    """A `bytes` field: base64 in the standard or the URL alphabet, padding optional."""
    value = json_value(node) if node.__class__ is ScalarNode else None
    if not isinstance(value, str):
        raise ValueError(f"expected base64 text, found {_found(node)}")
    standard = value.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{show(value)} is not base64; inline text goes into inline_string") from error


def float_value(node: Any) -> float:
    """A `float` or `double` field."""
    value = json_value(node) if node.__class__ is ScalarNode else None
    if value.__class__ is int:
        return float(value)
    if isinstance(value, str):
        if _DECIMAL(value):
            return float(value)
        if _HEX(value):
            return float(int(value, 16))
        if value in ("NaN", "Infinity", "-Infinity"):
            return float(value)
    raise ValueError(f"expected a number, found {_found(node)}")


def integer_converter(low: int, high: int) -> Callable[[Any], int]:
    """A converter for an integer field that holds low..high."""

    def convert(node: Any) -> int:
        value = json_value(node) if node.__class__ is ScalarNode else None
        number: int | None = None
        if value.__class__ is int:
            number = value
        elif isinstance(value, str) and len(value) < 400:
            number = _number_text(value)
        if number is None:
            raise ValueError(f"expected a whole number, found {_found(node)}")
        if not low <= number <= high:
            raise ValueError(f"{node.value} is out of range; expected {low} to {high}")
        return number

    return convert


def _number_text(text: str) -> int | None:
    """The whole number that a text such as "12", "0x1f", "1e3" or "10000.0" spells."""
    if _INTEGER(text):
        return int(text)
    if _HEX(text):
        return int(text, 16)
    if _DECIMAL(text):
        number = float(text)
        if number.is_integer() and abs(number) < 2**64:
            return int(number)
    return None


def enum_converter(enum: Any) -> Callable[[Any], int]:
    """A converter for an enum field: names in any case, or numbers, also unknown ones."""
    by_name = {value.name.upper(): value.number for value in enum.values}

    def convert(node: Any) -> int:
        value = json_value(node) if node.__class__ is ScalarNode else None
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str):
            number: int | None = by_name.get(value.upper())
            if number is not None:
                return number
            if _INTEGER(value) and len(value) < 12 and int(value) in _INT32:
                return int(value)
        from proxy.config.suggest import did_you_mean  # only on the way to an error

        names = [value.name for value in enum.values]
        hint = did_you_mean(str(value), names) if isinstance(value, str) else ""
        hint = hint or f"; expected one of {', '.join(names)}"
        raise ValueError(f"expected a value of {enum.full_name}, found {_found(node)}{hint}")

    return convert


def duration_parts(text: str) -> tuple[int, int]:
    """Seconds and nanoseconds of a text such as "1.5s"."""
    match = _DURATION(text)
    if match is None:
        raise ValueError(f"{show(text)} is not a duration; write seconds with an 's', such as \"0.5s\"")
    sign, whole, fraction = match.groups()
    seconds = int(whole) if len(whole) < 20 else _MAX_DURATION_SECONDS + 1
    if seconds > _MAX_DURATION_SECONDS:
        raise ValueError(f"{show(text)} is out of range for a duration")
    nanos = int(fraction.ljust(9, "0")) if fraction else 0
    return (-seconds, -nanos) if sign else (seconds, nanos)


def timestamp_parts(text: str) -> tuple[int, int]:
    """Seconds since 1970 and nanoseconds of an RFC 3339 text."""
    match = _TIMESTAMP(text)
    if match is not None:
        moment, fraction, zone = match.groups()
        try:
            when = datetime.fromisoformat(moment + ("+00:00" if zone == "Z" else zone))
        except ValueError:
            pass
        else:
            nanos = int(fraction.ljust(9, "0")) if fraction else 0
            return int((when - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()), nanos
    raise ValueError(f'{show(text)} is not a time; write it as "2024-01-31T12:00:00Z"')


def converter_for(field: FieldDescriptor) -> Callable[[Any], Any]:
    """The converter for a scalar field, by its type."""
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return bytes_value if field.type == FieldDescriptor.TYPE_BYTES else text_value
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return bool_value
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return enum_converter(field.enum_type)
    if kind in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return float_value
    return _INTEGER_CONVERTERS[kind]


_INTEGER_CONVERTERS = {
    FieldDescriptor.CPPTYPE_INT32: integer_converter(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: integer_converter(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: integer_converter(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: integer_converter(0, 2**64 - 1),
}


def _kind(node: Any) -> str:
    if node.__class__ is not ScalarNode:
        return "a mapping" if node.id == "mapping" else "a list"
    value = json_value(node)
    if value is None:
        return "null"
    return {str: "text", bool: "boolean", int: "number"}[value.__class__]


def _found(node: Any) -> str:
    """What stands there instead, for the end of a sentence."""
    return show(node.value) if node.__class__ is ScalarNode else _kind(node)
