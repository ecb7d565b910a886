"""Counters, gauges and histograms, cheap to raise and summed by the controller.

A `StatGroup` is a plain object whose public attributes are numbers: the data path writes
`stats.downstream_rq_total += 1` (about 35 ns) and nothing else. The names appear only when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, TypeVar

from msgspec import Struct


class Histogram:
    """Counts of recorded values. Values below 100 are kept exactly, above with two significant digits.

    That is the resolution of Envoy's histograms (circllhist: log-linear, 90 bins a decade) at the cost of one
    dict operation. `unit` is "ms", "bytes" or "" and matters to readers only.
    """

    __slots__ = ("counts", "unit")

    def __init__(self, unit: str = "ms") -> None:
        self.unit = unit
        self.counts: dict[int, int] = {}

    def record(self, value: int) -> None:
        """Count one non-negative value."""
        if value >= 100:
            scale = 10 ** (len(str(value)) - 2)
            value = value // scale * scale
        counts = self.counts
        counts[value] = counts.get(value, 0) + 1


class StatGroup:
    """Numbers of one scope under Envoy's names; subclasses list them.

    `COUNTERS` and `GAUGES` are attribute names, all 0 at the start; `HISTOGRAMS` maps names to units.
    `prefix` ends with a dot: "cluster.service1.". A gauge that is derived at reading time is produced by
    overriding `gauges`. `SHARED` names (without prefix) are those that every worker holds alike, such as the
    number of hosts or what is left of a limit in shared memory: the sum takes the largest, not the total.
    """

    COUNTERS: ClassVar[tuple[str, ...]] = ()
    GAUGES: ClassVar[tuple[str, ...]] = ()
    HISTOGRAMS: ClassVar[dict[str, str]] = {}
    SHARED: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        values = self.__dict__
        for name in self.COUNTERS:
            values[name] = 0
        for name in self.GAUGES:
            values[name] = 0
        for name, unit in self.HISTOGRAMS.items():
            values[name] = Histogram(unit)

    def counters(self) -> dict[str, int]:
        """Full name → value, monotonic since the start of the process."""
        values = self.__dict__
        return {self.prefix + name: values[name] for name in self.COUNTERS}

    def gauges(self) -> dict[str, int]:
        """Full name → present value; the controller adds up those of all workers."""
        values = self.__dict__
        return {self.prefix + name: values[name] for name in self.GAUGES}

    def histograms(self) -> dict[str, Histogram]:
        """Full name → histogram."""
        values = self.__dict__
        return {self.prefix + name: values[name] for name in self.HISTOGRAMS}

    def shared(self) -> Iterable[str]:
        """The `SHARED` names of this group."""
        return self.SHARED

    def texts(self) -> dict[str, str]:
        """Full name → text readout; few groups have any."""
        return {}


Group = TypeVar("Group", bound=StatGroup)


class StatRegistry:
    """All groups of one process. One per worker and one in the controller; never global."""

    def __init__(self) -> None:
        self._groups: dict[str, StatGroup] = {}

    def add(self, key: str, group: StatGroup) -> None:
        """Register `group` under a key unique in the process; an older group of that key is replaced."""
        self._groups[key] = group

    def get(self, key: str) -> StatGroup | None:
        """The group under `key`, for parts that share one."""
        return self._groups.get(key)

    def shared(self, kind: type[Group], prefix: str) -> Group:
        """The group of that kind and prefix, new if there is none: parts of one name and place count together."""
        key = f"{kind.__name__} {prefix}"
        found = self._groups.get(key)
        if not isinstance(found, kind):
            found = self._groups[key] = kind(prefix)
        return found

    def remove(self, key: str) -> None:
        """Forget a group, as when its cluster or listener is removed."""
        self._groups.pop(key, None)

    def groups(self) -> list[StatGroup]:
        """Every registered group."""
        return list(self._groups.values())


def collect(registry: StatRegistry) -> dict[str, Any]:
    """The numbers of one process as plain dictionaries, ready for `marshal` and `StatsSum.update`."""
    return collect_groups(registry.groups())


def collect_groups(groups: Iterable[StatGroup]) -> dict[str, Any]:
    """As `collect`, for some groups: a worker with thousands may go through them in slices.

    Slices are joined key by key: `whole[kind].update(part[kind])`.
    """
    counters: dict[str, int] = {}
    gauges: dict[str, int] = {}
    shared_counters: dict[str, int] = {}
    shared_gauges: dict[str, int] = {}
    histograms: dict[str, dict[int, int]] = {}
    texts: dict[str, str] = {}
    for group in groups:
        counters.update(group.counters())
        gauges.update(group.gauges())
        for name in group.shared():
            full_name = group.prefix + name
            if full_name in counters:
                shared_counters[full_name] = counters.pop(full_name)
            elif full_name in gauges:
                shared_gauges[full_name] = gauges.pop(full_name)
        for name, histogram in group.histograms().items():
            histograms[name] = dict(histogram.counts)
        texts.update(group.texts())
    return {
        "counters": counters,
        "gauges": gauges,
        "shared_counters": shared_counters,
        "shared_gauges": shared_gauges,
        "histograms": histograms,
        "texts": texts,
    }


class StatTemplate(Struct, frozen=True):
    """Names without prefix and first values of one kind of group, for groups that nobody has built yet."""

    counters: Mapping[str, int]
    gauges: Mapping[str, int]
    histograms: tuple[str, ...]

    @classmethod
    def of(cls, group: StatGroup) -> StatTemplate:
        """The template of groups like `group`, which is fresh and serves as the pattern only."""
        cut = len(group.prefix)
        return cls(
            {name[cut:]: value for name, value in group.counters().items()},
            {name[cut:]: value for name, value in group.gauges().items()},
            tuple(name[cut:] for name in group.histograms()),
        )


class ZeroGroup(Struct, frozen=True):
    """One group that exists by name only; `values` replaces first values, by name without prefix."""

    prefix: str
    template: StatTemplate
    values: Mapping[str, int] | None = None

    @classmethod
    def of(cls, group: StatGroup, templates: dict[object, StatTemplate]) -> ZeroGroup:
        """The stand-in for a group like `group`, which is fresh.

        Groups with the same names share a template: `templates` keeps them, and is the caller's.
        """
        fresh = StatTemplate.of(group)
        template = templates.setdefault((*fresh.counters, "", *fresh.gauges, "", *fresh.histograms), fresh)
        first = {**template.counters, **template.gauges}
        values = {**fresh.counters, **fresh.gauges}
        return cls(
            group.prefix, template, {name: value for name, value in values.items() if value != first[name]}
        )


class HistogramView(Struct, frozen=True):
    """Recorded value → count: in the last whole flush interval, and since the start."""

    interval: Mapping[int, int]
    cumulative: Mapping[int, int]


def _add_counts(total: dict[int, int], more: Mapping[int, int]) -> None:
    for value, count in more.items():
        total[value] = total.get(value, 0) + count


PARENT: Final = "parent"
"""What the process before, in a hot restart, is called among the sources of `StatsSum`."""


class StatsSum:
    """The sum over processes, each named by a source key: a worker index, or "controller".

    What a process sent last is kept until it sends again. When it dies its counters and histograms stay in
    the sum, for they are history, and its gauges go.
    """

    def __init__(self) -> None:
        self._sources: dict[str | int, dict[str, Any]] = {}
        self._inherited: Mapping[str, int] = {}
        self._past_counters: dict[str, int] = {}
        self._past_histograms: dict[str, dict[int, int]] = {}
        self._reset_at: dict[str, int] = {}
        self._used_gauges: set[str] = set()
        self._interval: dict[str, dict[int, int]] = {}
        self._flushed: dict[str, dict[int, int]] = {}

    def update(self, source: str | int, collected: dict[str, Any]) -> None:
        """Replace the numbers of `source` by what its `collect` returned."""
        self._sources[source] = collected
        if source == PARENT:
            self._inherited = collected["counters"]
        for kind in ("gauges", "shared_gauges"):
            self._used_gauges.update(name for name, value in collected[kind].items() if value)

    def lost(self, source: str | int) -> None:
        """`source` has ended; one of the same key may begin later at zero."""
        collected = self._sources.pop(source, None)
        if collected is None:
            return
        for name, value in collected["counters"].items():
            self._past_counters[name] = self._past_counters.get(name, 0) + value
        for name, counts in collected["histograms"].items():
            _add_counts(self._past_histograms.setdefault(name, {}), counts)

    def forget(self, prefix: str) -> None:
        """Drop the history of names under `prefix`, as when a cluster or listener is removed for good."""
        for past in (
            self._past_counters,
            self._past_histograms,
            self._reset_at,
            self._interval,
            self._flushed,
        ):
            for name in [name for name in past if name.startswith(prefix)]:
                del past[name]
        self._used_gauges = {name for name in self._used_gauges if not name.startswith(prefix)}

    def reset_counters(self) -> None:
        """Let every counter read 0 from here on; what sources send is not changed."""
        self._reset_at = {name: value for name, value in self._raw_counters().items() if value}

    def flush(self) -> None:
        """End one interval of the histograms; call it every `stats_flush_interval`, after updates."""
        current = self._cumulative()
        self._interval = {
            name: {
                value: count - before.get(value, 0)
                for value, count in counts.items()
                if count > before.get(value, 0)
            }
            for name, counts in current.items()
            for before in (self._flushed.get(name, {}),)
        }
        self._flushed = current

    def counters(self) -> dict[str, int]:
        """Full name → value since the start, or since `reset_counters`."""
        total = self._raw_counters()
        for name, before in self._reset_at.items():
            value = total.get(name)
            if value is not None:
                # A value under the mark was started anew, as after its cluster came back.
                total[name] = value - before if value >= before else value
        return total

    def own_counters(self) -> dict[str, int]:
        """Full name → what was counted since the start, whatever was reset, without what `PARENT` has told of."""
        total = self._raw_counters()
        for name, value in self._inherited.items():
            if name in total:
                total[name] -= value
        return total

    def gauges(self) -> dict[str, int]:
        """Full name → present value."""
        total: dict[str, int] = {}
        for collected in self._sources.values():
            for name, value in collected["gauges"].items():
                total[name] = total.get(name, 0) + value
        self._largest(total, "shared_gauges")
        return total

    def texts(self) -> dict[str, str]:
        """Full name → text readout."""
        total: dict[str, str] = {}
        for collected in self._sources.values():
            total.update(collected["texts"])
        return total

    def histograms(self) -> dict[str, HistogramView]:
        """Full name → recorded counts; a histogram nothing was recorded in has two empty ones."""
        return {
            name: HistogramView(self._interval.get(name, {}), counts)
            for name, counts in self._cumulative().items()
        }

    def counted(self, name: str) -> bool:
        """Whether the counter of that name was ever raised, as far as processes have told."""
        return bool(self._past_counters.get(name)) or any(
            collected["counters"].get(name) for collected in self._sources.values()
        )

    def used(self, name: str) -> bool:
        """Whether the gauge of that name was ever seen other than 0."""
        return name in self._used_gauges

    def _raw_counters(self) -> dict[str, int]:
        total = dict(self._past_counters)
        for collected in self._sources.values():
            for name, value in collected["counters"].items():
                total[name] = total.get(name, 0) + value
        self._largest(total, "shared_counters")
        return total

    def _largest(self, total: dict[str, int], kind: str) -> None:
        for collected in self._sources.values():
            for name, value in collected[kind].items():
                total[name] = max(total.get(name, 0), value)

    def _cumulative(self) -> dict[str, dict[int, int]]:
        total = {name: dict(counts) for name, counts in self._past_histograms.items()}
        for collected in self._sources.values():
            for name, counts in collected["histograms"].items():
                _add_counts(total.setdefault(name, {}), counts)
        return total
