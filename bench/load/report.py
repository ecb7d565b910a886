"""The figures of a scenario as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from bench.load.result import Spread, figures, ratios, subjects, values
from bench.load.scenario import Scenario
from bench.load.settings import Round


def table(rounds: Sequence[Round], scenario: Scenario) -> str:
    """Medians per subject, the ratio of Outrider to Envoy with its spread, and what was asked."""
    names = subjects(rounds)
    by_subject = {name: values(rounds, name) for name in names}
    compared = ratios(rounds)
    head = f"{'':28}" + "".join(f"{name:>12}" for name in names)
    lines = [head + ("     ratio (spread)" if compared else "")]
    for figure in figures(rounds):
        line = f"{figure.replace('_', ' '):28}"
        line += "".join(f"{by_subject[name][figure].median:12.4g}" for name in names)
        ratio = compared.get(figure)
        if ratio is not None:
            line += f"     {ratio_text(ratio)}"
        if figure in scenario.asked:
            own = by_subject.get("outrider")
            for verdict in scenario.asked[figure].judge(
                ratio.median if ratio else None, own[figure].median if own else None
            ):
                met = "met" if verdict.met else f"MISSED by {verdict.by:.1%}"
                line += f"   asked {verdict.text}: {met}"
        lines.append(line)
    return "\n".join(lines)


def ratio_text(ratio: Spread) -> str:
    """Median, least and greatest."""
    return f"{ratio.median:.2f} ({ratio.least:.2f}-{ratio.greatest:.2f})"
