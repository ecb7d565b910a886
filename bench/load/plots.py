"""The plots of docs/benchmarks.md, drawn with matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib import pyplot

from bench.load.picture import Bars, Lines, Panels, Picture

mpl.use("Agg")

#: Readable with red-green colour blindness.
_BETTER, _WORSE, _ASKED = "#2a78b5", "#d1601f", "#222222"
_COLOURS: Final = {
    "outrider": "#2a78b5",
    "envoy": "#8a4fa3",
    "nginx": "#4f9d4f",
    "haproxy": "#3aa6a0",
    "nghttpx": "#b8a531",
    "mitmproxy": "#999999",
    "aiohttp": "#c26b8f",
}
_ROW: Final = 0.32


def draw(picture: Picture, folder: Path) -> None:
    """As a PNG named after the picture."""
    path = folder / f"{picture.name}.png"
    if isinstance(picture, Bars):
        _ratios(path, picture)
    elif isinstance(picture, Panels):
        _subjects(path, picture)
    else:
        _percentiles(path, picture)


def _ratios(path: Path, picture: Bars) -> None:
    """Bars from 1.0 outwards on a logarithmic axis: to the left Outrider needs less, to the right more."""
    figure, axes = pyplot.subplots(figsize=(8.5, 1.3 + _ROW * len(picture.bars)), layout="constrained")
    bars = list(picture.bars)[::-1]
    for place, bar in enumerate(bars):
        middle = bar.ratio.median
        axes.barh(place, middle - 1, left=1, height=0.62, color=_BETTER if middle <= 1 else _WORSE, zorder=2)
        axes.plot([bar.ratio.least, bar.ratio.greatest], [place, place], color="#555555", lw=1.2, zorder=3)
        if bar.asked is not None:
            axes.plot([bar.asked] * 2, [place - 0.42, place + 0.42], color=_ASKED, lw=2, zorder=4)
        rightmost = max(1.0, bar.ratio.greatest, bar.asked or 0)
        axes.annotate(
            f"{middle:.2f}",
            (rightmost, place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
        )
    low = min([0.5, *(bar.ratio.least for bar in bars), *(bar.asked or 1 for bar in bars)])
    high = max([1.5, *(bar.ratio.greatest for bar in bars), *(bar.asked or 1 for bar in bars)])
    axes.set_xscale("log")
    axes.set_xlim(low * 0.93, high * 1.22)
    ticks = [
        tick
        for tick in (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50)
        if low * 0.93 <= tick <= high * 1.2
    ]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.axvline(1, color="#444444", lw=1, zorder=5)
    axes.set_yticks(range(len(bars)), [bar.label for bar in bars])
    axes.set_ylim(-0.7, len(bars) - 0.3)
    axes.grid(axis="x", color="#e2e2e2", zorder=0)
    axes.set_title(picture.title, fontsize=11)
    axes.set_xlabel(
        "Outrider / Envoy (log scale); thin line: spread of rounds; black mark: asked at most", fontsize=8.5
    )
    _save(figure, path)


def _subjects(path: Path, picture: Panels) -> None:
    """One panel per scenario, one bar per subject, sorted; a subject far out is cut and named with its value."""
    figure, panels = _panels(len(picture.groups), 3.2, 2.9)
    for axes, (name, values) in zip(panels, picture.groups.items(), strict=True):
        ordered = sorted(values.items(), key=lambda pair: pair[1])
        cut = 4 * max(values.get("envoy", 0), values.get("outrider", 0)) or ordered[-1][1]
        for place, (subject, value) in enumerate(ordered[::-1]):
            axes.barh(place, min(value, cut), color=_COLOURS.get(subject, "#777777"), zorder=2)
            axes.annotate(
                f"{value:.3g}{' (cut)' if value > cut else ''}",
                (min(value, cut), place),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        axes.set_yticks(range(len(ordered)), [subject for subject, _ in ordered[::-1]], fontsize=9)
        axes.set_xlim(0, min(cut, ordered[-1][1]) * 1.35)
        axes.set_title(name, fontsize=9.5)
        axes.set_xlabel(picture.unit, fontsize=8.5)
        axes.grid(axis="x", color="#e2e2e2", zorder=0)
    figure.suptitle(picture.title, fontsize=11)
    _save(figure, path)


def _percentiles(path: Path, picture: Lines) -> None:
    """Scenario → subject → percentile → milliseconds, as lines over the percentiles."""
    figure, panels = _panels(len(picture.groups), 3.4, 3.1)
    for axes, (name, by_subject) in zip(panels, picture.groups.items(), strict=True):
        for subject, values in by_subject.items():
            axes.plot(
                list(values), list(values.values()), marker="o", label=subject, color=_COLOURS.get(subject)
            )
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _position: f"{value:g}")
        axes.set_title(name, fontsize=9.5)
        axes.set_ylabel("ms (log scale)", fontsize=8.5)
        axes.grid(color="#e2e2e2", which="both")
        axes.legend(fontsize=8.5)
    figure.suptitle(picture.title, fontsize=11)
    _save(figure, path)


def _panels(count: int, width: float, height: float) -> tuple[Any, Any]:
    """A figure, and the axes of so many panels beside each other; sizes of one in inches."""
    figure, panels = pyplot.subplots(
        1, count, figsize=(width * count + 0.6, height), layout="constrained", squeeze=False
    )
    return figure, panels[0]


def _save(figure: Any, path: Path) -> None:
    for axes in figure.axes:
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    # Without the version and the time, the same figures give the same file.
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
