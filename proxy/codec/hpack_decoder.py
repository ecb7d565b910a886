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

#: Envoy's default of max_request_headers_kb.
DEFAULT_LIST_BYTES: Final = 60 * 1024
#: What Envoy's codec takes for a single string, whatever the limit on the list.
MAX_STRING_BYTES: Final = 64 * 1024
#: No limit on the number of fields.
UNLIMITED: Final = 1 << 62
TOO_MANY_HEADERS: Final = "http2.too_many_headers"
#: As quiche: ten bytes after the prefix, 64 bits.
_MAX_SHIFT: Final = 63
_MAX_SIZE_UPDATES: Final = 2
_TRUNCATED: Final = "hpack: truncated string"
#: A block that ends within a field fails as a wrong index does; telling them apart would cost time in valid ones.
_BAD_INDEX: Final = "hpack: invalid index or truncated block"
#: Index 0 is no entry.
_STATIC_ENTRIES: Final[list[Field]] = [("", ""), *STATIC_TABLE]
_WIDEST_STATIC: Final = max(len(name) + len(value) for name, value in STATIC_TABLE)


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
        "_widest",
        "generation",
        "memoisable",
        "never_indexed",
    )

    def __init__(
        self, max_table_size: int = DEFAULT_TABLE_SIZE, *, max_string_bytes: int = MAX_STRING_BYTES
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
        self._lowest_limit = min(max_table_size, DEFAULT_TABLE_SIZE)
        self._max_string_bytes = max_string_bytes
        #: No entry has ever been larger, in bytes of name and value.
        self._widest = _WIDEST_STATIC
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
        text = ""
        room = max_list_bytes
        end = len(block)
        pos = 0
        inserted = False
        never_indexed: set[str] | None = None
        self.memoisable = True
        used = self._used
        try:
            if self._limit < self._capacity or self._lowest_limit < used or (block and 32 <= block[0] < 64):
                pos = self._resize(block)
                used = self._used
            capacity = self._capacity
            while pos < end:
                byte = block[pos]
                pos += 1
                if 0x80 < byte < 0xFF:
                    fields.append(entries[byte & 0x7F])
                    continue
                if byte >= 0x40:
                    if byte >= 0x80:
                        if byte == 0x80:
                            raise HpackError(_BAD_INDEX)
                        index, pos = _integer(block, pos, 0x7F)
                        fields.append(entries[index])
                        continue
                    index = byte & 0x3F
                    if index == 0x3F:
                        index, pos = _integer(block, pos, 0x3F)
                elif byte < 0x20:
                    index = byte & 0x0F
                    if index == 0x0F:
                        index, pos = _integer(block, pos, 0x0F)
                else:
                    raise HpackError("hpack: size update behind a field, or a third one")
                if index:
                    name = entries[index][0]
                else:
                    name, pos = self._string(block, pos)
                # As _string() does it; inline, as it runs for every literal.
                first = block[pos]
                pos += 1
                length = first & 0x7F
                if length == 0x7F:
                    length, pos = self._long_length(block, pos)
                stop = pos + length
                if stop > end:
                    raise HpackError(_TRUNCATED)
                if first >= 0x80:
                    value = decode_huffman(block[pos:stop])
                else:
                    if not text:
                        text = block.decode("latin-1")
                    value = text[pos:stop]
                pos = stop
                size = len(name) + len(value)
                room -= size
                field = (name, value)
                if room >= 0:
                    fields.append(field)
                else:
                    fields.clear()
                if byte >= 0x40:
                    inserted = True
                    entries.insert(FIRST_DYNAMIC_INDEX, field)
                    used += size + ENTRY_OVERHEAD
                    if size > self._widest:
                        self._widest = size
                    if used > capacity:
                        used = _evict(entries, used, capacity)
                elif byte >= 0x10:
                    if never_indexed is None:
                        never_indexed = set()
                    never_indexed.add(name)
        except IndexError:
            raise HpackError(_BAD_INDEX) from None
        self.never_indexed = never_indexed
        if inserted:
            self._used = used
            self.generation += 1
            self.memoisable = False
        # The literals are counted; a bound for the indexed fields usually spares counting them.
        if room < len(fields) * self._widest or len(fields) > max_fields:
            total = sum([len(name) + len(value) for name, value in fields])
            if room < 0 or total > max_list_bytes or len(fields) > max_fields:
                raise HeaderListTooLarge(TOO_MANY_HEADERS, 431)
        return fields

    def _string(self, block: bytes, pos: int) -> tuple[str, int]:
        first = block[pos]
        pos += 1
        length = first & 0x7F
        if length == 0x7F:
            length, pos = self._long_length(block, pos)
        stop = pos + length
        if stop > len(block):
            raise HpackError(_TRUNCATED)
        data = block[pos:stop]
        return decode_huffman(data) if first >= 0x80 else data.decode("latin-1"), stop

    def _long_length(self, block: bytes, pos: int) -> tuple[int, int]:
        length, pos = _integer(block, pos, 0x7F)
        if length > self._max_string_bytes:
            raise HpackError("hpack: string too long")
        return length, pos

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
            self._used = _evict(self._entries, self._used, size)
            self.generation += 1
            self.memoisable = False
            updates += 1
        if not updates:
            raise HpackError("hpack: missing size update")
        return pos

    def _update_due(self) -> bool:
        return self._lowest_limit < self._used or self._limit < self._capacity


def _evict(entries: list[Field], used: int, capacity: int) -> int:
    """Drop the oldest entries until the table fits; the bytes then in use.

    An entry larger than the whole table is the last to go, which leaves the table empty, as it should be.
    """
    while used > capacity:
        name, value = entries.pop()
        used -= len(name) + len(value) + ENTRY_OVERHEAD
    return used


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
