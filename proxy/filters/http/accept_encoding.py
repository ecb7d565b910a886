"""Which encoding of a response the client wants most, of those that the compressors of a chain offer.

The rules are Envoy's (`CompressorFilter::chooseEncoding`), which differ from RFC 9110 section 12.5.3 in places:
names are compared with their case, and the first of equally wanted encodings wins unless a later one asks to be
chosen first.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final

from msgspec import Struct

IDENTITY: Final = "identity"
WILDCARD: Final = "*"


class Reason(Enum):
    """What in accept-encoding decided; the values are names of counters."""

    NOT_VALID = "header_not_valid"
    IDENTITY = "header_identity"
    WILDCARD = "header_wildcard"
    VALID = "header_compressor_used"


class Decision(Struct, frozen=True):
    """The encoding to use, and what led to it."""

    encoding: str
    reason: Reason


_NOTHING_FITS: Final = Decision(IDENTITY, Reason.NOT_VALID)


def choose_encoding(accept_encoding: str, offers: Iterable[tuple[str, bool]]) -> Decision:
    """`offers` are (encoding, choose first) in chain order; the first of the same encoding counts."""
    allowed: dict[str, tuple[int, bool]] = {}
    for encoding, first in offers:
        allowed.setdefault(encoding, (len(allowed), first))
    wanted = _parse(accept_encoding)
    for encoding, quality in wanted:
        if not quality:
            allowed.pop(encoding, None)
    if not wanted or not allowed:
        return _NOTHING_FITS
    choice, best = IDENTITY, 0.0
    for encoding, quality in wanted:
        if encoding not in allowed and encoding != IDENTITY and encoding != WILDCARD:
            continue
        if quality > best or (quality == best and allowed.get(encoding, (0, False))[1]):
            choice, best = encoding, quality
    if not best:
        return _NOTHING_FITS
    if choice == IDENTITY:
        return Decision(IDENTITY, Reason.IDENTITY)
    if choice == WILDCARD:
        return Decision(min(allowed, key=lambda name: allowed[name][0]), Reason.WILDCARD)
    return Decision(choice, Reason.VALID)


def _parse(accept_encoding: str) -> list[tuple[str, float]]:
    """(name, quality) in order; an entry whose quality is no number is left out."""
    wanted = []
    for entry in accept_encoding.split(","):
        if not entry:
            continue
        name, _, parameter = entry.partition(";")
        quality = 1.0
        key, equals, value = parameter.partition("=")
        if equals and key.strip().lower() == "q":
            try:
                quality = float(value)
            except ValueError:
                continue
        wanted.append((name.strip(), quality))
    return wanted
