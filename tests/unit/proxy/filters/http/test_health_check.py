"""The health_check filter answers for this proxy, or remembers what the host behind it said."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from envoy.extensions.filters.http.health_check.v3 import health_check_pb2
from google.protobuf import json_format

from proxy.base.headers import HeaderMap
from proxy.base.stream_info import DrainState
from proxy.config.context import CompileContext
from proxy.filters.http.health_check import FACTORY
from tests.support.fake_clock import FakeClock
from tests.support.filters import FilteredStream

PATH = {"headers": [{"name": ":path", "string_match": {"exact": "/hc"}}]}


class World:
    def __init__(self, **config: Any) -> None:
        context = CompileContext()
        message = json_format.ParseDict({**PATH, **config}, health_check_pb2.HealthCheck())
        compiled = FACTORY.compile(message, "filter", context)
        assert context.problems == []
        self.clock = FakeClock()
        self.drain = DrainState()
        self.clusters: dict[str, Any] = {}
        services: Any = SimpleNamespace(
            drain=self.drain,
            clusters=self.clusters,
            loop=SimpleNamespace(time=self.clock.monotonic),
            node=SimpleNamespace(cluster="me"),
        )
        assert FACTORY.create is not None
        self._make = FACTORY.create(compiled, services, "")

    def ask(self, path: str = "/hc") -> FilteredStream:
        stream = FilteredStream(self._make)
        stream.begin(path=path, method="GET", end_stream=True)
        return stream

    def hosts(self, name: str, healthy: int, degraded: int, total: int) -> None:
        counts = {"healthy": healthy, "degraded": degraded}
        priorities = SimpleNamespace(hosts=range(total), count=counts.__getitem__)
        self.clusters[name] = SimpleNamespace(priority_set=priorities)


def told(stream: FilteredStream) -> tuple[int, str]:
    return stream.response_head.status, stream.replies[0]


def test_a_check_is_answered_here_and_nothing_else() -> None:
    world = World(pass_through_mode=False)
    stream = world.ask()
    assert told(stream) == (200, "health_check_ok")
    assert stream.response_head.headers["x-envoy-upstream-healthchecked-cluster"] == "me"
    assert stream.info.health_check
    other = world.ask("/")
    assert [entry[0] for entry in other.request] == ["head", "end"]
    assert not other.info.health_check


def test_a_body_is_waited_for() -> None:
    stream = FilteredStream(World(pass_through_mode=False)._make)
    stream.begin(path="/hc")
    stream.filters.decode_data(b"abc", False)
    assert not stream.replies
    stream.filters.decode_trailers(HeaderMap())
    assert stream.replies == ["health_check_ok"]


def test_a_draining_proxy_fails_checks_and_says_so_elsewhere() -> None:
    world = World(pass_through_mode=True)
    world.drain.draining = True
    stream = world.ask()
    assert told(stream) == (503, "health_check_failed")
    other = world.ask("/")
    other.respond(200, end_stream=True)
    assert other.response_head.headers["x-envoy-immediate-health-check-fail"] == "true"


def test_an_answer_is_kept_for_a_while() -> None:
    world = World(pass_through_mode=True, cache_time="10s")
    first = world.ask()
    assert first.request
    first.respond(503, end_stream=True, x_envoy_degraded="")
    assert first.response_head.headers["x-envoy-upstream-healthchecked-cluster"] == "me"
    world.clock.advance(4)
    second = world.ask()
    assert told(second) == (503, "health_check_cached")
    assert "x-envoy-degraded" in second.response_head.headers
    world.clock.advance(7)
    assert world.ask().request


@pytest.mark.parametrize(
    ("hosts", "status", "details"),
    [
        ((1, 1, 4), 200, "health_check_ok_cluster_healthy"),
        ((1, 0, 4), 503, "health_check_failed_cluster_unhealthy"),
        ((0, 0, 0), 503, "health_check_failed_cluster_empty"),
        (None, 503, "health_check_failed_no_cluster_found"),
    ],
)
def test_enough_hosts_must_be_usable(hosts: tuple[int, int, int] | None, status: int, details: str) -> None:
    world = World(pass_through_mode=False, cluster_min_healthy_percentages={"c": {"value": 50}})
    if hosts is not None:
        world.hosts("c", *hosts)
    assert told(world.ask()) == (status, details)


def test_a_cache_needs_pass_through_mode() -> None:
    context = CompileContext()
    message = json_format.ParseDict(
        {"pass_through_mode": False, "cache_time": "1s"}, health_check_pb2.HealthCheck()
    )
    FACTORY.compile(message, "filter", context)
    assert [problem.path for problem in context.problems] == ["filter.cache_time"]
