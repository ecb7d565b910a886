"""MurmurHash2 for 64 bits, as libstdc++ and Envoy have it. Source: Austin Appleby's MurmurHash64A."""

from __future__ import annotations

from typing import Final

_MASK: Final = (1 << 64) - 1
_MULTIPLIER: Final = 0xC6A4A7935BD1E995
_SEED: Final = 0xC70F6907  # that of std::hash


def murmur_hash2(data: bytes) -> int:
    """The hash, 0 to 2**64-1."""
    length = len(data)
    whole = length & ~7
    state = (_SEED ^ (length * _MULTIPLIER)) & _MASK
    for start in range(0, whole, 8):
        word = int.from_bytes(data[start : start + 8], "little") * _MULTIPLIER & _MASK
        word = (word ^ word >> 47) * _MULTIPLIER & _MASK
        state = (state ^ word) * _MULTIPLIER & _MASK
    if length != whole:
        state = (state ^ int.from_bytes(data[whole:], "little")) * _MULTIPLIER & _MASK
    state = (state ^ state >> 47) * _MULTIPLIER & _MASK
    return state ^ state >> 47
