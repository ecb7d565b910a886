"""When spans leave."""

from __future__ import annotations

from types import SimpleNamespace

from proxy.base.runtime import Runtime
from proxy.tracing.reporter import Reporter
from tests.support.fake_clock import FakeClock
from tests.support.listeners import services


class Bench:
    def __init__(self, runtime: dict[str, str] | None = None) -> None:
        self.clock = FakeClock()
        self.stats = SimpleNamespace(spans_sent=0, timer_flushed=0)
        self.sent: list[list[int]] = []
        of = services()
        of.runtime = Runtime(runtime)
        of.timers = self.clock
        of.loop = SimpleNamespace(time=self.clock)  # type: ignore[assignment]
        self.reporter = Reporter(of, self.sent.append, self.stats, "every", "most", 3)


def test_a_batch_leaves_when_it_is_full_or_the_interval_is_over() -> None:
    bench = Bench()
    for number in range(4):
        bench.reporter.report(number)
    assert bench.sent == [[0, 1, 2]]
    assert bench.reporter.pending == 1
    bench.clock.advance(5.1)
    assert bench.sent == [[0, 1, 2], [3]]
    bench.clock.advance(5.1)
    assert (bench.stats.spans_sent, bench.stats.timer_flushed) == (4, 2)
    assert len(bench.sent) == 2


def test_the_runtime_sets_both() -> None:
    bench = Bench({"every": "200", "most": "1"})
    bench.reporter.report(1)
    assert bench.sent == [[1]]
    bench.clock.advance(0.3)
    assert bench.stats.timer_flushed == 1
