"""The Huffman code of HPACK strings (RFC 7541 section 5.2 and Appendix B), for decoding only.

A state machine over whole bytes: a state is a node of the code's tree, a row holds for each of the 256 bytes the
text that it completes and the next row. Of the 256 rows, traffic meets some sixty, and all of them would take
5 MB and 80 ms to build; so a row is built when it is first needed, at most 256 times in the life of a process.
"""

from __future__ import annotations

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


def decode_huffman(data: bytes) -> str:
    """The text of a Huffman-coded string, latin-1.

    Raises `HpackError` for the EOS symbol and for padding of more than 7 bits or with a zero in it.
    """
    while True:
        row = _ROOT
        text = ""
        try:
            for byte in data:
                piece, row = row[byte]
                text += piece
            if row[256][0]:
                return text
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
