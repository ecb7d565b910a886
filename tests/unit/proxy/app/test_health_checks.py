"""Which hosts are checked and since when, what workers hear of it and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from google.protobuf import json_format

from proxy.app.health_checks import HealthChecks
from proxy.app.host_health import HostHealth
from proxy.base.event_log import EventLog
from proxy.base.runtime import Runtime
from proxy.base.stats import StatRegistry, collect
from proxy.config.config_sources import ConfigSources
from proxy.discovery.wanted import Wanted
from proxy.discovery.warming import Warming
from proxy.upstream.health_check.cluster_checks import ClusterChecks
from proxy.upstream.health_check.http_probe import Result
from proxy.upstream.health_check.session import CheckedHost
from proxy.upstream.health_check.verdict import Failure
from proxy.upstream.health_flags import HealthFlag, HostKey
from tests.support.cluster_messages import cluster, compiled, endpoint

CHECK = {
    "timeout": "1s",
    "interval": "2s",
    "unhealthy_threshold": 1,
    "healthy_threshold": 1,
    "http_health_check": {"path": "/"},
}
FAILED = int(HealthFlag.FAILED_ACTIVE_HC)
PENDING = int(HealthFlag.PENDING_DYNAMIC_REMOVAL)
EXCLUDED = int(HealthFlag.EXCLUDED_VIA_IMMEDIATE_HC_FAIL)
WELL, BAD = Result(status=200), Result(Failure.ACTIVE, status=500)
EDS = {"eds_config": {"ads": {}, "resource_api_version": "V3"}}


def one(port: int) -> HostKey:
    return (f"127.0.0.1:{port}", 0)


def serialized(*ports: int, **fields: Any) -> bytes:
    """Cluster `c` with a host on each of the ports."""
    fields = {"health_checks": [CHECK], **fields}
    message = cluster(*(endpoint(port=port) for port in ports), **fields)
    return bytes(message.SerializeToString())


def assignment(*ports: int) -> bytes:
    tree = {"cluster_name": "c", "endpoints": [{"lb_endpoints": [endpoint(port=port) for port in ports]}]}
    return json_format.ParseDict(tree, endpoint_pb2.ClusterLoadAssignment()).SerializeToString()


class Prober:
    """Asks nobody; `answer` plays what a host says."""

    def __init__(self, host: CheckedHost) -> None:
        self.host = host
        self.done: Callable[[Result], None] | None = None
        self.closed = False

    def start(self, done: Callable[[Result], None]) -> None:
        self.done = done

    def cancel(self) -> None:
        self.done = None

    def close(self) -> None:
        self.closed = True
        self.done = None

    def answer(self, result: Result) -> None:
        assert self.done is not None
        done, self.done = self.done, None
        done(result)


class Bench:
    """A controller whose workers only listen; checks begin when the test says `ask`."""

    def __init__(self) -> None:
        self.loop: Any = self
        self.due: list[SimpleNamespace] = []
        self.probers: list[Prober] = []
        self.told: list[Any] = []
        self.options = SimpleNamespace(file_flush_interval_msec=1000)
        self.registry = StatRegistry()
        self.stats = SimpleNamespace(sum=SimpleNamespace(counted=lambda _name: False), registry=self.registry)
        self.events = EventLog(lambda: 0.0)
        self.bootstrap = SimpleNamespace(node=None)
        self.config_sources = ConfigSources()
        self.secrets: dict[str, Any] = {}
        self.host_health = HostHealth(lambda _call: None, self.told.append)
        self.addresses: list[tuple[int, str]] = []
        self.kept: set[HostKey] = set()
        self.dropped: list[str] = []
        self.names = SimpleNamespace(
            addresses=lambda _name: self.addresses,
            kept=lambda _name: self.kept,
            drop_failed=self.dropped.append,
        )
        self.amended: list[Wanted] = []
        self.wanted = SimpleNamespace(
            entries={}, of_type=lambda _type: [], amend_again=self.amended.append
        )  # fmt: skip
        self.passed: list[tuple[str, HostKey]] = []
        self.checks = HealthChecks(self, lambda: 0, Runtime())  # type: ignore[arg-type]
        self.checks.on_pass.append(lambda name, key: self.passed.append((name, key)))

    def call_later(self, delay: float, function: Callable[[], None]) -> SimpleNamespace:
        timer = SimpleNamespace(delay=delay, function=function, cancel=lambda: self.due.remove(timer))
        self.due.append(timer)
        return timer

    def time(self) -> float:
        return 0.0

    def ask(self) -> None:
        """Begin every check that is due at once."""
        for timer in [timer for timer in self.due if timer.delay == 0]:
            self.due.remove(timer)
            timer.function()

    def asked(self) -> list[int]:
        """Ports of the hosts that wait for an answer to a check."""
        return [prober.host.address.port for prober in self.probers if prober.done is not None]

    def answer(self, result: Result, port: int = 0) -> None:
        """Every host that is asked (on that port) answers so."""
        self.ask()
        for prober in [prober for prober in self.probers if prober.done is not None]:
            if port in (0, prober.host.address.port):
                prober.answer(result)

    def checked(self) -> list[int]:
        """Ports of the hosts under check."""
        return [prober.host.address.port for prober in self.probers if not prober.closed]

    def begin(self, cluster: bytes, *, live: bool = True) -> Warming:
        warming = Warming(0.0, lambda: None)
        warming.add("first round")
        warming.start()
        self.checks.begin(cluster, warming, "first round")
        if live:
            self.checks.activate("c")
        return warming

    def flags(self) -> dict[HostKey, int]:
        return dict(self.host_health.of_cluster("c"))

    def hear(self) -> list[Any]:
        """What workers are told of the health of hosts, since they were last asked."""
        self.checks.flush()
        told = list(self.told)
        self.told.clear()
        return told

    def endpoints(self, value: bytes, told: bytes | None = None) -> Wanted:
        """A control plane brings the endpoints of `c`."""
        source = compiled(type="EDS", eds_cluster_config=EDS, health_checks=[CHECK]).assignment
        entry = self.wanted.entries.setdefault(source.key, Wanted(source, 0.0))
        entry.holders.setdefault("cluster c", source)
        entry.value = value
        entry.told = told or value
        self.checks.endpoints_came(entry)
        return entry

    def eds(self, **fields: Any) -> bytes:
        return serialized(type="EDS", eds_cluster_config=EDS, **fields)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench()

    def make_prober(_self: ClusterChecks, host: CheckedHost, _on_lost: Callable[[], None]) -> Prober:
        bench.probers.append(Prober(host))
        return bench.probers[-1]

    monkeypatch.setattr(ClusterChecks, "make_prober", make_prober)
    yield bench
    bench.checks.close()
    assert bench.checked() == []
    assert bench.due == []


def started(bench: Bench, clusters: Sequence[bytes], *, discovered: bool = False) -> list[bool]:
    """Whether `start` had returned before the first results came, and after."""
    named = [(cluster_pb2.Cluster.FromString(one).name, one) for one in clusters]

    async def run() -> list[bool]:
        start = asyncio.ensure_future(bench.checks.start(named, discovered=discovered))
        over = []
        for _ in range(2):
            for _ in range(5):
                await asyncio.sleep(0)
            over.append(start.done())
            bench.answer(WELL)
        await asyncio.wait_for(start, 5)
        return over

    return asyncio.run(run())


def test_start_up_waits_for_the_first_round(bench: Bench) -> None:
    assert started(bench, [serialized(1, 2)]) == [False, True]
    assert bench.flags() == {one(1): 0, one(2): 0}


def test_start_up_does_not_wait_for_a_cluster_that_says_so(bench: Bench) -> None:
    assert started(bench, [serialized(1, wait_for_warm_on_init=False)]) == [True, True]


def test_clusters_whose_hosts_a_control_plane_brings_are_checked_in_their_own_turn(bench: Bench) -> None:
    both = [serialized(1), bench.eds(name="discovered")]
    started(bench, both, discovered=True)
    assert bench.checked() == []
    started(bench, both)
    assert bench.checked() == [1]


def test_workers_hear_of_hosts_that_fail_and_recover(bench: Bench) -> None:
    bench.begin(serialized(1, 2))
    assert bench.hear() == [("health", "c", {one(1): FAILED, one(2): FAILED})]
    bench.answer(WELL)
    assert bench.hear() == [("health", "c", {one(1): 0, one(2): 0})]
    assert bench.passed == [("c", one(1)), ("c", one(2))]
    bench.checks.failed_at_once("c", one(2))
    assert bench.hear() == [("health", "c", {one(2): FAILED | EXCLUDED})]
    event = bench.events.last()[-1]
    assert (event.what, event.about["host"]) == ("health_check_failed", "127.0.0.1:2")


def test_what_others_know_against_a_host_stays(bench: Bench) -> None:
    bench.begin(serialized(1))
    bench.host_health.change("c", one(1), add=HealthFlag.FAILED_OUTLIER_CHECK)
    bench.answer(WELL)
    assert bench.flags() == {one(1): HealthFlag.FAILED_OUTLIER_CHECK}


def test_hosts_that_nobody_checks_cannot_fail_at_once(bench: Bench) -> None:
    bench.begin(serialized(1))
    bench.checks.failed_at_once("c", one(9))
    bench.checks.failed_at_once("unknown", one(1))
    assert bench.flags() == {one(1): FAILED}


def test_an_endpoint_may_ask_not_to_be_checked(bench: Bench) -> None:
    quiet = endpoint(port=2)
    quiet["endpoint"]["health_check_config"] = {"disable_active_health_check": True}
    bench.begin(cluster(endpoint(port=1), quiet, health_checks=[CHECK]).SerializeToString())
    assert bench.checked() == [1]
    assert bench.flags() == {one(1): FAILED}


def test_a_cluster_to_come_is_checked_beside_the_present_one(bench: Bench) -> None:
    bench.begin(serialized(1))
    bench.answer(WELL)
    bench.hear()
    warming = bench.begin(serialized(1, 2), live=False)
    assert bench.checked() == [1, 1, 2]
    bench.answer(BAD)
    assert not warming.waits
    assert bench.hear() == []
    assert bench.flags() == {one(1): 0}
    bench.checks.activate("c")
    assert bench.checked() == [1, 2]
    assert bench.flags() == {one(1): FAILED, one(2): FAILED}


def test_numbers_go_on_with_another_cluster(bench: Bench) -> None:
    def attempts() -> int:
        return attempts_of(bench)["cluster.c.health_check.attempt"]

    def healthy() -> int:
        gauges: dict[str, int] = collect(bench.registry)["gauges"]
        return gauges["cluster.c.health_check.healthy"]

    bench.begin(serialized(1))
    bench.answer(WELL)
    assert (attempts(), healthy()) == (1, 1)
    bench.begin(serialized(1, 2), live=False)
    bench.answer(WELL)
    bench.checks.activate("c")
    assert (attempts(), healthy()) == (3, 2)
    bench.begin(serialized(1), live=False)
    bench.begin(serialized(1, alt_stat_name="other"))
    assert attempts_of(bench) == {"cluster.other.health_check.attempt": 0}


def attempts_of(bench: Bench) -> dict[str, int]:
    counters: dict[str, int] = collect(bench.registry)["counters"]
    return {name: value for name, value in counters.items() if name.endswith("health_check.attempt")}


def test_a_cluster_to_come_that_is_replaced_is_checked_no_more(bench: Bench) -> None:
    bench.begin(serialized(1), live=False)
    bench.begin(serialized(2), live=False)
    assert bench.checked() == [2]
    bench.checks.activate("c")
    assert bench.flags() == {one(2): FAILED}


def test_a_cluster_that_comes_without_checks_leaves_no_flags(bench: Bench) -> None:
    bench.begin(serialized(1))
    bench.hear()
    bench.checks.activate("c")
    assert bench.hear() == [("health", "c", {one(1): None})]
    assert bench.checked() == []
    assert "cluster.c.health_check.attempt" not in collect(bench.registry)["counters"]


def test_a_cluster_that_has_gone_leaves_nothing_and_is_not_checked_to_come(bench: Bench) -> None:
    bench.begin(serialized(1))
    bench.begin(serialized(2), live=False)
    bench.checks.remove("c")
    bench.checks.remove("unknown")
    assert bench.checked() == []
    assert bench.flags() == {}


def test_hosts_follow_the_addresses_of_a_name(bench: Bench) -> None:
    named = cluster(endpoint("a.test"), type="STRICT_DNS", health_checks=[CHECK]).SerializeToString()
    bench.addresses = [(0, "10.0.0.1")]
    bench.begin(named)
    first, second = ("10.0.0.1:80", 0), ("10.0.0.2:80", 0)
    bench.answer(WELL)
    bench.hear()
    bench.checks.resolved("c", [(0, "10.0.0.1"), (0, "10.0.0.2")])
    assert bench.told == [("health", "c", {second: FAILED})]
    bench.hear()
    bench.checks.resolved("c", [(0, "10.0.0.2")])
    # That the first has gone is told after workers have heard of the hosts.
    assert bench.told == []
    assert bench.hear() == [("health", "c", {first: None})]
    bench.checks.resolved("unknown", [(0, "10.0.0.3")])
    assert bench.flags() == {second: FAILED}


def test_a_host_that_is_resolved_no_longer_and_stays_leaves_when_it_fails(bench: Bench) -> None:
    named = cluster(endpoint("a.test"), type="STRICT_DNS", health_checks=[CHECK]).SerializeToString()
    bench.addresses = [(0, "10.0.0.1"), (0, "10.0.0.2")]
    bench.begin(named)
    first, second = ("10.0.0.1:80", 0), ("10.0.0.2:80", 0)
    bench.answer(WELL)
    assert bench.checks.is_well("c", first)
    bench.kept = {first}
    bench.checks.resolved("c", bench.addresses)
    assert bench.flags() == {first: PENDING, second: 0}
    bench.dropped.clear()
    bench.checks.failed_at_once("c", second)
    assert bench.dropped == []
    bench.checks.failed_at_once("c", first)
    assert bench.dropped == ["c"]
    assert not bench.checks.is_well("c", first)


def test_hosts_follow_the_endpoints_of_a_control_plane(bench: Bench) -> None:
    bench.endpoints(assignment(1))
    bench.begin(bench.eds())
    bench.answer(WELL)
    bench.endpoints(assignment(1, 2))
    assert bench.flags() == {one(1): 0, one(2): FAILED}
    bench.endpoints(assignment(2))
    assert bench.flags() == {one(2): FAILED}
    assert bench.checked() == [2]


def test_an_eds_cluster_without_endpoints_has_nobody_to_wait_for(bench: Bench) -> None:
    warming = bench.begin(bench.eds())
    assert not warming.waits
    assert bench.flags() == {}


def kept_ports(bench: Bench, entry: Wanted, *ports: int) -> list[int]:
    """Ports of the hosts that workers are to have when these are listed."""
    value = bench.checks.with_kept_endpoints(entry, assignment(*ports))
    message = endpoint_pb2.ClusterLoadAssignment.FromString(value)
    return sorted(
        host.endpoint.address.socket_address.port_value
        for group in message.endpoints
        for host in group.lb_endpoints
    )


def test_hosts_that_are_left_out_stay_while_they_are_well(bench: Bench) -> None:
    entry = bench.endpoints(assignment(1, 2, 3))
    bench.begin(bench.eds())
    bench.answer(WELL, 1)
    bench.answer(WELL, 2)
    bench.answer(BAD, 3)
    assert kept_ports(bench, entry, 1) == [1, 2]
    bench.host_health.change("c", one(2), add=HealthFlag.FAILED_OUTLIER_CHECK)
    assert kept_ports(bench, entry, 1) == [1]


def test_a_host_that_stays_is_marked_until_it_is_listed_again(bench: Bench) -> None:
    bench.endpoints(assignment(1, 2))
    bench.begin(bench.eds())
    bench.answer(WELL)
    bench.endpoints(assignment(1), told=assignment(1, 2))
    assert bench.flags() == {one(1): 0, one(2): PENDING}
    assert bench.checked() == [1, 2]
    bench.endpoints(assignment(1, 2))
    assert bench.flags() == {one(1): 0, one(2): 0}
    assert bench.amended == []


def test_a_host_that_stays_leaves_when_it_fails(bench: Bench) -> None:
    bench.endpoints(assignment(1, 2))
    bench.begin(bench.eds())
    bench.answer(WELL)
    entry = bench.endpoints(assignment(1), told=assignment(1, 2))
    bench.checks.failed_at_once("c", one(1))
    assert bench.amended == []
    bench.checks.failed_at_once("c", one(2))
    assert bench.amended == [entry]


def test_another_cluster_decides_anew_who_stays(bench: Bench) -> None:
    bench.endpoints(assignment(1, 2))
    bench.begin(bench.eds())
    bench.answer(WELL)
    entry = bench.endpoints(assignment(1), told=assignment(1, 2))
    bench.begin(bench.eds(), live=False)
    assert bench.amended == []
    bench.checks.activate("c")
    assert bench.amended == [entry]


def test_nobody_stays_where_health_is_ignored_or_endpoints_are_shared(bench: Bench) -> None:
    entry = bench.endpoints(assignment(1, 2))
    bench.begin(bench.eds(ignore_health_on_host_removal=True))
    bench.answer(WELL)
    assert kept_ports(bench, entry, 1) == [1]
    bench.begin(bench.eds())
    bench.answer(WELL)
    assert kept_ports(bench, entry, 1) == [1, 2]
    entry.holders["cluster d"] = entry.want
    assert kept_ports(bench, entry, 1) == [1]


def test_what_comes_before_any_check_is_no_matter(bench: Bench) -> None:
    bench.checks.secret_changed("s", b"")
    bench.checks.reopen_logs()
    bench.checks.resolved("c", [(0, "10.0.0.1")])
    bench.checks.activate("c")
    assert bench.hear() == []
