"""The sequence of names in one header block, for further blocks with other values.

A client that puts new values under the same names into each request encodes the names the same way each time: as an
index of the static table, or spelled out. So what stands between the values is compared as a whole, field by field,
which takes half the time of finding out what it means.
"""

from __future__ import annotations

from typing import Final

from proxy.codec.hpack_huffman import decode_strings
from proxy.codec.hpack_tables import FIRST_DYNAMIC_INDEX, STATIC_TABLE, Field

#: Fewer literals are not worth it.
_LEAST_LITERALS: Final = 6
#: A length that does not stand in one byte.
_LONG: Final = 0x7F


class Layout:
    """`lead` are indexed fields, then come literals of `names`; those from `inserted_from` on enter the table."""

    __slots__ = ("_between", "inserted_from", "lead", "names")

    def __init__(self, lead: list[Field], names: list[str], between: list[bytes], inserted_from: int) -> None:
        self.lead = lead
        self.names = names
        self.inserted_from = inserted_from
        self._between = [(part, len(part)) for part in between]

    def read(self, block: bytes) -> list[str] | None:
        """The values of the literals; None if the block has another layout.

        Raises `HpackError` for strings that are none, and `IndexError` for a block that ends before a value.
        """
        strings: list[bytes] = []
        plain: list[tuple[int, str]] | None = None
        startswith = block.startswith
        end = len(block)
        pos = 0
        for part, size in self._between:
            if not startswith(part, pos):
                return None
            pos += size
            length = block[pos]
            pos += 1
            if 0x80 <= length < 0xFF:
                stop = pos + length - 0x80
                strings.append(block[pos:stop])
                pos = stop
                continue
            if length >= _LONG:
                return None
            stop = pos + length
            if plain is None:
                plain = []
            plain.append((len(strings), block[pos:stop].decode("latin-1")))
            strings.append(b"")
            pos = stop
        if pos != end:
            return None
        values = decode_strings(strings)
        if plain is not None:
            for place, value in plain:
                values[place] = value
        return values


def learn(block: bytes, fields: list[Field]) -> Layout | None:
    """The layout of a block, which is valid and has these fields; None if it is not of the kind that has one."""
    pos = 0
    while 0x80 < block[pos] < 0x80 | FIRST_DYNAMIC_INDEX:
        pos += 1
        if pos == len(block):
            return None
    lead = [STATIC_TABLE[byte - 0x81] for byte in block[:pos]]
    names: list[str] = []
    between: list[bytes] = []
    inserted_from = -1
    start = 0
    for name, _ in fields[pos:]:
        byte = block[pos]
        index = byte & 0x3F if byte >= 0x40 else byte
        if byte >= 0x80 or 0x0F <= byte < 0x40 or index >= FIRST_DYNAMIC_INDEX:
            return None
        if byte >= 0x40 and inserted_from < 0:
            inserted_from = len(names)
        if byte < 0x40 and inserted_from >= 0:
            return None
        pos += 1
        if not index:
            length = block[pos] & 0x7F
            if length == _LONG:
                return None
            pos += 1 + length
        names.append(name)
        between.append(block[start:pos])
        length = block[pos] & 0x7F
        if length == _LONG:
            return None
        start = pos = pos + 1 + length
    if len(names) < _LEAST_LITERALS or pos != len(block):
        return None
    return Layout(lead, names, between, len(names) if inserted_from < 0 else inserted_from)
