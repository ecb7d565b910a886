"""The lines of statsd, and of DogStatsD with its tags, and how they are packed into datagrams.

Source: Envoy's `stat_sinks/common/statsd`. Its histograms tell of each value when it is recorded. Here they do so
at a flush: up to nine lines for equal values, beyond that lines with a sample rate that stand for 10, 100, ...
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from proxy.admin.tags import TagExtractor
from proxy.stats_sinks.snapshot import Snapshot

DEFAULT_PREFIX: Final = "envoy"

# How many values one line stands for, and what says so. `1 / rate` is exact for these, and so for receivers too.
_RATES: Final = ((10_000, "|@0.0001"), (1_000, "|@0.001"), (100, "|@0.01"), (10, "|@0.1"), (1, ""))


class StatsdFormat:
    """How stats are written. With `tags`, values are taken out of names and written as tags of DogStatsD."""

    def __init__(self, prefix: str, tags: TagExtractor | None = None) -> None:
        self._prefix = prefix or DEFAULT_PREFIX
        self._tags = tags
        self._names: dict[str, tuple[str, str]] = {}

    def lines(self, snapshot: Snapshot) -> Iterator[str]:
        """A line for each counter and gauge, and those of histograms; without the ends of lines."""
        known, self._names = self._names, {}
        for counter in snapshot.counters:
            name, tags = self._name(counter.name, known)
            yield f"{name}:{counter.delta}|c{tags}"
        for full_name, value in snapshot.gauges.items():
            name, tags = self._name(full_name, known)
            yield f"{name}:{value}|g{tags}"
        for full_name, view in snapshot.histograms.items():
            name, tags = self._name(full_name, known)
            for recorded, count in view.interval.items():
                for rate in _rates(count):
                    yield f"{name}:{recorded}|ms{rate}{tags}"

    def _name(self, full_name: str, known: dict[str, tuple[str, str]]) -> tuple[str, str]:
        """The name and the tags after a value. What a snapshot names no more is forgotten."""
        made = known.get(full_name)
        if made is None:
            made = self._made(full_name)
        self._names[full_name] = made
        return made

    def _made(self, full_name: str) -> tuple[str, str]:
        if self._tags is None:
            return f"{self._prefix}.{full_name}", ""
        name, labels = self._tags.extract(full_name)
        tags = ",".join(f"{tag}:{value}" for tag, value in labels)
        return f"{self._prefix}.{name}", f"|#{tags}" if tags else ""


def _rates(count: int) -> Iterator[str]:
    for weight, rate in _RATES:
        lines, count = divmod(count, weight)
        for _ in range(lines):
            yield rate


def datagrams(lines: Iterable[str], limit: int) -> Iterator[bytes]:
    """As many lines in each as fit into `limit` bytes; longer ones go alone, as all do for 0."""
    waiting: list[bytes] = []
    size = 0
    for line in lines:
        data = line.encode()
        if len(data) >= limit:
            yield data
            continue
        if waiting and size + len(data) + 1 > limit:
            yield b"\n".join(waiting)
            waiting, size = [], 0
        size += len(data) + bool(waiting)
        waiting.append(data)
    if waiting:
        yield b"\n".join(waiting)
