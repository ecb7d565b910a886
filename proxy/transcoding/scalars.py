"""Conversions from JSON values to scalars of protobuf, as liberal as Envoy: most types also come as strings."""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from typing import Any, Final

#: As many digits as 64 bits can need, with room for zeros: Python refuses to read thousands.
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,100}")
_REAL: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_TRUE: Final = frozenset({"true", "t", "yes", "y", "1"})
_FALSE: Final = frozenset({"false", "f", "no", "n", "0"})
_NAMED_FLOATS: Final = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}


class ScalarError(ValueError):
    """The value has no place in the type; `str` of it is the value as it is shown."""


def shown(value: Any) -> str:
    """A value as error texts show it."""
    if isinstance(value, str):
        return f'"{value}"'
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return print_float(value) if isinstance(value, float) else str(value)


def print_float(value: float) -> str:
    """A double in as few digits as 15 or 17."""
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    text = f"{value:.15g}"
    return text if float(text) == value else f"{value:.17g}"


def as_integer(value: Any, bits: int, *, signed: bool) -> int:
    """An integer of 32 or 64 bits."""
    number: int | None = None
    if isinstance(value, str):
        if _INTEGER.fullmatch(value):
            number = int(value)
    elif isinstance(value, float):
        if value.is_integer():
            number = int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if number is None or not low <= number <= high:
        raise ScalarError(shown(value))
    return number


def as_float(value: Any, *, single: bool = False) -> float:
    """A double, or with `single` a float."""
    number: float | None = None
    if isinstance(value, str):
        number = _NAMED_FLOATS.get(value)
        if number is not None:
            return number
        if _REAL.fullmatch(value):
            number = float(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
    if number is None or math.isinf(number):
        raise ScalarError(shown(value))
    if single:
        try:
            struct.pack("<f", number)
        except OverflowError:
            raise ScalarError(shown(value)) from None
    return number


def as_bool(value: Any) -> bool:
    """A bool."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        lower = value.lower()
        if lower in _TRUE or lower in _FALSE:
            return lower in _TRUE
    raise ScalarError(shown(value))


def as_text(value: Any) -> str:
    """A string; bytes that are not UTF-8 are refused."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            pass
        else:
            return value
    raise ScalarError(shown(value))


def as_bytes(value: Any) -> bytes:
    """Bytes in either alphabet of base64, with or without padding."""
    if isinstance(value, str):
        text = "".join(value.split()).rstrip("=").replace("-", "+").replace("_", "/")
        try:
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            pass
    raise ScalarError(shown(value))


def as_enum(value: Any, descriptor: Any, *, any_case: bool) -> int:
    """The number of an enum value: by name, by number, or with `any_case` by a name in another case."""
    if not isinstance(value, str):
        return as_integer(value, 32, signed=True)
    found = descriptor.values_by_name.get(value)
    if found is None and _INTEGER.fullmatch(value):
        found = descriptor.values_by_number.get(int(value))
    if found is None and any_case:
        found = descriptor.values_by_name.get(value.upper().replace("-", "_"))
    if found is None:
        raise ScalarError(shown(value))
    number: int = found.number
    return number
