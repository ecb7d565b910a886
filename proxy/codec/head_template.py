"""A rendered head with holes, for the few values that differ between otherwise equal messages.

A hole is a control byte that no valid field value can hold, put where the value will stand.
"""

from __future__ import annotations

import re
from typing import Final

REQUEST_ID_HOLE: Final = "\x01"
SERVICE_TIME_HOLE: Final = "\x02"
DATE_HOLE: Final = "\x03"

#: All of them.
HOLES: Final = frozenset({REQUEST_ID_HOLE, SERVICE_TIME_HOLE, DATE_HOLE})

_HOLE_BYTES: Final = re.compile(rb"([\x01-\x03])")


class HeadTemplate:
    """`segments[i]` is followed by the hole `holes[i]` (the byte as a number); the last segment by none."""

    __slots__ = ("holes", "segments")

    def __init__(self, rendered: bytes) -> None:
        parts = _HOLE_BYTES.split(rendered)
        self.segments = tuple(parts[::2])
        self.holes = tuple(part[0] for part in parts[1::2])

    @classmethod
    def of(cls, segments: tuple[bytes, ...], holes: tuple[int, ...]) -> HeadTemplate:
        """A template of known segments, which may hold any byte."""
        template = cls(b"")
        template.segments = segments
        template.holes = holes
        return template

    def fill_one(self, value: bytes) -> bytes:
        """The head with `value` in its hole, if it has one (at most one)."""
        segments = self.segments
        return segments[0] + value + segments[1] if len(segments) == 2 else segments[0]

    def fill(self, values: dict[int, bytes]) -> bytes:
        """The head with `values[hole]` in each hole."""
        parts = []
        for segment, hole in zip(self.segments, self.holes, strict=False):
            parts.append(segment)
            parts.append(values[hole])
        parts.append(self.segments[-1])
        return b"".join(parts)
