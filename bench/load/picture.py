"""What docs/benchmarks.md shows as plots, before they are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from bench.load.result import Spread


class Bar(msgspec.Struct, frozen=True):
    """A scenario's ratio to Envoy; `asked` is the bound, None without one."""

    label: str
    ratio: Spread
    asked: float | None


class Bars(msgspec.Struct, frozen=True):
    """Ratios of several scenarios."""

    name: str
    title: str
    bars: Sequence[Bar]


class Panels(msgspec.Struct, frozen=True):
    """A panel per scenario, with a bar per subject."""

    name: str
    title: str
    groups: Mapping[str, Mapping[str, float]]
    unit: str


class Lines(msgspec.Struct, frozen=True):
    """A panel per scenario, with a line per subject: percentile to milliseconds."""

    name: str
    title: str
    groups: Mapping[str, Mapping[str, Mapping[str, float]]]


Picture = Bars | Panels | Lines
