from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from envoy.extensions.filters.http.on_demand.v3 import on_demand_pb2
from google.protobuf import json_format

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.config.context import CompileContext
from proxy.config.demands import Demands
from proxy.filters.api import FilterStatus
from proxy.filters.http import on_demand
from tests.support.fake_clock import FakeClock
from tests.support.listeners import services

ADS = {"ads": {}, "resource_api_version": "V3"}
HEAD = RequestHead("GET", "/", "host", HeaderMap())


class Callbacks:
    """A stream with or without a route and a cluster."""

    def __init__(self) -> None:
        self.route: Any = None
        self.cluster: Any = None
        self.cluster_name = "c"
        self.missing: tuple[str, str] | None = ("VIRTUAL_HOST/1/r", "r/host")
        self.own: Any = None
        self.next_route: Any = None
        self.resumed = 0

    def route_config(self, name: str) -> Any:
        assert name == "mine"
        return self.own

    def missing_route(self) -> tuple[str, str] | None:
        return self.missing

    def route_cluster(self) -> Any:
        return self.cluster

    def route_cluster_name(self) -> str:
        return self.cluster_name

    def clear_route_cache(self) -> None:
        self.route = self.next_route

    def resume(self, place: int) -> None:
        assert place == 0
        self.resumed += 1


def compiled(**odcds: Any) -> on_demand.OnDemandConfig:
    message = json_format.ParseDict({"odcds": odcds} if odcds else {}, on_demand_pb2.OnDemand())
    ctx = CompileContext()
    config = cast("on_demand.OnDemandConfig", on_demand.FACTORY.compile(message, "", ctx))
    assert not ctx.problems
    return config


class Asking:
    """A filter, with what it has asked for in `sent`."""

    def __init__(self, **odcds: Any) -> None:
        self.sent: list[tuple[Any, ...]] = []
        self.services = services()
        self.services.demands = Demands(self.sent.append)
        self.clock = cast("FakeClock", self.services.timers)
        self.callbacks = Callbacks()
        assert on_demand.FACTORY.create is not None
        self.one = on_demand.FACTORY.create(compiled(**odcds), self.services, "")(cast("Any", self.callbacks))
        self.one.name = "mine"
        self.one.chain = cast("Any", SimpleNamespace(decoding=self.callbacks))

    def begin(self) -> FilterStatus:
        return self.one.decode_headers(HEAD, False)


def test_a_request_without_a_route_waits_for_it() -> None:
    asking = Asking()
    assert asking.begin() is FilterStatus.STOP
    assert asking.one.decode_data(b"x", False) == (FilterStatus.STOP_AND_WATERMARK, b"x")
    assert asking.one.decode_trailers(HeaderMap()) is FilterStatus.STOP
    assert asking.sent == [("demand", "VIRTUAL_HOST/1/r", "r/host", b"")]
    asking.callbacks.next_route = "route"
    asking.services.demands.answer("VIRTUAL_HOST/1/r", "r/host")
    assert asking.callbacks.route == "route"
    assert asking.callbacks.resumed == 1
    assert asking.one.decode_data(b"x", False) == (FilterStatus.CONTINUE, b"x")
    assert asking.one.decode_trailers(HeaderMap()) is FilterStatus.CONTINUE


@pytest.mark.parametrize("end", ["answered", "destroyed"])
def test_a_request_whose_route_never_comes_goes_on_or_ends(end: str) -> None:
    asking = Asking()
    asking.begin()
    if end == "destroyed":
        asking.one.on_destroy()
    asking.services.demands.answer("VIRTUAL_HOST/1/r", "r/host")
    assert asking.callbacks.resumed == (end == "answered")
    asking.one.on_destroy()


def test_nobody_waits_where_nobody_could_bring_a_route() -> None:
    asking = Asking()
    asking.callbacks.missing = None
    assert asking.begin() is FilterStatus.CONTINUE
    assert asking.sent == []


def test_an_unknown_cluster_is_asked_for_and_waited_for() -> None:
    asking = Asking(source=ADS)
    asking.callbacks.route = "route"
    assert asking.begin() is FilterStatus.STOP
    ((_, key, name, source),) = asking.sent
    assert (key, name) == ("CLUSTER", "c")
    assert source == compiled(source=ADS).source != b""
    asking.services.demands.answer("CLUSTER", "c")
    assert asking.callbacks.resumed == 1
    asking.clock.advance(10)
    assert asking.callbacks.resumed == 1


@pytest.mark.parametrize(("timeout", "seconds"), [({}, 5.0), ({"timeout": "1.5s"}, 1.5)])
def test_a_cluster_is_waited_for_so_long(timeout: dict[str, str], seconds: float) -> None:
    asking = Asking(source=ADS, **timeout)
    asking.callbacks.route = "route"
    asking.begin()
    asking.clock.advance(seconds - 0.01)
    assert asking.callbacks.resumed == 0
    asking.clock.advance(0.02)
    assert asking.callbacks.resumed == 1
    asking.services.demands.answer("CLUSTER", "c")
    assert asking.callbacks.resumed == 1


def test_a_known_or_unnamed_cluster_is_not_asked_for() -> None:
    asking = Asking(source=ADS)
    asking.callbacks.route = "route"
    asking.callbacks.cluster = "cluster"
    assert asking.begin() is FilterStatus.CONTINUE
    asking.callbacks.cluster, asking.callbacks.cluster_name = None, ""
    assert asking.begin() is FilterStatus.CONTINUE
    assert asking.sent == []


def test_the_route_may_have_its_own_config() -> None:
    asking = Asking(source=ADS)
    asking.callbacks.route = "route"
    asking.callbacks.own = compiled()
    assert asking.begin() is FilterStatus.CONTINUE
    asking = Asking()
    asking.callbacks.own = compiled(source=ADS)
    asking.callbacks.route = "route"
    assert asking.begin() is FilterStatus.STOP


def test_the_route_that_came_may_lead_to_a_cluster_that_has_to_come_too() -> None:
    asking = Asking(source=ADS)
    asking.begin()
    asking.callbacks.next_route = "route"
    asking.services.demands.answer("VIRTUAL_HOST/1/r", "r/host")
    assert asking.callbacks.resumed == 0
    assert asking.sent[1][1:3] == ("CLUSTER", "c")
    asking.services.demands.answer("CLUSTER", "c")
    assert asking.callbacks.resumed == 1


def test_a_bad_source_is_refused() -> None:
    message = json_format.ParseDict({"odcds": {"source": {}}}, on_demand_pb2.PerRouteConfig())
    ctx = CompileContext()
    assert on_demand.FACTORY.compile_route is not None
    on_demand.FACTORY.compile_route(message, "per_route", ctx)
    assert [problem.path for problem in ctx.problems] == ["per_route.odcds.source"]
