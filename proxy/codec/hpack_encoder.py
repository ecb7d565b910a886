"""Fields to header blocks (RFC 7541), without state: indexes of the static table and literals without indexing.

A block made here is valid on every connection at any time, so blocks are made once and kept. The dynamic table
that other encoders use saves about a hundred bytes per message and would make each block belong to one connection.
Strings are not Huffman-coded: that saves a fifth of their bytes and costs more time than everything else here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from proxy.codec.hpack_tables import STATIC_INDEX, STATIC_NAME_INDEX, STATIC_TABLE, Field

#: Literal without indexing, and never indexed: the flag bits and the length of the prefix for the name's index.
_WITHOUT_INDEXING: Final = 0x00
_NEVER_INDEXED: Final = 0x10
_LITERAL_PREFIX: Final = 4
#: Fields whose values no table of a next hop may hold either: there they could be guessed (section 7.1.3).
_SENSITIVE: Final = frozenset({"authorization", "cookie", "proxy-authorization", "set-cookie"})
#: Peers choose the names, so the memo of names has an end: in names, and in characters of one.
_MAX_KNOWN_NAMES: Final = 4096
_MAX_KNOWN_NAME: Final = 64
#: The same of methods with their schemes.
_MAX_STARTS: Final = 64


def encode_integer(value: int, prefix_bits: int, flags: int = 0) -> bytes:
    """`value` with a prefix of `prefix_bits` (1 to 8); `flags` are the bits above the prefix (section 5.1)."""
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes((flags | value,))
    out = bytearray((flags | limit,))
    value -= limit
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_string(text: str) -> bytes:
    """A string literal, not Huffman-coded (section 5.2). `text` is latin-1."""
    return encode_integer(len(text), 7) + text.encode("latin-1")


def encode_field(name: str, value: str) -> bytes:
    """One field, name in lower case."""
    return encode_fields(((name, value),))


def encode_fields(fields: Iterable[Field]) -> bytes:
    """A block of `fields`, names in lower case.

    The bytes of several blocks joined are the block of their fields.
    """
    # Text throughout, so that latin-1 is encoded once.
    parts: list[str] = []
    for field in fields:
        name, value = field
        prefix = _prefixes.get(name, "")
        if not prefix or not value:
            index = _STATIC_FIELDS.get(field)
            if index is not None:
                parts.append(index)
                continue
            prefix = prefix or _STATIC_PREFIXES.get(name) or _new_prefix(name)
        length = len(value)
        if length < len(_LENGTHS):
            parts.append(f"{prefix}{_LENGTHS[length]}{value}")
        else:
            parts.append(f"{prefix}{encode_integer(length, 7).decode('latin-1')}{value}")
    return "".join(parts).encode("latin-1")


def encode_request(method: str, scheme: str, path: str, authority: str, headers: Mapping[str, str]) -> bytes:
    """The block of a request with these pseudo-fields, in this order, and fields that stand there once."""
    lengths = _LENGTHS
    try:
        parts = [
            _starts.get((method, scheme)) or _new_start(method, scheme),
            f"{_PATH}{lengths[len(path)]}{path}",
            f"{_AUTHORITY}{lengths[len(authority)]}{authority}" if authority else "",
        ]
        prefixes = _any_prefixes
        parts += [f"{prefixes[name]}{lengths[len(value)]}{value}" for name, value in headers.items()]
    except IndexError:
        # A long value.
        pseudo = [(":method", method), (":scheme", scheme), (":path", path)]
        if authority:
            pseudo.append((":authority", authority))
        return encode_fields([*pseudo, *headers.items()])
    return "".join(parts).encode("latin-1")


def size_update(size: int) -> bytes:
    """The start of a block that sets the table size of this direction (section 6.3).

    Due once, before the next block, when a peer's SETTINGS_HEADER_TABLE_SIZE is below 4096.
    """
    return encode_integer(size, 5, 0x20)


_STATIC_FIELDS: Final = {field: chr(0x80 | index) for field, index in STATIC_INDEX.items()}
#: The length before a string, for all but the longest.
_LENGTHS: Final = [encode_integer(length, 7).decode("latin-1") for length in range(1024)]
#: Name to the start of its literal without indexing; without the names that have values in the static table.
_prefixes: Final[dict[str, str]] = {}
#: (method, scheme) to their encoded fields.
_starts: Final[dict[tuple[str, str], str]] = {}


class _Prefixes(dict[str, str]):
    """As `_prefixes`, for every name: where nobody looks for the whole field in the static table."""

    def __missing__(self, name: str) -> str:
        prefix = _literal_name(name)
        if len(name) <= _MAX_KNOWN_NAME:
            if len(self) >= _MAX_KNOWN_NAMES:
                self.clear()
            self[name] = prefix
        return prefix


_any_prefixes: Final = _Prefixes()


def _literal_name(name: str) -> str:
    index = STATIC_NAME_INDEX.get(name, 0)
    encoded = encode_integer(
        index, _LITERAL_PREFIX, _NEVER_INDEXED if name in _SENSITIVE else _WITHOUT_INDEXING
    )
    return (encoded if index else encoded + encode_string(name)).decode("latin-1")


def _new_prefix(name: str) -> str:
    prefix = _literal_name(name)
    if len(name) <= _MAX_KNOWN_NAME:
        if len(_prefixes) >= _MAX_KNOWN_NAMES:
            _prefixes.clear()
        _prefixes[name] = prefix
    return prefix


#: As `_prefixes`, for the names whose whole field has to be looked up first.
_STATIC_PREFIXES: Final = {name: _literal_name(name) for name, value in STATIC_TABLE if value}
_PATH: Final = _literal_name(":path")
_AUTHORITY: Final = _literal_name(":authority")


def _new_start(method: str, scheme: str) -> str:
    start = encode_fields([(":method", method), (":scheme", scheme)]).decode("latin-1")
    if len(start) <= _MAX_KNOWN_NAME:
        if len(_starts) >= _MAX_STARTS:
            _starts.clear()
        _starts[method, scheme] = start
    return start
