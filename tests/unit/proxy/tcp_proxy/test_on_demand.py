from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from google.protobuf import json_format

from proxy.config.context import CompileContext
from proxy.config.demands import Demands
from proxy.tcp_proxy.on_demand import ClusterWait, OnDemandConfig, compile_on_demand
from proxy.tcp_proxy.stats import TcpProxyStats
from tests.support.fake_clock import FakeClock
from tests.support.listeners import numbers, services


class Session:
    """What a wait tells its session."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []
        self.services = services()
        self.services.demands = Demands(self.sent.append)
        self.known: dict[str, object] = {}
        self.services.clusters = cast("Any", self.known)
        self.clock = cast("FakeClock", self.services.timers)
        self.owner = SimpleNamespace(services=self.services, stats=TcpProxyStats("tcp.t."), now=self.clock)
        self.told: list[str] = []

    def find_host(self, name: str) -> None:
        self.told.append(name)

    def lack_cluster(self) -> None:
        self.told.append("")

    def wait(self) -> ClusterWait:
        return ClusterWait(cast("Any", self), "c", OnDemandConfig(b"source", 2.0))


def test_the_session_goes_on_when_its_cluster_is_here() -> None:
    session = Session()
    session.wait()
    assert session.sent == [("demand", "CLUSTER", "c", b"source")]
    session.known["c"] = object()
    session.services.demands.answer("CLUSTER", "c")
    session.clock.advance(3)
    assert session.told == ["c"]
    assert numbers(session.services) == {
        "tcp.t.on_demand_cluster_attempt": 1,
        "tcp.t.on_demand_cluster_success": 1,
    }


def test_a_cluster_that_does_not_exist_ends_the_connection() -> None:
    session = Session()
    session.wait()
    session.services.demands.answer("CLUSTER", "c")
    assert session.told == [""]
    assert numbers(session.services)["tcp.t.on_demand_cluster_missing"] == 1


def test_a_cluster_that_comes_too_late_ends_the_connection() -> None:
    session = Session()
    session.wait()
    session.clock.advance(2.1)
    session.services.demands.answer("CLUSTER", "c")
    assert session.told == [""]
    assert numbers(session.services)["tcp.t.on_demand_cluster_timeout"] == 1


def test_a_client_that_leaves_waits_no_longer() -> None:
    session = Session()
    wait = session.wait()
    wait.cancel()
    wait.cancel()
    session.services.demands.answer("CLUSTER", "c")
    session.clock.advance(3)
    assert session.told == []


def test_the_wait_lasts_a_minute_unless_the_config_says_otherwise() -> None:
    source = {"ads": {}, "resource_api_version": "V3"}
    message = json_format.ParseDict({"odcds_config": source}, TcpProxy.OnDemand())
    ctx = CompileContext()
    assert compile_on_demand(message, "on_demand", ctx).timeout == 60.0
    message.timeout.FromMilliseconds(1500)
    assert compile_on_demand(message, "on_demand", ctx).timeout == 1.5
    assert not ctx.problems
    compile_on_demand(TcpProxy.OnDemand(), "on_demand", ctx)
    assert [problem.path for problem in ctx.problems] == ["on_demand.odcds_config"]
