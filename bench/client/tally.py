"""What a run has seen, by interval; memory stays bounded however long the run is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from bench.client.histogram import Histogram

#: So many intervals are kept; then each two become one.
_MOST_INTERVALS: Final = 600


@dataclass(slots=True)
class Interval:
    """From `begin` for `seconds`, both counted from the beginning of what is measured."""

    begin: float
    seconds: float = 0.0
    errors: int = 0
    latencies: Histogram = field(default_factory=Histogram)

    def add(self, following: Interval) -> None:
        """Take over the interval after this one."""
        self.seconds += following.seconds
        self.errors += following.errors
        self.latencies.add(following.latencies)


class Tally:
    """`begin` is a moment of the clock; requests due before it are those of the warm-up and don't count."""

    def __init__(self, begin: float, width: float = 1.0) -> None:
        self.begin = begin
        #: Seconds of an interval.
        self.width = width
        self.intervals: list[Interval] = []
        self.current = Interval(0.0)
        self.statuses: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.by_request: Counter[str] = Counter()
        self.succeeded = 0
        self.received = 0
        #: Requests of the schedule for which no connection was free in time.
        self.unsent = 0
        self.connections = 0

    def answered(self, due: float, now: float, status: str, name: str, failure: str = "") -> None:
        """A reply is complete; `status` is "" where the protocol has none, `failure` makes it an error."""
        if due < self.begin:
            return
        self.current.latencies.record(now - due)
        if status:
            self.statuses[status] += 1
        if name:
            self.by_request[name] += 1
        if failure:
            self.errors[failure] += 1
            self.current.errors += 1
        else:
            self.succeeded += 1

    def failed(self, due: float, now: float, kind: str) -> None:
        """No reply came. A timeout's waiting time counts: to leave it out would hide the slowest requests."""
        if due < self.begin:
            return
        if kind == "timeout":
            self.current.latencies.record(now - due)
        self.errors[kind] += 1
        self.current.errors += 1

    def left_over(self, due: float, now: float) -> None:
        """A request that was due and not sent by the end; it has waited for so long at least."""
        if due >= self.begin:
            self.current.latencies.record(now - due)
            self.unsent += 1

    def close_interval(self, now: float) -> Interval:
        """End the present interval; returns it."""
        closed = self.current
        closed.seconds = max(now - self.begin - closed.begin, 1e-9)
        self.current = Interval(now - self.begin)
        if self.intervals and self.intervals[-1].seconds + closed.seconds <= self.width * 1.01:
            self.intervals[-1].add(closed)
        else:
            self.intervals.append(closed)
        if len(self.intervals) > _MOST_INTERVALS:
            for number in range(0, len(self.intervals) - 1, 2):
                self.intervals[number].add(self.intervals[number + 1])
            del self.intervals[1::2]
            self.width *= 2
        return closed

    def latencies(self) -> Histogram:
        """Of all intervals."""
        whole = Histogram()
        for interval in [*self.intervals, self.current]:
            whole.add(interval.latencies)
        return whole

    @property
    def error_count(self) -> int:
        """Requests that failed or were answered with an error."""
        return self.errors.total()
