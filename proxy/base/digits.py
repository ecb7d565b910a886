"""Numbers that peers write: as many digits as they like, which `int` refuses from 4,300 on."""

from __future__ import annotations

from typing import Final

#: The greatest that 32 and 64 bits hold.
UINT32: Final = 2**32 - 1
INT64: Final = 2**63 - 1
UINT64: Final = 2**64 - 1
_MOST_DIGITS: Final = 20


def whole_number(text: str, most: int) -> int | None:
    """The number that nothing but ASCII digits make, from 0 to `most` (at most UINT64); None for any other text."""
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0")
    if len(digits) > _MOST_DIGITS:
        return None
    number = int(digits or "0")
    return number if number <= most else None
