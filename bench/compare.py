"""`python -m bench.compare BEFORE.json AFTER.json`: what changed between two runs beyond their noise."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from bench.load.report import ratio_text
from bench.load.result import Result, ScenarioResult, Spread, ratios, read_result, values

#: Figures of which more is better.
_RATES: Final = ("requests_per_second", "gb_per_second", "rate_", "requests")


class Change(msgspec.Struct, frozen=True):
    """A figure of which all rounds of one run lie beyond all of the other; `growth` is of the medians."""

    scenario: str
    figure: str
    before: Spread
    after: Spread

    @property
    def growth(self) -> float:
        """1.0 for none."""
        return self.after.median / self.before.median if self.before.median else float("inf")

    @property
    def better(self) -> bool:
        """Whether it went the right way."""
        return (self.growth > 1) == self.figure.startswith(_RATES)


def changes(before: Result, after: Result) -> Iterator[Change]:
    """Of the ratios to Envoy, which the machine's mood moves least; of Outrider's own figures without an Envoy."""
    earlier = {found.scenario: found for found in before.scenarios if not found.refused}
    for found in after.scenarios:
        if found.refused or found.scenario not in earlier:
            continue
        then, now = _figures(earlier[found.scenario]), _figures(found)
        for figure in now.keys() & then.keys():
            one, other = then[figure], now[figure]
            if other.least > one.greatest or other.greatest < one.least:
                yield Change(found.scenario, figure, one, other)


def _figures(found: ScenarioResult) -> dict[str, Spread]:
    compared = ratios(found.rounds)
    if compared or not all("outrider" in samples for samples in found.rounds):
        return compared
    return {name: spread for name, spread in values(found.rounds, "outrider").items() if name != "errors"}


def main() -> int:
    """Print a line for each change, the worst first; 1 if one is for the worse."""
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        before, after = (read_result(Path(name)) for name in sys.argv[1:])
    except (OSError, msgspec.DecodeError) as error:
        print(f"not a result of bench.load.run: {error}", file=sys.stderr)
        return 2
    found = sorted(changes(before, after), key=lambda change: (change.better, change.scenario, change.figure))
    for change in found:
        word = "better" if change.better else "WORSE"
        print(
            f"{word:7} {change.scenario:24} {change.figure:28} {ratio_text(change.before)} -> "
            f"{ratio_text(change.after)}  x{change.growth:.2f}"
        )
    if not found:
        print("nothing changed beyond the noise of the two runs")
    return int(any(not change.better for change in found))


if __name__ == "__main__":
    sys.exit(main())
