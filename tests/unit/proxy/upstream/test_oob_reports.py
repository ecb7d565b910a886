"""Streams of load reports, without sockets."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3 import (
    client_side_weighted_round_robin_pb2,
)
from xds.data.orca.v3 import orca_load_report_pb2

from proxy.base.headers import HeaderMap
from proxy.base.messages import ResponseHead
from proxy.codec.messages import ParsedResponse
from proxy.upstream import oob_reports
from proxy.upstream.cluster import Cluster
from proxy.upstream.oob_reports import OobReports
from proxy.upstream.pool.api import PoolFailure, ResetReason
from tests.support.cluster_messages import compiled, endpoint
from tests.support.fake_clock import FakeClock
from tests.support.listeners import numbers, services

POLICY = client_side_weighted_round_robin_pb2.ClientSideWeightedRoundRobin.DESCRIPTOR.full_name
PREFIX = "cluster.c.lb_orca_oob."


class Pool:
    """One attempt."""

    in_use = False

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.request: Any = None
        self.sent = b""

    def wait(self, request: Any) -> None:
        self.request = request

    def cancel(self, request: Any) -> None:
        assert request is self.request
        self.heard.append("cancel")

    def drain(self) -> None:
        self.heard.append("drain")

    def abandon(self) -> None:
        self.heard.append("abandon")

    def send_head(self, body: bytes, end_stream: bool) -> None:
        assert end_stream
        self.sent = body

    def ready(self) -> Any:
        """The connection is there, and the host has begun to answer."""
        self.request.on_pool_ready(self)
        self.request.on_response(answer(), b"", False)
        return self.request


def answer(status: int = 200, **fields: str) -> ParsedResponse:
    headers = HeaderMap()
    headers.set("content-type", "application/grpc")
    for name, value in fields.items():
        headers.set(name.replace("_", "-"), value)
    return ParsedResponse(ResponseHead(status, headers), 0)


def report(rate: float) -> bytes:
    message = orca_load_report_pb2.OrcaLoadReport(rps_fractional=rate, application_utilization=0.5)
    data = message.SerializeToString()
    return b"\0" + len(data).to_bytes(4, "big") + data


class Bench:
    """A cluster of one host, or of several."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int = 1, chance: float = 0.5) -> None:
        self.pools: list[Pool] = []
        self.of = services()
        self.of.random = lambda: int(chance * 2**64)
        self.clock: FakeClock = self.of.timers  # type: ignore[assignment]
        policy = {"@type": f"type.googleapis.com/{POLICY}", "enable_oob_load_report": True}
        policy |= {"oob_reporting_period": "2s", "blackout_period": "0s"}  # type: ignore[dict-item]
        extension = {"typed_extension_config": {"name": "x", "typed_config": policy}}
        hosts = [endpoint(port=port) for port in range(1, count + 1)]
        self.cluster = Cluster(
            compiled(*hosts, load_balancing_policy={"policies": [extension]}), self.of.runtime, lambda: 0
        )
        monkeypatch.setattr(oob_reports, "make_pool", self.make_pool)
        self.reports = OobReports(self.cluster, self.of)

    def make_pool(self, *_: Any) -> Pool:
        self.pools.append(Pool())
        return self.pools[-1]

    def numbers(self) -> dict[str, int]:
        return {
            name.removeprefix(PREFIX): count for name, count in numbers(self.of).items() if PREFIX in name
        }


def test_a_report_in_pieces_becomes_a_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    assert not bench.pools
    bench.clock.advance(1.0)
    (pool,) = bench.pools
    request = pool.ready()
    assert pool.sent[:5] == b"\0\0\0\0\x04"
    data = report(30) + b"\0\0\0\0\0" + report(40)
    for place in range(len(data)):
        request.on_response_data(data[place : place + 1], False)
    bench.cluster.client_weights.update()
    assert bench.cluster.hosts[0].weight == 80
    assert bench.numbers() == {"active_sessions": 1, "reports_received": 2}


def test_silence_ends_a_stream_and_reports_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.clock.advance(1.0)
    request = bench.pools[0].ready()
    for _ in range(3):
        bench.clock.advance(5.0)
        request.on_response_data(report(1), False)
    bench.clock.advance(6.0)
    assert bench.pools[0].heard == ["abandon", "drain"]
    assert bench.numbers() == {"active_sessions": 1, "reports_received": 3, "stream_failures": 1}


def test_attempts_become_rarer_until_a_report_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.clock.advance(1.0)
    waits = []
    for _ in range(7):
        bench.pools[-1].request.on_pool_failure(PoolFailure.REMOTE_CONNECT, "")
        before, waited = len(bench.pools), 0.0
        while len(bench.pools) == before:
            bench.clock.advance(0.5)
            waited += 0.5
        waits.append(waited)
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    request = bench.pools[-1].ready()
    request.on_response_data(report(1), False)
    request.on_reset(ResetReason.REMOTE_RESET, "")
    bench.clock.advance(0.5)
    assert len(bench.pools) == 9


@pytest.mark.parametrize(
    ("response", "end", "terminated"),
    [
        (answer(grpc_status="12"), True, True),
        (answer(404, content_type="text/plain"), False, True),
        (answer(grpc_status="14"), True, False),
        (answer(), True, False),
        (answer(503, content_type="text/plain"), False, False),
    ],
)
def test_a_host_without_the_service_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch, response: ParsedResponse, end: bool, terminated: bool
) -> None:
    bench = Bench(monkeypatch)
    bench.clock.advance(1.0)
    bench.pools[0].request.on_pool_ready(bench.pools[0])
    bench.pools[0].request.on_response(response, b"", end)
    expected = {"stream_terminated": 1} if terminated else {"active_sessions": 1, "stream_failures": 1}
    assert bench.numbers() == expected
    bench.clock.advance(60.0)
    assert (len(bench.pools) == 1) is terminated


@pytest.mark.parametrize(
    "data", [b"\1\0\0\0\0", b"\0\0\2\0\0", b"\0\0\0\0\1\xff"], ids=["flag", "too long", "no report"]
)
def test_what_is_no_report_ends_the_stream(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    bench = Bench(monkeypatch)
    bench.clock.advance(1.0)
    bench.pools[0].ready().on_response_data(data, False)
    assert bench.numbers() == {"active_sessions": 1, "stream_failures": 1}
    assert bench.pools[0].heard == ["abandon", "drain"]


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_reports_that_say_nothing_are_counted(monkeypatch: pytest.MonkeyPatch, rate: float) -> None:
    bench = Bench(monkeypatch)
    bench.clock.advance(1.0)
    bench.pools[0].ready().on_response_data(report(rate), False)
    assert bench.numbers() == {"active_sessions": 1, "reports_received": 1, "report_errors": 1}


def test_hosts_that_go_are_let_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, 2)
    bench.clock.advance(1.0)
    assert bench.numbers() == {"active_sessions": 2}
    bench.cluster.replace_hosts(bench.cluster.hosts[:1])
    assert [pool.heard for pool in bench.pools] == [[], ["cancel", "drain"]]
    assert bench.numbers() == {"active_sessions": 1}
    bench.reports.close()
    assert bench.numbers() == {}
    bench.clock.advance(60.0)
    assert len(bench.pools) == 2
