"""The figures of a run, and how they are shown in a terminal."""

from __future__ import annotations

from typing import Any, Final

from bench.client.load import Load
from bench.client.observed import observed_rows

PERCENTILES: Final = (50.0, 75.0, 90.0, 99.0, 99.9, 99.99)
_MOST_NAMES: Final = 10
#: Those that a person asks for first.
_LATENCIES: Final = ("p50", "p90", "p99", "p99.9", "max", "mean")


def figures(load: Load) -> dict[str, Any]:
    """Everything that was measured, as JSON has it; times are seconds."""
    tally = load.tally
    latencies = tally.latencies()
    return {
        "requests": tally.succeeded + tally.error_count,
        "succeeded": tally.succeeded,
        "seconds": load.seconds,
        "rate": load.in_time / load.seconds if load.seconds else 0.0,
        "interrupted": load.interrupted,
        "latency": {
            "count": latencies.count,
            "mean": latencies.mean,
            "min": latencies.least if latencies.count else 0.0,
            **{f"p{share:g}": latencies.percentile(share) for share in PERCENTILES},
            "max": latencies.greatest,
        },
        "bytes_received": tally.received,
        "connections_opened": tally.connections,
        "status": dict(sorted(tally.statuses.items())),
        "errors": dict(sorted(tally.errors.items())),
        "unsent": tally.unsent,
        "mix": dict(tally.by_request.most_common()),
        "proxy": load.observed,
        "histogram": [list(bucket) for bucket in latencies],
        "series": [
            {
                "begin": interval.begin,
                "seconds": interval.seconds,
                "requests": interval.latencies.count,
                "errors": interval.errors,
                "p50": interval.latencies.percentile(50),
                "p99": interval.latencies.percentile(99),
                "max": interval.latencies.greatest,
            }
            for interval in tally.intervals
            if interval.latencies.count or interval.errors or interval.seconds >= tally.width / 2
        ],
    }


def duration(seconds: float) -> str:
    """Three digits with a unit that fits: `850 us`, `1.25 ms`, `2 s`."""
    for unit, scale in (("us", 1e6), ("ms", 1e3)):
        if seconds * scale < 999.5:
            return f"{seconds * scale:.3g} {unit}"
    return f"{seconds:.3g} s" if seconds < 999.5 else f"{seconds:.0f} s"


def size(count: float) -> str:
    """Bytes with a binary unit."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1024
    return f"{count:.3g} GiB"


def rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Label and text of what a person asks for first."""
    latency = found["latency"]
    shown = [
        ("requests", f"{found['requests']} in {duration(found['seconds'])}"),
        ("rate", f"{found['rate']:.1f} requests/s"),
        *([(name, duration(latency[name])) for name in _LATENCIES] if latency["count"] else []),
        (
            "received",
            f"{size(found['bytes_received'])}, {size(found['bytes_received'] / found['seconds'])}/s",
        ),
        ("connections", f"{found['connections_opened']} opened while measuring"),
    ]
    if found["status"]:
        shown.append(("status", ", ".join(f"{code}: {count}" for code, count in found["status"].items())))
    errors = ", ".join(f"{kind}: {count}" for kind, count in found["errors"].items())
    shown.append(("errors", errors or "none"))
    shown += [("mix", f"{name}: {count}") for name, count in list(found["mix"].items())[:_MOST_NAMES]]
    shown += observed_rows(found["proxy"])
    if found["unsent"]:
        shown.append(("not sent", f"{found['unsent']} were due and found no free connection by the end"))
    if found["interrupted"]:
        shown.append(("note", "interrupted; requests under way are not counted"))
    return shown


def table(url: str, found: dict[str, Any]) -> str:
    """The end of a run in a terminal."""
    return "\n".join([url, *(f"  {label:14}{text}" for label, text in rows(found))])
