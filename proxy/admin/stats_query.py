"""Which stats a request asks for, and their values in Envoy's order."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Final

from msgspec import Struct

from proxy.admin.http import AdminRequest, BadParameterError, searchable
from proxy.base.stats import HistogramView, StatsSum, ZeroGroup

TYPES: Final = ("All", "Counters", "Histograms", "Gauges", "TextReadouts")
BUCKET_MODES: Final = ("cumulative", "disjoint", "detailed", "summary")

_NOTHING: Final = HistogramView({}, {})


class StatsQuery(Struct, frozen=True):
    """The selection of one request; `keep` judges a full name, None keeps all.

    `hidden_only` asks for what Envoy's stats config hides; here nothing is hidden, so it selects nothing.
    """

    hidden_only: bool = False
    used_only: bool = False
    type: str = "All"
    buckets: str = "summary"
    keep: Callable[[str], bool] | None = None

    def wants(self, stat_type: str) -> bool:
        """Whether stats of that type are asked for."""
        return not self.hidden_only and self.type in {"All", stat_type}


def parse_query(request: AdminRequest) -> StatsQuery:
    """Raises `BadParameterError` with Envoy's words, and the allowed values where those leave them out."""
    regex = request.regex("filter")
    keep: Callable[[str], bool] | None = None
    if regex is not None:
        search = regex.search
        if request.flag("invert_filter"):
            keep = lambda name: not search(searchable(name))  # noqa: E731
        else:
            keep = lambda name: search(searchable(name))  # noqa: E731
    hidden = request.choice(
        "hidden",
        ("include", "only", "exclude"),
        "exclude",
        "usage: /stats?hidden=(include|only|exclude)\n\n",
    )
    return StatsQuery(
        hidden == "only",
        request.flag("usedonly"),
        request.choice(
            "type", TYPES, "All", f"invalid &type= param\n\nusage: /stats?type=({'|'.join(TYPES)})\n"
        ),
        request.choice(
            "histogram_buckets",
            BUCKET_MODES,
            "summary",
            f"usage: /stats?histogram_buckets=({'|'.join(BUCKET_MODES)})\n",
        ),
        keep,
    )


def format_of(request: AdminRequest) -> str:
    """text, json, html or prometheus; raises `BadParameterError`."""
    usage = "usage: /stats?format=(html|json|prometheus|text)\n\n"
    if request.parameters.get("format") == "active-html":
        raise BadParameterError("format=active-html is not offered; format=html is\n" + usage)
    return request.choice("format", ("text", "json", "html", "prometheus"), "text", usage)


class StatsView:
    """The stats of one moment that a query selects."""

    def __init__(self, total: StatsSum, zero_groups: Iterable[ZeroGroup], query: StatsQuery) -> None:
        self.query = query
        keep = query.keep
        used_only = query.used_only
        self._known: set[str] = set()
        self.counters = self._select(
            total.counters() if query.wants("Counters") else {},
            (lambda _, value: value != 0) if used_only else None,
            keep,
        )
        self.gauges = self._select(
            total.gauges() if query.wants("Gauges") else {},
            (lambda name, value: value != 0 or total.used(name)) if used_only else None,
            keep,
        )
        self.texts = (
            {name: text for name, text in total.texts().items() if keep is None or keep(name)}
            if query.wants("TextReadouts")
            else {}
        )
        histograms = total.histograms() if query.wants("Histograms") else {}
        self._known.update(histograms)
        self.histograms = {
            name: view
            for name, view in histograms.items()
            if (not used_only or view.cumulative) and (keep is None or keep(name))
        }
        self.zero_groups = sorted(zero_groups, key=lambda group: group.prefix)

    def _select(
        self,
        values: dict[str, int],
        used: Callable[[str, int], bool] | None,
        keep: Callable[[str], bool] | None,
    ) -> dict[str, int]:
        self._known.update(values)
        if used is None and keep is None:
            return values
        return {
            name: value
            for name, value in values.items()
            if (used is None or used(name, value)) and (keep is None or keep(name))
        }

    def numbers(self) -> Iterator[tuple[str, int | None]]:
        """Counters and gauges by name. A value of None only marks a pause: a group had nothing to show."""
        present: list[tuple[str, int | None]] = sorted([*self.counters.items(), *self.gauges.items()])
        if not self.zero_groups:
            return iter(present)
        return heapq.merge(present, self._zero_numbers(), key=itemgetter(0))

    def is_zero_name(self, name: str, value: int) -> bool:
        """Whether a name that only a zero group has is to be shown."""
        if name in self._known or (self.query.used_only and not value):
            return False
        keep = self.query.keep
        return keep is None or keep(name)

    def _zero_numbers(self) -> Iterator[tuple[str, int | None]]:
        names_of: dict[int, list[tuple[str, int]]] = {}
        for group in self.zero_groups:
            template = group.template
            names = names_of.get(id(template))
            if names is None:
                chosen = dict(template.counters) if self.query.wants("Counters") else {}
                if self.query.wants("Gauges"):
                    chosen.update(template.gauges)
                names = names_of[id(template)] = sorted(chosen.items())
            prefix = group.prefix
            values = group.values or {}
            yield prefix, None
            for suffix, value in names:
                value = values.get(suffix, value)
                name = prefix + suffix
                if self.is_zero_name(name, value):
                    yield name, value

    def all_histograms(self) -> Iterator[tuple[str, HistogramView]]:
        """Histograms by name."""
        present = sorted(self.histograms.items(), key=itemgetter(0))
        if not self.zero_groups or self.query.used_only or not self.query.wants("Histograms"):
            return iter(present)
        zero = (
            (group.prefix + suffix, _NOTHING)
            for group in self.zero_groups
            for suffix in sorted(group.template.histograms)
            if self.is_zero_name(group.prefix + suffix, 0)
        )
        return heapq.merge(present, zero, key=itemgetter(0))
