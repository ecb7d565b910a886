"""Integers of HPACK as they are read (RFC 7541 section 5.1)."""

from __future__ import annotations

from typing import Final

from proxy.codec.hpack_tables import HpackError

#: A block that ends within a field fails as a wrong index does; telling them apart would cost time in valid ones.
BAD_INDEX: Final = "hpack: invalid index or truncated block"
#: As quiche: ten bytes after the prefix, 64 bits.
_MAX_SHIFT: Final = 63


def read_index(block: bytes, pos: int) -> tuple[int, int]:
    """The index of a field, and the position behind it."""
    byte = block[pos]
    if 0x20 <= byte < 0x40:
        raise HpackError("hpack: size update behind a field, or a third one")
    mask = 0x7F if byte >= 0x80 else 0x3F if byte >= 0x40 else 0x0F
    index = byte & mask
    pos += 1
    if index == mask:
        return read_integer(block, pos, mask)
    if not index:
        raise HpackError(BAD_INDEX)
    return index, pos


def read_integer(block: bytes, pos: int, value: int) -> tuple[int, int]:
    """An integer whose prefix is full with `value`, and the position behind it (RFC 7541 section 5.1)."""
    shift = 0
    while True:
        byte = block[pos]
        pos += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, pos
        shift += 7
        if shift > _MAX_SHIFT:
            raise HpackError("hpack: integer too long")
