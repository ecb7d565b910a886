"""The Huffman code of HPACK strings (RFC 7541 section 5.2 and Appendix B), for decoding only.

Three ways, with what they cost for paths and user agents of 11, 29 and 78 encoded bytes (us, CPython 3.11):

- A state machine over half bytes, as in the `hpack` package: 2.6, 7, 18.
- A state machine over whole bytes: 0.9, 1.8, 4.7. A state is a node of the code's tree; a row holds for each of
  the 256 bytes the text that it completes and the next row. Traffic meets some sixty of the 256 rows, and all
  would take 5 MB and 80 ms to build, so a row is built when it is first needed.
- zlib: 1.0, 1.1, 1.35. Deflate knows canonical Huffman codes too, with up to 15 bits, and up to there HPACK's is
  a complete code if "end of block" takes the 15 ones with which every longer code begins. So a stream whose first
  block declares this code decodes strings in C, once the bits of each byte are reversed. It stays in that block:
  two bytes behind each string bring it from any legal padding back to the start of a symbol, and the two symbols
  that they decode to prove it. Symbols with longer codes (backslash, control bytes, bytes beyond ASCII) end the
  block; such a string goes to the state machine, as does every one that is not valid, and the stream is renewed.

The strings of one field section go through zlib together, which halves the time again. What marks where one ends is
a text of 40 random bits that nobody outside knows, so nobody can put it into a string to move the borders.
"""

from __future__ import annotations

import secrets
import zlib
from typing import Final

from proxy.codec.hpack_tables import HpackError

_EOS: Final = 256
_EOS_BITS: Final = 30
#: Symbols by the length of their code in bits, in hexadecimal; the last code is EOS. The code is canonical: within
#: a length and from length to length it counts upwards, so the lengths determine it.
_SYMBOLS: Final = {
    5: "303132616365696f7374",
    6: "20252d2e2f333435363738393d415f62646667686c6d6e707275",
    7: "3a42434445464748494a4b4c4d4e4f5051525354555657596a6b71767778797a",
    8: "262a2c3b585a",
    10: "212228293f",
    11: "272b7c",
    12: "233e",
    13: "0024405b5d7e",
    14: "5e7d",
    15: "3c607b",
    19: "5cc3d0",
    20: "808283a2b8c2e0e2",
    21: "99a1a7acb0b1b3d1d8d9e3e5e6",
    22: "8184858688929a9ca0a3a4a9aaadb2b5b9babbbdbec4c6e4e8e9",
    23: "0187898a8b8c8d8f93959697989b9d9ea5a6a8aeafb4b6b7bcbfc5e7ef",
    24: "098e9091949fabced7e1eced",
    25: "c7cfeaeb",
    26: "c0c1c8c9cacdd2d5dadbeef0f2f3ff",
    27: "cbccd3d4d6dddedff1f4f5f6f7f8fafbfcfdfe",
    28: "020304050607080b0c0e0f1011121314151718191a1b1c1d1e1f7fdcf9",
    30: "0a0d16",
}

_Row = list[tuple[str, "_Row"]]


def _build_tree() -> list[list[int]]:
    """Nodes as pairs of children: the number of a node, or `~symbol`. Node 0 is the root."""
    tree = [[0, 0]]
    code = 0
    length = 0
    for bits, symbols in _SYMBOLS.items():
        for symbol in [*bytes.fromhex(symbols), *([_EOS] if bits == _EOS_BITS else [])]:
            code <<= bits - length
            length = bits
            node = 0
            for shift in range(bits - 1, 0, -1):
                bit = code >> shift & 1
                if not tree[node][bit]:
                    tree.append([0, 0])
                    tree[node][bit] = len(tree) - 1
                node = tree[node][bit]
            tree[node][code & 1] = ~symbol
            code += 1
    return tree


_TREE: Final = _build_tree()
#: By node; empty until it is needed. Entry 256 of a row says by a text that a string may end there.
_ROWS: Final[list[_Row]] = [[] for _ in _TREE]
_ROOT: Final = _ROWS[0]
#: The rest of a string with the EOS symbol in it.
_DEAD: Final[_Row] = []
_DEAD.extend([("", _DEAD)] * 257)


#: Shorter strings are faster by rows.
_LEAST_FOR_ZLIB: Final = 13
_MAX_DEFLATE_BITS: Final = 15
#: zlib's way of asking for a raw stream with the smallest window.
_RAW: Final = -9
_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
#: Takes each of the eight states that legal padding leads to back to the root, with two symbols; found by search.
_RESYNC: Final = b"\xfc\xf8".translate(_REVERSED)
_FIRST_OF_SEVEN_BITS: Final = 0b1011100
#: The two symbols after 0 to 7 bits of padding. `&` and `w` cannot end anywhere but with the two bytes.
_RESYNCED: Final = frozenset({b"X&", b"?&", b"|&", b"<&", b"^&", b"]&", b'"w', b"$w"})
_RESYNCED_TEXT: Final = frozenset({pair.decode() for pair in _RESYNCED})
#: Fewer strings are faster one by one.
_LEAST_AT_ONCE: Final = 5


def _deflate_header() -> bytes:
    """The start of a Deflate stream (RFC 1951 section 3.2.7) whose literals have the code of HPACK."""
    lengths = [0] * 257
    for bits, symbols in _SYMBOLS.items():
        if bits <= _MAX_DEFLATE_BITS:
            for symbol in bytes.fromhex(symbols):
                lengths[symbol] = bits
    lengths[256] = _MAX_DEFLATE_BITS
    # Three empty blocks with the fixed code come first, so that the strings start at the start of a byte.
    stream = [*_bits(0b010, 3), *[0] * 7] * 3
    # The last block, with a dynamic code; 257 literals, one distance, 19 lengths of the code for the lengths.
    stream += [*_bits(1, 1), *_bits(2, 2), *_bits(0, 5), *_bits(0, 5), *_bits(15, 4)]
    # In that code the lengths 0 to 15 stand for themselves, in 4 bits; the three ways to repeat are not used.
    stream += [*_bits(0, 3) * 3, *_bits(4, 3) * 16]
    for length in [*lengths, 0]:
        stream += reversed(_bits(length, 4))
    return bytes(
        sum(bit << n for n, bit in enumerate(stream[at : at + 8])) for at in range(0, len(stream), 8)
    )


def _bits(value: int, count: int) -> list[int]:
    return [value >> shift & 1 for shift in range(count)]


#: Eight symbols of seven bits, of which there are 32, with codes that count up in the order of `_SYMBOLS`.
_BORDER_PLACES: Final = [secrets.randbelow(32) for _ in range(8)]
_BORDER: Final = "".join([chr(bytes.fromhex(_SYMBOLS[7])[place]) for place in _BORDER_PLACES])
_BETWEEN: Final = _RESYNC.translate(_REVERSED) + int(
    "".join([f"{_FIRST_OF_SEVEN_BITS + place:07b}" for place in _BORDER_PLACES]), 2
).to_bytes(7, "big")
_FRESH_STREAM: Final = zlib.decompressobj(_RAW)
_FRESH_STREAM.decompress(_deflate_header())
_stream = _FRESH_STREAM.copy()


def decode_huffman(data: bytes) -> str:
    """The text of a Huffman-coded string, latin-1. To be called by one thread of a process.

    Raises `HpackError` for the EOS symbol and for padding of more than 7 bits or with a zero in it.
    """
    global _stream  # noqa: PLW0603 - a cell around it would cost time in each call
    if len(data) < _LEAST_FOR_ZLIB:
        return _decode_by_rows(data)
    decoded = _stream.decompress(data.translate(_REVERSED) + _RESYNC)
    if decoded[-2:] in _RESYNCED and not _stream.eof:
        return decoded[:-2].decode("latin-1")
    _stream = _FRESH_STREAM.copy()
    return _decode_by_rows(data)


def decode_strings(strings: list[bytes]) -> list[str]:
    """As `decode_huffman`, for each of `strings`."""
    global _stream  # noqa: PLW0603 - as there
    if len(strings) < _LEAST_AT_ONCE:
        return [decode_huffman(data) for data in strings]
    strings.append(b"")
    decoded = _stream.decompress(_BETWEEN.join(strings).translate(_REVERSED))
    strings.pop()
    texts = decoded.decode("latin-1").split(_BORDER)
    # Behind the last border there is nothing, and before each there are the two symbols that tell of its padding.
    if (
        len(texts) == len(strings) + 1
        and not texts.pop()
        and _RESYNCED_TEXT.issuperset({text[-2:] for text in texts})
        and not _stream.eof
    ):
        return [text[:-2] for text in texts]
    _stream = _FRESH_STREAM.copy()
    return [decode_huffman(data) for data in strings]


def _decode_by_rows(data: bytes) -> str:
    while True:
        row = _ROOT
        pieces: list[str] = []
        try:
            for byte in data:
                piece, row = row[byte]
                pieces.append(piece)
            if row[256][0]:
                return "".join(pieces)
        except IndexError:
            _fill(row)
        else:
            raise HpackError("hpack: invalid Huffman string")


def _fill(row: _Row) -> None:
    start = next(node for node, candidate in enumerate(_ROWS) if candidate is row)
    for byte in range(256):
        node = start
        piece = ""
        for shift in range(7, -1, -1):
            node = _TREE[node][byte >> shift & 1]
            if node == ~_EOS:
                break
            if node < 0:
                piece += chr(~node)
                node = 0
        row.append((piece, _DEAD if node < 0 else _ROWS[node]))
    row.append(("end" if start in _padding_nodes() else "", row))


def _padding_nodes() -> set[int]:
    nodes = {0}
    node = 0
    for _ in range(7):
        node = _TREE[node][1]
        nodes.add(node)
    return nodes
