"""The path in a header block, taken out without decoding the rest."""

from __future__ import annotations

from typing import Final

from proxy.codec.hpack_huffman import decode_huffman

_AUTHORITY_WITHOUT_INDEXING: Final = 0x01
_PATH_WITHOUT_INDEXING: Final = 0x04


def split_path(block: bytes) -> tuple[bytes, bytes]:
    """(a block without its path, the encoded path), if the path is not put into the table; else two empty strings.

    Only a path that follows nothing but other pseudo-fields is found. What is left is no block, but as long as
    the table stands, it tells the other fields apart from those of every other block.
    """
    pos = 0
    try:
        for _ in range(4):
            byte = block[pos]
            if 0x80 < byte < 0xFF:
                pos += 1
                continue
            length = block[pos + 1] & 0x7F
            if length == 0x7F:
                break
            stop = pos + 2 + length
            if byte == _PATH_WITHOUT_INDEXING:
                if stop > len(block):
                    break
                return block[: pos + 1] + block[stop:], block[pos + 1 : stop]
            if byte != _AUTHORITY_WITHOUT_INDEXING:
                break
            pos = stop
    except IndexError:
        pass
    return b"", b""


def decode_string(encoded: bytes) -> str:
    """A string of up to 126 encoded bytes with its length. Raises `HpackError`."""
    return decode_huffman(encoded[1:]) if encoded[0] >= 0x80 else encoded[1:].decode("latin-1")
