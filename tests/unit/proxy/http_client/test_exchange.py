"""One request of the proxy's own: which answers make which outcome."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.stream_info import StreamInfo
from proxy.codec.messages import ParsedResponse
from proxy.http_client.client import HttpClient
from proxy.http_client.exchange import Exchange
from tests.support.cluster_messages import compiled
from tests.support.fake_clock import FakeClock
from tests.support.listeners import services
from tests.support.own_request import Request, connection
from tests.support.upstream_pool import Cluster, Runtime


class User:
    def __init__(self) -> None:
        self.outcomes: list[Any] = []

    def on_http_response(self, status: int, headers: HeaderMap, body: bytes) -> None:
        del headers
        self.outcomes.append((status, body))

    def on_http_failure(self, reason: str) -> None:
        self.outcomes.append(reason)


class Bench:
    def __init__(self, timeout: float = 1.0, most: int = 1000) -> None:
        self.clock = FakeClock()
        self.user = User()
        self.request = Request()
        info = StreamInfo(connection(), self.clock())
        self.exchange = Exchange(self.user, info, timeout, most, self.clock, self.clock)
        self.exchange.request = self.request  # type: ignore[assignment]
        self.exchange.send(b"hello", lambda *_: None)

    def head(self, status: int = 200, body: bytes = b"", end: bool = False) -> None:
        response = ParsedResponse(ResponseHead(status, HeaderMap()), 0)
        self.exchange.on_upstream_response(response, body, end)


def test_a_response_is_told_when_it_is_whole() -> None:
    bench, trailed = Bench(), Bench()
    assert bench.request.sent == b"hello"
    bench.head(202, b"a")
    assert bench.user.outcomes == []
    bench.exchange.on_upstream_data(b"b", True)
    assert bench.user.outcomes == [(202, b"ab")]
    trailed.head(body=b"x")
    trailed.exchange.on_upstream_trailers(HeaderMap())
    assert trailed.user.outcomes == [(200, b"x")]
    assert trailed.request.abandoned == 0


def test_a_host_that_cannot_be_asked_is_answered_for() -> None:
    bench = Bench()
    bench.exchange.on_upstream_failure(503, "refused", "details", 0, None)
    assert bench.user.outcomes == [(503, b"refused")]
    assert bench.request.counted == [503]


def test_time_runs_out() -> None:
    early, late = Bench(timeout=0.5), Bench(timeout=0.5)
    late.head()
    for bench in (early, late):
        bench.clock.advance(0.6)
        assert bench.request.abandoned == 1
        assert bench.request.cluster.stats.upstream_rq_timeout == 1
        bench.exchange.on_upstream_data(b"", True)
    assert early.user.outcomes == [(504, b"upstream request timeout")]
    assert late.user.outcomes == ["response timeout"]


def test_a_response_that_is_broken_off_or_too_long_is_a_failure() -> None:
    broken, long = Bench(), Bench(most=3)
    broken.head(body=b"x")
    broken.exchange.on_upstream_reset_after_response("reset", 0)
    long.head(body=b"abc")
    long.exchange.on_upstream_data(b"d", False)
    assert broken.user.outcomes == ["the response broke off: reset"]
    assert long.user.outcomes == ["the response has more than 3 bytes"]
    assert long.request.abandoned == 1


def test_who_has_cancelled_hears_no_more() -> None:
    bench = Bench()
    bench.exchange.cancel()
    bench.exchange.cancel()
    assert bench.request.abandoned == 1
    bench.head(end=True)
    bench.clock.advance(5)
    assert bench.user.outcomes == []


def test_without_a_cluster_nothing_is_sent_and_without_a_host_503_stands_in() -> None:
    user = User()
    of = services()
    empty = Cluster(compiled(), Runtime(), lambda: 0)
    of.clusters = SimpleNamespace(get={"empty": empty}.get)  # type: ignore[assignment]
    head = RequestHead("GET", "/", "a.b", HeaderMap())
    assert HttpClient("empty", 0.25, of).send(head, b"", connection(), user) is None
    assert user.outcomes == [(503, b"no healthy upstream")]
    assert empty.stats.codes[503] == 1
    assert list(head.headers.items()) == [
        ("x-envoy-internal", "true"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-envoy-expected-rq-timeout-ms", "250"),
    ]
    with pytest.raises(LookupError, match="none"):
        HttpClient("none", 0.25, of).send(head, b"", connection(), user)
