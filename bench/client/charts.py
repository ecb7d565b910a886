"""Pictures as inline SVG: bars, curves and a time series, drawn from points; no script, nothing loaded."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_WIDTH: Final = 760
_HEIGHT: Final = 260
_LEFT: Final = 70
_TOP: Final = 14
_RIGHT: Final = _WIDTH - 16
_BOTTOM: Final = _HEIGHT - 42
_COLOURS: Final = ("#1668b8", "#d2691e", "#8a2be2", "#c02020")

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """`ticks` are (value, label); `log` axes take values above 0 only."""

    least: float
    greatest: float
    ticks: Sequence[tuple[float, str]]
    title: str
    log: bool = False

    def share(self, value: float) -> float:
        """Where the value stands: 0 at the least, 1 at the greatest; values beyond are at the ends."""
        value = min(max(value, self.least), self.greatest)
        if self.log:
            return math.log(value / self.least) / math.log(self.greatest / self.least)
        return (value - self.least) / (self.greatest - self.least)


def round_ticks(greatest: float, count: int = 5) -> list[float]:
    """0 and some multiples of 1, 2 or 5 times a power of ten, the last at least `greatest`."""
    rough = max(greatest, 1e-12) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    return (
        [number * step for number in range(math.ceil(greatest / step - 1e-9) + 1)] if greatest else [0.0, 1.0]
    )


def chart(
    x: Axis, y: Axis, curves: Sequence[tuple[str, Sequence[Point]]] = (), bars: Sequence[Point] = ()
) -> str:
    """One picture. A bar is (x, y) and reaches to the x of the next; the last bar only ends the one before."""
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(y.title)} by {escape(x.title)}">'
    ]
    for value, label in y.ticks:
        at = _down(y, value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{escape(label)}</text>')
    for value, label in x.ticks:
        at = _across(x, value)
        parts.append(f'<line class="tick" x1="{at:.1f}" x2="{at:.1f}" y1="{_BOTTOM}" y2="{_BOTTOM + 4}"/>')
        parts.append(f'<text x="{at:.1f}" y="{_BOTTOM + 17}" text-anchor="middle">{escape(label)}</text>')
    middle = (_LEFT + _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x.title)}</text>')
    for (begin, height), (end, _) in itertools.pairwise(bars):
        left, right, top = _across(x, begin), _across(x, end), _down(y, height)
        parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(right - left - 0.5, 0.5):.1f}" '
            f'height="{_BOTTOM - top:.1f}" fill="{_COLOURS[0]}"/>'
        )
    for number, (name, points) in enumerate(curves):
        colour = _COLOURS[number % len(_COLOURS)]
        drawn = " ".join(f"{_across(x, one):.1f},{_down(y, other):.1f}" for one, other in points)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        if name:
            parts.append(
                f'<text class="name" x="{_LEFT + 10 + 70 * number}" y="{_TOP + 6}" '
                f'style="fill:{colour}">{escape(name)}</text>'
            )
    return "".join([*parts, "</svg>"])


def _across(axis: Axis, value: float) -> float:
    return _LEFT + axis.share(value) * (_RIGHT - _LEFT)


def _down(axis: Axis, value: float) -> float:
    return _BOTTOM - axis.share(value) * (_BOTTOM - _TOP)
