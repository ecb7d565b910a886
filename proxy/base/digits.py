"""Numbers that peers write: as many digits as they like, which `int` refuses from 4,300 on."""

from __future__ import annotations

from typing import Final

#: The greatest that 32 and 64 bits hold.
UINT32: Final = 2**32 - 1
INT64: Final = 2**63 - 1
UINT64: Final = 2**64 - 1
_MOST_DIGITS: Final = 20
_MOST_HEX_DIGITS: Final = 16
_HEX: Final = frozenset("0123456789abcdefABCDEF")
#: Digits of an x-request-id that make its number.
_ID_DIGITS: Final = 8


def whole_number(text: str, most: int) -> int | None:
    """The number that nothing but ASCII digits make, from 0 to `most` (at most UINT64); None for any other text."""
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0")
    if len(digits) > _MOST_DIGITS:
        return None
    number = int(digits or "0")
    return number if number <= most else None


def is_hex(text: str) -> bool:
    """Whether `text` is hexadecimal digits, at least one."""
    return bool(text) and _HEX.issuperset(text)


def hex_number(text: str) -> int | None:
    """The number of at most 64 bits that hexadecimal digits make; `0x` may go before them, as in Envoy."""
    digits = text[2:] if text[:2] in {"0x", "0X"} else text
    if not is_hex(digits) or len(digits.lstrip("0")) > _MOST_HEX_DIGITS:
        return None
    return int(digits, 16)


def request_number(request_id: str | None) -> int | None:
    """The number that every proxy on the way derives from an x-request-id, so that all choose the same requests.

    None for an id that does not begin with one.
    """
    start = (request_id or "")[:_ID_DIGITS]
    return hex_number(start) if len(start) == _ID_DIGITS else None
