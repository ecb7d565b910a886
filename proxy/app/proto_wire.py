"""The little of protobuf's wire format that is needed to join serialised messages without parsing them."""

from __future__ import annotations

_LENGTH_DELIMITED = 2


def length_delimited(field_number: int, payload: bytes) -> bytes:
    """One length-delimited field: tag, length, payload."""
    return _varint(field_number << 3 | _LENGTH_DELIMITED) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
