"""What one flush tells of the numbers: counters with what they grew by, gauges, and what histograms recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from proxy.base.stats import HistogramView, StatsSum, StatTemplate, ZeroGroup


class Counted(Struct, frozen=True):
    """A counter that was ever raised: its value, and by how much it has grown since the flush before."""

    name: str
    value: int
    delta: int


class Snapshot(Struct, frozen=True):
    """One flush. As in Envoy, what was never used is left out."""

    counters: tuple[Counted, ...]
    gauges: Mapping[str, int]
    histograms: Mapping[str, HistogramView]


class Snapshots:
    """Takes one snapshot after the other. `exists` judges names by `stats_matcher`; None lets every stat exist."""

    def __init__(self, exists: Callable[[str], bool] | None = None) -> None:
        self._exists = exists
        self._last: dict[str, int] = {}

    def take(
        self, total: StatsSum, zero_groups: Iterable[ZeroGroup] = (), *, gauges: bool = True
    ) -> Snapshot:
        """Call it after `StatsSum.flush`. Gauges of a process that has a successor are that one's to tell.

        `zero_groups` are those that no worker has made, of which gauges may yet be other than 0.
        """
        exists = self._exists or _every
        values = {name: value for name, value in total.own_counters().items() if value > 0 and exists(name)}
        last, self._last = self._last, values
        return Snapshot(
            tuple(Counted(name, value, _growth(value, last.get(name, 0))) for name, value in values.items()),
            self._gauges(total, zero_groups) if gauges else {},
            {name: view for name, view in total.histograms().items() if view.cumulative and exists(name)},
        )

    def _gauges(self, total: StatsSum, zero_groups: Iterable[ZeroGroup]) -> dict[str, int]:
        exists = self._exists or _every
        present = total.gauges()
        told = {
            name: value for name, value in present.items() if (value or total.used(name)) and exists(name)
        }
        others: dict[int, tuple[StatTemplate, dict[str, int]]] = {}
        for group in zero_groups:
            template = group.template
            if id(template) not in others:
                used = {suffix: value for suffix, value in template.gauges.items() if value}
                others[id(template)] = template, used
            values = group.values or {}
            for suffix, value in others[id(template)][1].items():
                name = group.prefix + suffix
                if name not in present and exists(name):
                    told[name] = values.get(suffix, value)
            for suffix, value in values.items():
                name = group.prefix + suffix
                if value and suffix in template.gauges and name not in present and exists(name):
                    told[name] = value
        return told


def _growth(value: int, before: int) -> int:
    """A value under the one before was started anew, as after its cluster came back."""
    return value - before if value >= before else value


def _every(_name: str) -> bool:
    return True
