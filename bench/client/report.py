"""`--report DIR`: a page that needs nothing else, and all figures as JSON."""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from bench.client.charts import Axis, Point, chart, round_ticks
from bench.client.options import Options
from bench.client.summary import duration, rows
from proxy.base.errors import UsageError
from proxy.version import VERSION

#: Bars of the histogram in each factor of ten.
_BARS: Final = 20
_STYLE: Final = (
    "body{font:15px/1.45 system-ui,'DejaVu Sans',sans-serif;max-width:800px;margin:2em auto;padding:0 1em;"
    "color:#222;background:#fff}h1{font-size:1.35em}h2{font-size:1.05em;margin-top:2em}"
    "td{padding:.15em 1.2em .15em 0;vertical-align:top}td:first-child{color:#666}"
    "code{background:#f3f3f3;padding:.1em .3em;overflow-wrap:anywhere}svg{width:100%;height:auto}"
    "svg text{font-size:11px;fill:#555}svg .name{font-weight:bold}.grid{stroke:#e4e4e4}.tick{stroke:#999}"
)


def check_directory(directory: str) -> None:
    """Make it before the run, so that none is lost for it; raises `UsageError`."""
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"outrider bench: --report {directory}: {error.strerror}") from error
    if not os.access(directory, os.W_OK):
        raise UsageError(f"outrider bench: --report {directory}: not writable")


def write_report(directory: str, options: Options, arguments: Sequence[str], found: dict[str, Any]) -> Path:
    """The path of the page; raises `UsageError` if it cannot be written."""
    result = {
        "url": options.target.url,
        "command": shlex.join(["outrider", "bench", *arguments]),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpus": len(os.sched_getaffinity(0)),
            "architecture": platform.machine(),
            "kernel": platform.release(),
        },
        "versions": {
            "outrider": VERSION,
            "python": platform.python_version(),
            "uvloop": metadata.version("uvloop"),
        },
        "loop": "open" if options.rate else "closed",
        **found,
    }
    path = Path(directory) / "report.html"
    try:
        path.write_text(page(result), encoding="utf-8")
        (Path(directory) / "report.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"outrider bench: --report {directory}: {error.strerror}") from error
    return path


def page(result: dict[str, Any]) -> str:
    """The HTML of a result."""
    machine, versions = result["machine"], result["versions"]
    about = [
        ("command", result["command"]),
        ("time", result["time"]),
        ("machine", f"{machine['cpus']} CPUs, {machine['architecture']}, Linux {machine['kernel']}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]
    loop = (
        "Open loop: latency counts from the moment at which a request was due."
        if result["loop"] == "open"
        else "Closed loop: latency counts from when a request was sent; a slow server is asked less often."
    )
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width'>",
        f"<title>{escape(result['url'])}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(result['url'])}</h1><p>{loop}</p>",
        _table(rows(result)),
    ]
    if result["latency"]["count"]:
        parts += ["<h2>Latency: how many requests took how long</h2>", _histogram(result["histogram"])]
        parts += [
            "<h2>Percentiles: the latency that a share of requests stayed below</h2>",
            _percentiles(result),
        ]
    if len(result["series"]) > 1:
        parts += ["<h2>Requests a second</h2>", _rates(result["series"])]
        parts += ["<h2>Latency over time</h2>", _latencies(result["series"])]
    return "\n".join([*parts, "<h2>How it was measured</h2>", _table(about, code=True), "</body></html>\n"])


def _table(lines: Sequence[tuple[str, str]], *, code: bool = False) -> str:
    cells = (
        f"<tr><td>{escape(label)}</td><td>"
        + (f"<code>{escape(text)}</code>" if code and label == "command" else escape(text))
        + "</td></tr>"
        for label, text in lines
    )
    return f"<table>{''.join(cells)}</table>"


def _time_axis(least: float, greatest: float) -> Axis:
    """Logarithmic, with a tick at 1, 2 and 5 of each power of ten where there is room."""
    least, greatest = max(least, 1e-7), max(greatest, 1e-7)
    if greatest / least < 2:
        least, greatest = least / 1.5, greatest * 1.5
    powers = range(math.floor(math.log10(least)), math.ceil(math.log10(greatest)) + 1)
    factors = (1, 2, 5) if greatest / least < 3000 else (1,)
    ticks = [factor * 10.0**power for power in powers for factor in factors]
    return Axis(
        least,
        greatest,
        [(tick, duration(tick)) for tick in ticks if least <= tick <= greatest],
        "latency",
        log=True,
    )


def _count_axis(greatest: float, title: str) -> Axis:
    ticks = round_ticks(greatest)
    return Axis(0.0, ticks[-1], [(tick, f"{tick:g}") for tick in ticks], title)


def _histogram(buckets: Sequence[Sequence[float]]) -> str:
    counts: dict[int, float] = {}
    for begin, end, count in buckets:
        number = math.floor(math.log10(max((begin + end) / 2, 1e-7)) * _BARS)
        counts[number] = counts.get(number, 0.0) + count
    numbers = range(min(counts), max(counts) + 2)
    bars: list[Point] = [(10.0 ** (number / _BARS), counts.get(number, 0.0)) for number in numbers]
    return chart(
        _time_axis(bars[0][0], bars[-1][0]), _count_axis(max(counts.values()), "requests"), bars=bars
    )


def _percentiles(result: dict[str, Any]) -> str:
    total = result["latency"]["count"]
    seen = 0.0
    points: list[Point] = []
    for begin, end, count in result["histogram"]:
        # 1 / (1 - share), so that each further nine has the same room.
        points.append((total / (total - seen), (begin + end) / 2))
        seen += count
    last = float(max(total, 10))
    points.append((last, result["latency"]["max"]))
    shares = [(1.0, "0 %"), (2.0, "50 %"), (10.0, "90 %"), (100.0, "99 %"), (1e3, "99.9 %"), (1e4, "99.99 %")]
    x = Axis(1.0, last, [tick for tick in shares if tick[0] <= last], "share of requests", log=True)
    ticks = round_ticks(result["latency"]["max"])
    y = Axis(0.0, ticks[-1], [(tick, duration(tick) if tick else "0") for tick in ticks], "latency")
    return chart(x, y, [("", points)])


def _moments(series: Sequence[dict[str, Any]]) -> Axis:
    end = series[-1]["begin"] + series[-1]["seconds"]
    ticks = [tick for tick in round_ticks(end, 8) if tick <= end]
    return Axis(0.0, end, [(tick, f"{tick:g}") for tick in ticks], "seconds")


def _rates(series: Sequence[dict[str, Any]]) -> str:
    def curve(key: str) -> list[Point]:
        return [(one["begin"] + one["seconds"] / 2, one[key] / one["seconds"]) for one in series]

    replies, errors = curve("requests"), curve("errors")
    curves = [("replies", replies)]
    if any(rate for _, rate in errors):
        curves.append(("errors", errors))
    most = max(rate for _, rate in replies + errors)
    return chart(_moments(series), _count_axis(most, "requests a second"), curves)


def _latencies(series: Sequence[dict[str, Any]]) -> str:
    curves: list[tuple[str, list[Point]]] = [
        (key, [(one["begin"] + one["seconds"] / 2, one[key]) for one in series if one["requests"]])
        for key in ("p50", "p99", "max")
    ]
    values = [value for _, points in curves for _, value in points]
    return chart(_moments(series), _time_axis(min(values), max(values)), curves)
