"""A rendered head with holes, for the few values that differ between otherwise equal messages.

A hole is a control byte that no valid field value can hold, put where the value will stand.
"""

from __future__ import annotations

from typing import Final

REQUEST_ID_HOLE: Final = "\x01"
SERVICE_TIME_HOLE: Final = "\x02"
DATE_HOLE: Final = "\x03"

_HOLES: Final = b"\x01\x02\x03"


class HeadTemplate:
    """`segments[i]` is followed by the hole `holes[i]` (the byte as a number); the last segment by none."""

    __slots__ = ("holes", "segments")

    def __init__(self, rendered: bytes) -> None:
        segments = []
        holes = []
        start = 0
        for position, byte in enumerate(rendered):
            if byte in _HOLES:
                segments.append(rendered[start:position])
                holes.append(byte)
                start = position + 1
        segments.append(rendered[start:])
        self.segments = tuple(segments)
        self.holes = tuple(holes)

    def fill(self, values: dict[int, bytes]) -> bytes:
        """The head with `values[hole]` in each hole."""
        segments = self.segments
        holes = self.holes
        if not holes:
            return segments[0]
        if len(holes) == 1:
            return segments[0] + values[holes[0]] + segments[1]
        parts = []
        for segment, hole in zip(segments, holes, strict=False):
            parts.append(segment)
            parts.append(values[hole])
        parts.append(segments[-1])
        return b"".join(parts)
