"""Header blocks to fields (RFC 7541), for one direction of one connection.

Static and dynamic entries stand in one list, at their index, so an indexed field costs one subscript; the entry
tuples are handed out as they are. Strictness follows Envoy's codec (quiche): at most two size updates, only at the
start of a block and never above our SETTINGS; a lowered table size has to be acknowledged by such an update.

Blocks come from a peer: time is linear in the length of the block, and over the limits fields are counted but
no longer kept, while the table follows the block to its end.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import Any, Final

from proxy.codec.hpack_huffman import decode_huffman, decode_strings
from proxy.codec.hpack_integer import BAD_INDEX, read_index, read_integer
from proxy.codec.hpack_layout import Layout, learn
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
_MAX_SIZE_UPDATES: Final = 2
_TRUNCATED: Final = "hpack: truncated string"
#: Index 0 is no entry.
_STATIC_ENTRIES: Final[list[Field]] = [("", ""), *STATIC_TABLE]
#: Peers choose the names, so the memo of names has an end: in names, and in bytes of one with its length.
_MAX_KNOWN_NAMES: Final = 1024
_MAX_KNOWN_NAME: Final = 64
_LONGEST_NAME: Final = 2 * _MAX_KNOWN_NAME
_ANY_WIDTH: Final = 1 << 30
#: Up to so many fields enter the table with all consequences. The sizes of more, which usually are as many as every
#: request changes, are not looked at before an index asks what is still there, or until they are so many bytes.
_FEW: Final = 4
_LEAST_FOR_LAYOUT: Final = 8
_MAX_MISSES: Final = 16
_MAX_TRIALS: Final = 8
_MAX_LOOSE: Final = 16 * 1024
#: Encoded name, with the length before it, to the name.
_known_names: Final[dict[bytes, str]] = {}
#: First byte of a literal to its name, where that is in the static table and the byte tells all.
_STATIC_NAMES: Final = [
    STATIC_TABLE[index - 1][0] if 0 < index < mask and index < FIRST_DYNAMIC_INDEX else ""
    for byte in range(256)
    for mask in [0 if byte >= 0x80 or 0x20 <= byte < 0x40 else 0x3F if byte >= 0x40 else 0x0F]
    for index in [byte & mask]
]
#: First bytes of a literal whose name follows.
_NEW_NAMES: Final = frozenset({0x00, 0x10, 0x40})
#: The last static entry as an indexed field.
_LAST_STATIC: Final = 0x80 | FIRST_DYNAMIC_INDEX - 1
_WIDEST_STATIC: Final = max(len(name) + len(value) for name, value in STATIC_TABLE)


class HpackDecoder:
    """Decodes the blocks of one direction of a connection, in their order, every one of them.

    `generation` changes whenever the dynamic table does, so what was made of a block's bytes holds as long as it
    stands, provided that `memoisable` was true after that block: it neither inserted nor resized.
    After `HpackError` the decoder is of no further use.
    """

    __slots__ = (
        "_capacity",
        "_entries",
        "_last_names",
        "_layout",
        "_limit",
        "_loose",
        "_lowest_limit",
        "_max_string_bytes",
        "_misses",
        "_trials",
        "_used",
        "_widest",
        "generation",
        "memoisable",
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
        #: Bytes of the blocks since entries were last dropped; see `_settle`.
        self._loose = 0
        #: No entry has ever been larger, in bytes of name and value. Not exact: it is what a block could bring.
        self._widest = _WIDEST_STATIC
        #: Of one of the last blocks, if they seemed to have the same, and how many since then have not had it.
        self._layout: Layout | None = None
        self._misses = 0
        self._last_names: list[str] = []
        #: How often yet to look for one.
        self._trials = _MAX_TRIALS
        self.generation = 0
        self.memoisable = True

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
        self.memoisable = True
        pos = 0
        if (
            self._limit < self._capacity
            or (self._lowest_limit < self._capacity and self._update_due())
            or (block and 32 <= block[0] < 64)
        ):
            try:
                pos = self._resize(block)
            except IndexError:
                raise HpackError(BAD_INDEX) from None
        fields: list[Any] = []
        end = len(block)
        widest = self._widest
        if self._layout is not None and not pos:
            fields = self._decode_like_the_last(self._layout, block)
            if fields:
                pos = end
        try:
            while pos < end:
                pos = self._decode_some(block, pos, fields)
        except IndexError:
            raise HpackError(BAD_INDEX) from None
        if widest < self._widest:
            widest = self._widest
        # A bound usually spares counting: an index stands for an entry, a byte of Huffman code for 8/5 bytes.
        count = len(fields)
        if count > max_fields or (
            count * widest + 2 * end > max_list_bytes
            and sum(map(len, chain.from_iterable(fields))) > max_list_bytes
        ):
            raise HeaderListTooLarge(TOO_MANY_HEADERS, 431)
        if count >= _LEAST_FOR_LAYOUT and not self.memoisable and self._layout is None and self._trials:
            self._find_layout(block, fields)
        return fields

    def _decode_like_the_last(self, layout: Layout, block: bytes) -> list[Field]:
        """The fields of a block of that layout; none if it has another one."""
        try:
            values = layout.read(block)
        except IndexError:
            values = None
        if values is None:
            self._misses += 1
            if self._misses > _MAX_MISSES:
                self._layout = None
            return []
        self._misses = 0
        literals = list(zip(layout.names, values, strict=True))
        if layout.inserted_from < len(literals):
            self._insert(literals[layout.inserted_from :], len(block))
        return [*layout.lead, *literals]

    def _find_layout(self, block: bytes, fields: list[Field]) -> None:
        """Take the layout of a block for that of the next, if the last one had the same names."""
        names = [name for name, _ in fields]
        if names == self._last_names:
            self._trials -= 1
            self._misses = 0
            self._layout = learn(block, fields)
        self._last_names = names

    def _decode_some(self, block: bytes, pos: int, fields: list[Any]) -> int:
        """Add fields from `pos` on to `fields`, up to an index that means something else because of them.

        The position behind the last. The values of all fields are decoded together, and put into the table
        then; until then a name stands in the place of its field.
        """
        entries = self._entries
        static_names = _STATIC_NAMES
        known_names = _known_names
        end = len(block)
        text = ""
        strings: list[bytes] = []
        places: list[int] = []
        inserted: list[int] = []
        while pos < end:
            byte = block[pos]
            if 0x80 < byte < 0xFF:
                if byte > _LAST_STATIC and (inserted or self._loose):
                    if inserted:
                        break
                    self._settle()
                fields.append(entries[byte & 0x7F])
                pos += 1
                continue
            name = static_names[byte]
            if name:
                length = block[pos + 1]
                if 0x80 <= length < 0xFF and not 0x10 <= byte < 0x20:
                    # The commonest: the same as below.
                    place = len(fields)
                    places.append(place)
                    fields.append(name)
                    if byte >= 0x40:
                        inserted.append(place)
                    stop = pos + 2 + length - 0x80
                    strings.append(block[pos + 2 : stop])
                    pos = stop
                    continue
                pos += 1
            elif byte in _NEW_NAMES:
                stop = pos + 2 + (block[pos + 1] & 0x7F)
                name = known_names.get(block[pos + 1 : stop], "")
                if name:
                    pos = stop
                else:
                    name, pos = self._name(block, pos + 1)
            else:
                index, after = read_index(block, pos)
                if index >= FIRST_DYNAMIC_INDEX and (inserted or self._loose):
                    if inserted:
                        break
                    self._settle()
                pos = after
                if byte >= 0x80:
                    fields.append(entries[index])
                    continue
                name = entries[index][0]
            if byte >= 0x40:
                inserted.append(len(fields))
            length = block[pos]
            pos += 1
            if length >= 0x80:
                length -= 0x80
                if length == 0x7F:
                    length, pos = self._long_length(block, pos)
                stop = pos + length
                strings.append(block[pos:stop])
                places.append(len(fields))
                fields.append(name)
            else:
                if length == 0x7F:
                    length, pos = self._long_length(block, pos)
                if not text:
                    text = block.decode("latin-1")
                stop = pos + length
                fields.append((name, text[pos:stop]))
            pos = stop
        if pos > end:
            raise HpackError(_TRUNCATED)
        if strings:
            for place, value in zip(places, decode_strings(strings), strict=True):
                fields[place] = (fields[place], value)
        if inserted:
            self._insert([fields[place] for place in inserted], end)
        return pos

    def _insert(self, new: list[Field], block_size: int) -> None:
        """Put fields of a block into the table, in their order."""
        if 2 * block_size + _LONGEST_NAME > self._widest:
            self._widest = 2 * block_size + _LONGEST_NAME
        entries = self._entries
        count = len(new)
        new.reverse()
        entries[FIRST_DYNAMIC_INDEX:FIRST_DYNAMIC_INDEX] = new
        if count > _FEW or self._loose:
            self._loose += block_size
            if self._loose > _MAX_LOOSE:
                self._settle()
        else:
            # What the first of them drops is what all of them drop first: the oldest.
            self._used += sum(map(len, chain.from_iterable(new))) + ENTRY_OVERHEAD * count
            self._evict()
        self.generation += 1
        self.memoisable = False

    def _evict(self) -> None:
        """Drop the oldest entries until the table fits.

        An entry larger than the whole table is the last to go, which leaves the table empty, as it should be.
        """
        entries = self._entries
        used = self._used
        while used > self._capacity:
            name, value = entries.pop()
            used -= len(name) + len(value) + ENTRY_OVERHEAD
        self._used = used

    def _settle(self) -> None:
        """Find out which entries the table has room for; the others have been dropped long ago."""
        entries = self._entries
        capacity = self._capacity
        used = 0
        kept = FIRST_DYNAMIC_INDEX
        for name, value in islice(entries, FIRST_DYNAMIC_INDEX, None):
            size = len(name) + len(value) + ENTRY_OVERHEAD
            if used + size > capacity:
                break
            used += size
            kept += 1
        del entries[kept:]
        self._used = used
        self._loose = 0

    def _name(self, block: bytes, pos: int) -> tuple[str, int]:
        """The name at `pos`, which is not known, and the position behind it."""
        name, stop = self._string(block, pos)
        if stop - pos > _MAX_KNOWN_NAME:
            # From now on fields with this name may be wider than their blocks.
            self._widest = _ANY_WIDTH
        else:
            if len(_known_names) >= _MAX_KNOWN_NAMES:
                _known_names.clear()
            _known_names[block[pos:stop]] = name
        return name, stop

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
        length, pos = read_integer(block, pos, 0x7F)
        if length > self._max_string_bytes:
            raise HpackError("hpack: string too long")
        return length, pos

    def _resize(self, block: bytes) -> int:
        """Apply the size updates that a block starts with; the position behind them."""
        if self._loose:
            self._settle()
        pos = updates = 0
        while updates < _MAX_SIZE_UPDATES and pos < len(block) and 32 <= block[pos] < 64:
            size = block[pos] & 0x1F
            pos += 1
            if size == 0x1F:
                size, pos = read_integer(block, pos, 0x1F)
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
        if self._loose:
            self._settle()
        return self._lowest_limit < self._used or self._limit < self._capacity
