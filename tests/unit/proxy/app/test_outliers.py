from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from google.protobuf import json_format

from proxy.app.host_health import HostHealth
from proxy.app.outliers import OutlierDetection
from proxy.base.event_log import EventLog
from proxy.base.runtime import Runtime
from proxy.base.stats import StatRegistry, collect
from proxy.upstream.health_flags import HealthFlag, HostKey
from proxy.upstream.outlier.outcomes import ANSWERED, FAILED

ONE, TWO = ("10.0.0.1:80", 0), ("10.0.0.2:80", 0)


class Bench:
    """A controller with two workers that use cluster `c`."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.health = HostHealth(lambda _call: None, lambda _message: None)
        self.lines: list[str] = []
        self.clusters: dict[str, bytes] = {}
        self.registry = StatRegistry()
        self.events = EventLog(lambda: 0.0)
        self.sent: dict[int, list[Any]] = {0: [], 1: []}
        self.workers = [SimpleNamespace(index=index, send=self.sent[index].append) for index in (0, 1)]
        self.answers: dict[int, Any] = {}
        self.asked = asyncio.Event()
        self.configure(consecutive_5xx=2, max_ejection_percent=50)
        self.detection = OutlierDetection(
            self.loop,
            SimpleNamespace(alive=lambda: self.workers, ask=self.ask),  # type: ignore[arg-type]
            self.clusters.get,
            Runtime(),
            self.registry,
            lambda: 0,
            self.events,
            self.health,
            self.lines.append,
            lambda: 0.0,
        )

    def configure(self, **fields: Any) -> None:
        message = json_format.ParseDict({"name": "c", "outlier_detection": fields}, cluster_pb2.Cluster())
        self.clusters["c"] = message.SerializeToString()

    async def ask(self, *_question: Any) -> dict[int, Any]:
        self.asked.set()
        return self.answers

    def have(self, worker: int, added: list[HostKey], removed: list[HostKey] | None = None) -> None:
        self.detection.change_hosts(self.workers[worker], "c", added, removed or [])

    def tell(self, worker: int, host: HostKey, *sequence: int) -> None:
        self.detection.take(self.workers[worker], {"c": [(host, 0, 0, bytes(sequence))]})

    def ejected(self) -> list[HostKey]:
        flags = self.health.of_cluster("c")
        return [host for host, value in flags.items() if value & HealthFlag.FAILED_OUTLIER_CHECK]

    def gauge(self) -> int | None:
        gauges: dict[str, int] = collect(self.registry)["gauges"]
        return gauges.get("cluster.c.outlier_detection.ejections_active")


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.loop.run_until_complete(bench.detection.close())
    bench.loop.close()


def test_failures_in_two_workers_add_up(bench: Bench) -> None:
    for worker in (0, 1):
        bench.have(worker, [ONE, TWO])
    bench.tell(0, ONE, FAILED)
    assert bench.ejected() == []
    bench.tell(1, ONE, FAILED)
    assert bench.ejected() == [ONE]
    assert bench.gauge() == 1
    assert len(bench.lines) == 1
    (event,) = bench.events.last()
    assert event.text.startswith(
        "outlier_ejection cluster=c host=10.0.0.1:80: 2 consecutive 5xx of 2; ejection 1"
    )


def test_other_workers_are_asked_to_tell_of_a_success(bench: Bench) -> None:
    for worker in (0, 1):
        bench.have(worker, [ONE, TWO])
    bench.tell(0, ONE, FAILED)
    assert bench.sent == {0: [], 1: [("outlier_watch", "c", [ONE])]}
    bench.tell(1, ONE, ANSWERED)
    bench.tell(0, ONE, FAILED)
    assert bench.ejected() == []
    assert bench.sent[1] == [("outlier_watch", "c", [ONE])] * 2


def test_a_worker_that_comes_later_hears_what_was_decided(bench: Bench) -> None:
    bench.have(0, [ONE, TWO])
    bench.tell(0, ONE, FAILED, FAILED)
    bench.tell(0, TWO, FAILED)
    bench.have(1, [ONE, TWO])
    assert bench.sent[1][-1] == ("outlier_watch", "c", [TWO])


def test_a_host_stays_while_any_worker_has_it(bench: Bench) -> None:
    for worker in (0, 1):
        bench.have(worker, [ONE, TWO])
    bench.tell(0, ONE, FAILED, FAILED)
    bench.detection.worker_lost(0)
    assert bench.detection.monitors("c")[ONE].ejected
    bench.have(1, [], [ONE])
    assert ONE not in bench.detection.monitors("c")
    assert ONE not in bench.health.of_cluster("c")
    assert bench.gauge() == 0


def test_an_ejection_outlives_the_only_worker_for_an_interval(bench: Bench) -> None:
    bench.configure(interval="0.01s", consecutive_5xx=2, max_ejection_percent=100)
    bench.have(0, [ONE])
    bench.tell(0, ONE, FAILED, FAILED)
    bench.detection.worker_lost(0)
    assert bench.ejected() == [ONE]
    bench.loop.run_until_complete(asyncio.wait_for(bench.asked.wait(), 5))
    assert bench.ejected() == []
    assert bench.detection.monitors("c") == {}


def test_a_cluster_that_has_gone_leaves_no_numbers(bench: Bench) -> None:
    bench.have(0, [ONE])
    del bench.clusters["c"]
    bench.have(0, [], [ONE])
    assert not bench.detection.watches("c")
    assert bench.gauge() is None


def test_another_config_begins_anew(bench: Bench) -> None:
    bench.have(0, [ONE, TWO])
    bench.tell(0, ONE, FAILED)
    bench.configure(consecutive_5xx=3)
    bench.have(0, [ONE, TWO])
    bench.tell(0, ONE, FAILED)
    assert bench.ejected() == []
    assert bench.detection.monitors("c")[ONE].consecutive_5xx == 1


def test_numbers_go_on_with_another_config(bench: Bench) -> None:
    bench.have(0, [ONE, TWO])
    bench.tell(0, ONE, FAILED, FAILED)
    bench.configure(consecutive_5xx=3)
    bench.have(0, [ONE, TWO])
    counters: dict[str, int] = collect(bench.registry)["counters"]
    assert counters["cluster.c.outlier_detection.ejections_enforced_total"] == 1
    assert bench.gauge() == 0


def test_what_workers_have_counted_is_judged_at_the_end_of_an_interval(bench: Bench) -> None:
    bench.configure(interval="0.01s", success_rate_minimum_hosts=1, success_rate_request_volume=1)
    bench.have(0, [ONE])
    bench.answers = {0: [(ONE, 3, 0, bytes([FAILED]))]}
    bench.loop.run_until_complete(asyncio.wait_for(bench.asked.wait(), 5))
    assert bench.detection.success_rates("c")[0] == 75.0
    assert bench.detection.success_rates("unknown") == (-1.0,) * 4


def test_a_health_check_ends_an_ejection(bench: Bench) -> None:
    bench.have(0, [ONE, TWO])
    bench.tell(0, ONE, FAILED, FAILED)
    bench.detection.health_check_passed("c", ONE)
    bench.detection.health_check_passed("unknown", ONE)
    assert bench.ejected() == []
    assert [event.what for event in bench.events.last()] == ["outlier_ejection", "outlier_unejection"]
