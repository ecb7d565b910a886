"""The Prometheus exposition of a stats view, one metric at a time.

prometheus-client writes the samples. Its counters would all end in `_total` and its numbers in `.0`, which
is not what dashboards made for Envoy ask for; so metrics go in as gauges, and the type line and whole numbers
are put right afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric

from proxy.admin.histograms import (
    QUANTILES,
    BucketsOf,
    approximate_sum,
    cumulative_buckets,
    default_buckets,
    number,
    quantiles,
)
from proxy.admin.stats_query import StatsView
from proxy.admin.tags import TagExtractor
from proxy.base.stats import HistogramView

#: Samples rendered in one go, about 10 ms of work.
_BATCH: Final = 1000

_ILLEGAL: Final = re.compile(r"[^a-zA-Z0-9_]")
_WHOLE: Final = re.compile(r"(?<= )(\d+\.0|\d(?:\.\d+)?e\+\d+)$", re.MULTILINE)

#: Stands for a cluster's name while one sample line is rendered for all clusters.
_ANY_CLUSTER: Final = "ANY-CLUSTER-NAME"

Labels = dict[str, str]


class _Family:
    """One metric: the samples of stats that are there, and line patterns of those that exist by name only."""

    __slots__ = ("histograms", "numbers", "patterns")

    def __init__(self) -> None:
        self.numbers: list[tuple[Labels, float]] = []
        self.histograms: list[tuple[str, Labels, HistogramView]] = []
        self.patterns: list[tuple[int, str, int]] = []


class _Collector:
    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        yield self._metric


def _whole(match: re.Match[str]) -> str:
    value = float(match[1])
    return str(int(value)) if value.is_integer() else match[1]


def _rendered(metric: Metric) -> str:
    """Sample lines only, without HELP and TYPE."""
    text: str = generate_latest(_Collector(metric)).decode()
    return _WHOLE.sub(_whole, text.split("\n", 2)[2])


class PrometheusRenderer:
    """Renders one view; `tags` decides names and labels, `buckets_of` the histogram buckets.

    `summaries` writes quantiles instead of buckets, `text_readouts` adds them as gauges of value 1.
    """

    def __init__(
        self,
        view: StatsView,
        tags: TagExtractor,
        buckets_of: BucketsOf = default_buckets,
        *,
        summaries: bool = False,
        text_readouts: bool = False,
    ) -> None:
        self._view = view
        self._tags = tags
        self._buckets_of = buckets_of
        self._summaries = summaries
        self._text_readouts = text_readouts
        # Groups by template, where one rendered line serves all: clusters whose name is a single part.
        self._alike: dict[int, list[tuple[str, str, Any]]] = {}
        self._others = []
        for group in view.zero_groups:
            cluster = group.prefix.removeprefix("cluster.").removesuffix(".")
            alike = not tags.customised and group.prefix == f"cluster.{cluster}." and "." not in cluster
            if alike and cluster:
                key = id(group.template)
                self._alike.setdefault(key, []).append((group.prefix, _escaped(cluster), group))
            else:
                self._others.append(group)

    def render(self) -> Iterator[str]:
        """The exposition in pieces; counters, gauges, text readouts, histograms, each sorted by name."""
        query = self._view.query
        if query.wants("Counters"):
            yield from self._numbers(self._view.counters, "counters", "counter")
        if query.wants("Gauges"):
            yield from self._numbers(self._view.gauges, "gauges", "gauge")
        if self._text_readouts:
            yield from self._texts()
        if query.wants("Histograms"):
            yield from self._histograms()

    def _named(self, name: str) -> tuple[str, Labels]:
        extracted, labels = self._tags.extract(name)
        return "envoy_" + _ILLEGAL.sub("_", extracted), {
            _ILLEGAL.sub("_", tag): value for tag, value in labels
        }

    def _numbers(self, values: dict[str, int], kind: str, metric_type: str) -> Iterator[str]:
        families: dict[str, _Family] = {}
        for name in sorted(values):
            metric_name, labels = self._named(name)
            families.setdefault(metric_name, _Family()).numbers.append((labels, values[name]))
        for group in self._others:
            for suffix, value in getattr(group.template, kind).items():
                value = (group.values or {}).get(suffix, value)
                if self._view.is_zero_name(group.prefix + suffix, value):
                    metric_name, labels = self._named(group.prefix + suffix)
                    families.setdefault(metric_name, _Family()).numbers.append((labels, value))
        for key, groups in self._alike.items():
            for suffix, value in getattr(groups[0][2].template, kind).items():
                metric_name, _ = self._named(f"cluster.{_ANY_CLUSTER}.{suffix}")
                families.setdefault(metric_name, _Family()).patterns.append((key, suffix, value))
        for metric_name in sorted(families):
            yield from _headed(
                metric_name, metric_type, self._number_lines(metric_name, families[metric_name])
            )

    def _number_lines(self, metric_name: str, family: _Family) -> Iterator[str]:
        for start in range(0, len(family.numbers), _BATCH):
            metric = Metric(metric_name, "", "gauge")
            for labels, value in family.numbers[start : start + _BATCH]:
                metric.add_sample(metric_name, labels, value)
            yield _rendered(metric)
        for key, suffix, first_value in family.patterns:
            metric = Metric(metric_name, "", "gauge")
            _, labels = self._named(f"cluster.{_ANY_CLUSTER}.{suffix}")
            metric.add_sample(metric_name, labels, 0)
            pattern = _rendered(metric).removesuffix("0\n")
            before, _, after = pattern.partition(_ANY_CLUSTER)
            yield from self._zero_lines(key, suffix, first_value, before, after)

    def _zero_lines(self, key: int, suffix: str, first_value: int, before: str, after: str) -> Iterator[str]:
        is_zero_name = self._view.is_zero_name
        for prefix, cluster, group in self._alike[key]:
            value = first_value if group.values is None else group.values.get(suffix, first_value)
            yield f"{before}{cluster}{after}{value}\n" if is_zero_name(prefix + suffix, value) else ""

    def _texts(self) -> Iterator[str]:
        families: dict[str, list[Labels]] = {}
        for name, text in sorted(self._view.texts.items()):
            metric_name, labels = self._named(name)
            families.setdefault(metric_name, []).append({**labels, "text_value": text})
        for metric_name, all_labels in sorted(families.items()):
            metric = Metric(metric_name, "", "gauge")
            for labels in all_labels:
                metric.add_sample(metric_name, labels, 1)
            yield from _headed(metric_name, "gauge", iter([_rendered(metric)]))

    def _histograms(self) -> Iterator[str]:
        families: dict[str, _Family] = {}
        for name, view in self._view.all_histograms():
            metric_name, labels = self._named(name)
            families.setdefault(metric_name, _Family()).histograms.append((name, labels, view))
        metric_type = "summary" if self._summaries else "histogram"
        for metric_name in sorted(families):
            lines = (
                self._histogram_lines(metric_name, name, labels, view)
                for name, labels, view in families[metric_name].histograms
            )
            yield from _headed(metric_name, metric_type, lines)

    def _histogram_lines(self, metric_name: str, name: str, labels: Labels, view: HistogramView) -> str:
        counts = view.cumulative
        total = sum(counts.values())
        metric = Metric(metric_name, "", "gauge")
        if self._summaries:
            for quantile, value in zip(QUANTILES, quantiles(counts), strict=True):
                metric.add_sample(metric_name, {**labels, "quantile": number(quantile)}, value)
        else:
            bounds = self._buckets_of(name)
            for bound, below in zip(bounds, cumulative_buckets(counts, bounds), strict=True):
                metric.add_sample(metric_name + "_bucket", {**labels, "le": number(float(bound))}, below)
            metric.add_sample(metric_name + "_bucket", {**labels, "le": "+Inf"}, total)
        metric.add_sample(metric_name + "_sum", labels, approximate_sum(counts))
        metric.add_sample(metric_name + "_count", labels, total)
        return _rendered(metric)


def _headed(metric_name: str, metric_type: str, lines: Iterator[str]) -> Iterator[str]:
    """The lines after their TYPE line, which comes only if there is one."""
    for first in lines:
        if first:
            yield f"# TYPE {metric_name} {metric_type}\n{first}"
            yield from lines
            return
        yield ""


def _escaped(value: str) -> str:
    """A label value as the exposition format writes it."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
