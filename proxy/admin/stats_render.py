"""`/stats` as text, JSON and HTML, piece by piece."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from proxy.admin.histograms import (
    QUANTILES,
    BucketsOf,
    bin_width,
    bucket_summary,
    cumulative_buckets,
    detail,
    disjoint_buckets,
    quantile_summary,
    quantiles,
)
from proxy.admin.stats_query import StatsView
from proxy.base.stats import HistogramView


def as_text(view: StatsView, buckets_of: BucketsOf) -> Iterator[str]:
    """One line per stat: text readouts, then numbers, then histograms."""
    for name, text in sorted(view.texts.items()):
        yield f'{name}: "{text}"\n'
    for name, value in view.numbers():
        yield "" if value is None else f"{name}: {value}\n"
    for name, histogram in view.all_histograms():
        yield f"{name}:{_histogram_text(view.query.buckets, histogram, buckets_of(name))}\n"


def _histogram_text(mode: str, histogram: HistogramView, bounds: Sequence[float]) -> str:
    interval, cumulative = histogram.interval, histogram.cumulative
    if not cumulative:
        return " No recorded values"
    match mode:
        case "cumulative" | "disjoint":
            counted = cumulative_buckets if mode == "cumulative" else disjoint_buckets
            return " " + bucket_summary(bounds, counted(interval, bounds), counted(cumulative, bounds))
        case "detailed":
            return (
                f"\n  totals={detail(cumulative)}\n  intervals={detail(interval)}"
                f"\n  summary={quantile_summary(interval, cumulative)}"
            )
        case _:
            return " " + quantile_summary(interval, cumulative)


def as_html(view: StatsView, buckets_of: BucketsOf) -> Iterator[str]:
    """The text for a page: escaped, in a `pre`."""
    yield '<p><a href="/">All admin commands</a></p>\n<pre>'
    for piece in as_text(view, buckets_of):
        yield html.escape(piece)
    yield "</pre>\n"


def as_json(view: StatsView, buckets_of: BucketsOf) -> Iterator[str]:
    """`{"stats": [{"name", "value"}, ..., {"histograms": ...}]}`."""
    before = '{"stats":['
    for name, text in sorted(view.texts.items()):
        yield before + _compact({"name": name, "value": text})
        before = ","
    for name, value in view.numbers():
        if value is None:
            yield ""
            continue
        yield before + _compact({"name": name, "value": value})
        before = ","
    mode = view.query.buckets
    first = True
    for name, histogram in view.all_histograms():
        yield before + _histograms_head(mode) if first else ","
        yield _compact(_histogram_json(mode, name, histogram, buckets_of(name)))
        first = False
    if first:
        yield "]}" if before == "," else before + "]}"
    else:
        yield "]}]}" if mode in {"cumulative", "disjoint"} else "]}}]}"


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _histograms_head(mode: str) -> str:
    percents = _compact([_finite(100 * quantile) for quantile in QUANTILES])
    match mode:
        case "cumulative" | "disjoint":
            return '{"histograms":['
        case "detailed":
            return f'{{"histograms":{{"supported_percentiles":{percents},"details":['
        case _:
            return f'{{"histograms":{{"supported_quantiles":{percents},"computed_quantiles":['


def _finite(value: float) -> float | int | None:
    if math.isnan(value):
        return None
    return int(value) if value.is_integer() else value


def _histogram_json(mode: str, name: str, histogram: HistogramView, bounds: Sequence[float]) -> Any:
    interval, cumulative = histogram.interval, histogram.cumulative
    if mode in {"cumulative", "disjoint"}:
        counted = cumulative_buckets if mode == "cumulative" else disjoint_buckets
        rows = zip(bounds, counted(interval, bounds), counted(cumulative, bounds), strict=True)
        return {
            "name": name,
            "buckets": [
                {"upper_bound": _finite(float(bound)), "interval": recent, "cumulative": ever}
                for bound, recent, ever in rows
            ],
        }
    values = [
        {"cumulative": _finite(ever), "interval": _finite(recent)}
        for ever, recent in zip(quantiles(cumulative), quantiles(interval), strict=True)
    ]
    if mode == "detailed":
        return {
            "name": name,
            "totals": _bins(cumulative),
            "intervals": _bins(interval),
            "percentiles": values,
        }
    return {"name": name, "values": values}


def _bins(counts: Any) -> list[dict[str, Any]]:
    return [
        {"lower_bound": lower, "width": _finite(bin_width(lower)), "count": counts[lower]}
        for lower in sorted(counts)
    ]
