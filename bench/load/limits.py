"""What was asked of a figure, and whether it is met."""

from __future__ import annotations

import msgspec


class Verdict(msgspec.Struct, frozen=True):
    """`text` is what was asked; `by` the share by which it is missed, 0 if it is met."""

    text: str
    by: float

    @property
    def met(self) -> bool:
        """Whether the figure is on the right side."""
        return self.by == 0


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bounds, all of which count: `ratio_*` of Outrider to Envoy in the same round, others of Outrider."""

    ratio_at_most: float | None = None
    ratio_at_least: float | None = None
    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self) -> None:
        if all(bound is None for bound in msgspec.structs.astuple(self)):
            raise ValueError("a bound is needed")

    def judge(self, ratio: float | None, value: float | None) -> list[Verdict]:
        """One verdict for each bound of what was measured."""
        found = []
        for seen, most, least, unit in (
            (ratio, self.ratio_at_most, self.ratio_at_least, " x Envoy"),
            (value, self.at_most, self.at_least, ""),
        ):
            if seen is not None and most is not None:
                found.append(Verdict(f"<= {most:g}{unit}", max(0.0, seen / most - 1)))
            if seen is not None and least is not None:
                found.append(Verdict(f">= {least:g}{unit}", max(0.0, 1 - seen / least)))
        return found
