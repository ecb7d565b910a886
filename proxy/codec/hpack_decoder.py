"""Header blocks to fields (RFC 7541), for one direction of one connection.

Static and dynamic entries stand in one list, at their index, so an indexed field costs one subscript; the entry
tuples are handed out as they are. Strictness follows Envoy's codec (quiche): at most two size updates, only at the
start of a block and never above our SETTINGS; a lowered table size has to be acknowledged by such an update.

Blocks come from a peer: time is linear in the length of the block, and over the limits fields are counted but
no longer kept, while the table follows the block to its end.
"""

from __future__ import annotations

from typing import Final

from proxy.codec.hpack_huffman import decode_huffman
from proxy.codec.hpack_tables import (
    DEFAULT_TABLE_SIZE,
    ENTRY_OVERHEAD,
    FIRST_DYNAMIC_INDEX,
    STATIC_TABLE,
    Field,
    HeaderListTooLarge,
    HpackError,
)

#: Envoy's default of max_request_headers_kb, which it also uses for a single string.
DEFAULT_LIST_BYTES: Final = 60 * 1024
#: No limit on the number of fields.
UNLIMITED: Final = 1 << 62
TOO_MANY_HEADERS: Final = "http2.too_many_headers"
#: As quiche: ten bytes after the prefix, 64 bits.
_MAX_SHIFT: Final = 63
_MAX_SIZE_UPDATES: Final = 2
_TRUNCATED: Final = "hpack: truncated block"
_BAD_INDEX: Final = "hpack: invalid index"
#: Index 0 is no entry; the empty tuple there does not unpack.
_STATIC_ENTRIES: Final[list[Field]] = [("", ""), *STATIC_TABLE]


class HpackDecoder:
    """Decodes the blocks of one direction of a connection, in their order, every one of them.

    `generation` changes whenever the dynamic table does, so what was made of a block's bytes holds as long as it
    stands, provided that `memoisable` was true after that block: it neither inserted nor resized.
    `never_indexed` holds the names that the last block marked as never to be indexed, or is None.
    After `HpackError` the decoder is of no further use.
    """

    __slots__ = (
        "_capacity",
        "_entries",
        "_limit",
        "_lowest_limit",
        "_max_string_bytes",
        "_used",
        "generation",
        "memoisable",
        "never_indexed",
    )

    def __init__(
        self, max_table_size: int = DEFAULT_TABLE_SIZE, *, max_string_bytes: int = DEFAULT_LIST_BYTES
    ) -> None:
        """`max_string_bytes` bounds a name or value as it is encoded; at least 127.

        A `max_table_size` below 4096 demands a size update from the first block on, so it is only right for a peer
        that knows it; see `set_max_table_size`.
        """
        self._entries: list[Field] = _STATIC_ENTRIES.copy()
        #: Bytes of the dynamic table in use, its size as the peer chose it, and the most that it may choose.
        self._used = 0
        self._capacity = DEFAULT_TABLE_SIZE
        self._limit = max_table_size
        #: The least limit since the last size update.
        self._lowest_limit = max_table_size
        self._max_string_bytes = max_string_bytes
        self.generation = 0
        self.memoisable = True
        self.never_indexed: set[str] | None = None

    def set_max_table_size(self, size: int) -> None:
        """Our SETTINGS_HEADER_TABLE_SIZE, in bytes; to be called when the peer has acknowledged it."""
        self._limit = size
        self._lowest_limit = min(self._lowest_limit, size)

    def decode(
        self, block: bytes, max_list_bytes: int = DEFAULT_LIST_BYTES, max_fields: int = UNLIMITED
    ) -> list[Field]:
        """The fields of `block`, in order.

        `max_list_bytes` bounds the sum of the bytes of names and values (Envoy's count, without the 32 bytes per
        field of SETTINGS_MAX_HEADER_LIST_SIZE). Raises `HpackError`, or `HeaderListTooLarge` when the block is
        valid and its effect on the table has taken place.
        """
        entries = self._entries
        fields: list[Field] = []
        room = max_list_bytes
        self.memoisable = True
        self.never_indexed = None
        end = len(block)
        pos = 0
        try:
            if (
                self._lowest_limit < self._used
                or self._limit < self._capacity
                or (block and 32 <= block[0] < 64)
            ):
                pos = self._resize(block)
            while pos < end:
                byte = block[pos]
                pos += 1
                if byte > 0x80:
                    if byte == 0xFF:
                        byte, pos = _integer(block, pos, 0x7F)
                    else:
                        byte &= 0x7F
                    fields.append(entries[byte])
                    continue
                # Literals: with incremental indexing, without indexing, never indexed.
                if byte >= 0x40:
                    if byte == 0x80:
                        raise HpackError(_BAD_INDEX)
                    index = byte & 0x3F
                    if index == 0x3F:
                        index, pos = _integer(block, pos, 0x3F)
                elif byte < 0x20:
                    index = byte & 0x0F
                    if index == 0x0F:
                        index, pos = _integer(block, pos, 0x0F)
                else:
                    raise HpackError("hpack: size update behind a field or a third one")
                if index:
                    name = entries[index][0]
                else:
                    name, pos = self._string(block, pos)
                value, pos = self._string(block, pos)
                field = (name, value)
                room -= len(name) + len(value)
                if room < 0:
                    fields.clear()
                else:
                    fields.append(field)
                if byte >= 0x40:
                    self._insert(field)
                elif byte >= 0x10:
                    if self.never_indexed is None:
                        self.never_indexed = set()
                    self.never_indexed.add(name)
        except IndexError:
            raise HpackError(_TRUNCATED if pos >= end else _BAD_INDEX) from None
        if room < 0 or len(fields) > max_fields or sum(map(len, map("".join, fields))) > max_list_bytes:
            raise HeaderListTooLarge(TOO_MANY_HEADERS, 431)
        return fields

    def _string(self, block: bytes, pos: int) -> tuple[str, int]:
        byte = block[pos]
        pos += 1
        length = byte & 0x7F
        if length == 0x7F:
            length, pos = _integer(block, pos, 0x7F)
            if length > self._max_string_bytes:
                raise HpackError("hpack: string too long")
        stop = pos + length
        if stop > len(block):
            raise HpackError(_TRUNCATED)
        data = block[pos:stop]
        return decode_huffman(data) if byte & 0x80 else data.decode("latin-1"), stop

    def _insert(self, field: Field) -> None:
        self._entries.insert(FIRST_DYNAMIC_INDEX, field)
        self._used += len(field[0]) + len(field[1]) + ENTRY_OVERHEAD
        self.generation += 1
        self.memoisable = False
        if self._used > self._capacity:
            self._evict()

    def _evict(self) -> None:
        """An entry larger than the whole table goes last, which leaves the table empty as it should be."""
        while self._used > self._capacity:
            name, value = self._entries.pop()
            self._used -= len(name) + len(value) + ENTRY_OVERHEAD

    def _resize(self, block: bytes) -> int:
        """Apply the size updates that a block starts with; the position behind them."""
        pos = updates = 0
        while updates < _MAX_SIZE_UPDATES and pos < len(block) and 32 <= block[pos] < 64:
            size = block[pos] & 0x1F
            pos += 1
            if size == 0x1F:
                size, pos = _integer(block, pos, 0x1F)
            if size > (self._lowest_limit if not updates and self._update_due() else self._limit):
                raise HpackError("hpack: size update above the limit")
            self._capacity = size
            self._lowest_limit = self._limit
            self._evict()
            self.generation += 1
            self.memoisable = False
            updates += 1
        if not updates:
            raise HpackError("hpack: missing size update")
        return pos

    def _update_due(self) -> bool:
        return self._lowest_limit < self._used or self._limit < self._capacity


def _integer(block: bytes, pos: int, value: int) -> tuple[int, int]:
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
