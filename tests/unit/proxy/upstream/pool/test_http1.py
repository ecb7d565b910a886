"""Which request gets which connection."""

import asyncio

import pytest
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from proxy.upstream.pool.api import PoolFailure, ResetReason
from proxy.upstream.pool.connect import ConnectError
from tests.support.cluster_messages import compiled, endpoint
from tests.support.upstream_pool import Bench, Request

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
OPTIONS = http_protocol_options_pb2.HttpProtocolOptions.DESCRIPTOR.full_name


def options(**common):
    return {
        "typed_extension_protocol_options": {
            OPTIONS: {
                "@type": f"type.googleapis.com/{OPTIONS}",
                "explicit_http_config": {"http_protocol_options": {}},
                "common_http_protocol_options": common,
            }
        }
    }


def run(monkeypatch, scenario, **fields):
    bench = Bench(monkeypatch, compiled(endpoint(), **fields))
    asyncio.run(scenario(bench))
    return bench


def test_a_connection_is_used_again(monkeypatch):
    async def scenario(bench):
        for _ in range(3):
            request = await bench.request()
            bench.opened[0].feed(HELLO)
            assert request.heard == [(200, b"hello", True)]
        assert len(bench.opened) == 1
        assert "idle=1 open=1" in repr(bench.pool)

    bench = run(monkeypatch, scenario)
    assert bench.stats.upstream_cx_total == 1


def test_the_connection_used_last_is_used_first(monkeypatch):
    async def scenario(bench):
        await bench.request()
        await bench.request()
        bench.opened[0].feed(HELLO)
        bench.opened[1].feed(HELLO)
        await bench.request()
        assert bench.opened[1].written.count(b"request") == 2

    run(monkeypatch, scenario)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
        HELLO + b"x",
        b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    ],
)
def test_some_responses_end_their_connection(monkeypatch, answer):
    async def scenario(bench):
        request = await bench.request()
        bench.opened[0].feed(answer)
        assert request.heard == [(200, b"hello", True)]
        assert bench.opened[0].closed
        await bench.request()
        assert len(bench.opened) == 2

    run(monkeypatch, scenario)


def test_a_response_before_the_end_of_the_request_ends_the_connection(monkeypatch):
    async def scenario(bench):
        request = Request()
        bench.pool.wait(request)
        await bench.settle()
        request.connection.send_head(b"half a request", end_stream=False)
        bench.opened[0].feed(HELLO)
        assert bench.opened[0].closed

    run(monkeypatch, scenario)


def test_a_connection_that_the_peer_has_ended_is_not_used(monkeypatch):
    async def scenario(bench):
        await bench.request()
        bench.opened[0].feed(HELLO)
        bench.opened[0].protocol.eof_received()
        await bench.request()
        assert len(bench.opened) == 2

    run(monkeypatch, scenario)


def test_bytes_on_an_idle_connection_end_it(monkeypatch):
    async def scenario(bench):
        await bench.request()
        bench.opened[0].feed(HELLO)
        bench.opened[0].feed(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        assert bench.opened[0].closed
        await bench.request()
        assert len(bench.opened) == 2

    run(monkeypatch, scenario)


def test_limits_of_use(monkeypatch):
    async def scenario(bench):
        for _ in range(4):
            await bench.request()
            bench.opened[-1].feed(HELLO)
        assert len(bench.opened) == 2

    run(monkeypatch, scenario, **options(max_requests_per_connection=2))


def test_idle_connections_close_after_their_time(monkeypatch):
    async def scenario(bench):
        await bench.request()
        await bench.request()
        bench.opened[0].feed(HELLO)
        bench.clock.advance(3)
        bench.opened[1].feed(HELLO)
        bench.clock.advance(3)
        assert (bench.opened[0].closed, bench.opened[1].closed) == (True, False)
        bench.clock.advance(3)
        assert bench.opened[1].closed
        assert bench.stats.upstream_cx_idle_timeout == 2

    run(monkeypatch, scenario, **options(idle_timeout="5s"))


def test_connections_live_for_a_limited_time(monkeypatch):
    async def scenario(bench):
        await bench.request()
        bench.clock.advance(6)
        bench.opened[0].feed(HELLO)
        assert bench.opened[0].closed
        assert bench.stats.upstream_cx_max_duration_reached == 1

    run(monkeypatch, scenario, **options(max_connection_duration="5s"))


def test_a_refused_connection_fails_everybody_who_waits(monkeypatch):
    async def scenario(bench):
        bench.refuse = ConnectError("refused")
        bench.hold = asyncio.Event()
        requests = [await bench.request() for _ in range(3)]
        bench.hold.set()
        await bench.settle()
        for request in requests:
            assert request.heard == [(PoolFailure.REMOTE_CONNECT, "refused")]
        assert bench.stats.upstream_rq_pending_active == 0
        assert bench.host.stats.cx_active == 0

    run(monkeypatch, scenario)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (ConnectError("x", local=True), PoolFailure.LOCAL_CONNECT),
        (ConnectError("", timeout=True), PoolFailure.TIMEOUT),
    ],
)
def test_kinds_of_failure(monkeypatch, error, failure):
    async def scenario(bench):
        bench.refuse = error
        request = await bench.request()
        assert request.heard[0][0] is failure

    run(monkeypatch, scenario)


def thresholds(**limits):
    return {"circuit_breakers": {"thresholds": [limits]}}


def test_a_full_queue_refuses(monkeypatch):
    async def scenario(bench):
        bench.hold = asyncio.Event()
        await bench.request()
        refused = await bench.request()
        assert refused.heard == [(PoolFailure.OVERFLOW, "")]
        bench.hold.set()
        await bench.settle()

    bench = run(monkeypatch, scenario, **thresholds(max_pending_requests=1))
    assert bench.stats.upstream_rq_pending_overflow == 1


def test_a_request_beyond_the_connections_waits_for_one(monkeypatch):
    async def scenario(bench):
        await bench.request()
        second = await bench.request()
        assert second.connection is None
        bench.opened[0].feed(HELLO)
        assert second.connection is not None
        assert len(bench.opened) == 1

    bench = run(monkeypatch, scenario, **thresholds(max_connections=1))
    assert bench.stats.upstream_cx_overflow == 1


def test_a_request_that_was_cancelled_gets_no_connection(monkeypatch):
    async def scenario(bench):
        bench.hold = asyncio.Event()
        request = await bench.request()
        bench.pool.cancel(request)
        bench.pool.cancel(request)
        bench.hold.set()
        await bench.settle()
        assert request.connection is None
        assert "idle=1" in repr(bench.pool)

    bench = run(monkeypatch, scenario)
    assert bench.stats.upstream_rq_cancelled == 1
    assert bench.stats.upstream_rq_pending_active == 0


def test_a_lost_connection_gives_back_its_place(monkeypatch):
    async def scenario(bench):
        request = await bench.request()
        waiting = await bench.request()
        bench.opened[0].lose()
        await bench.settle()
        assert request.heard == [ResetReason.CONNECTION_TERMINATION]
        assert waiting.connection is not None
        assert bench.host.stats.cx_active == 1

    run(monkeypatch, scenario, **thresholds(max_connections=1))


def test_a_drained_pool_keeps_nothing(monkeypatch):
    async def scenario(bench):
        busy = await bench.request()
        await bench.request()
        bench.opened[1].feed(HELLO)
        bench.host.removed = True
        bench.pool.drain()
        assert bench.opened[1].closed
        assert not bench.opened[0].closed
        bench.opened[0].feed(HELLO)
        assert busy.heard == [(200, b"hello", True)]
        assert bench.opened[0].closed

    run(monkeypatch, scenario)


def test_a_closed_pool_ends_its_tasks(monkeypatch):
    async def scenario(bench):
        await bench.request()
        bench.hold = asyncio.Event()
        await bench.request()
        await bench.pool.close()
        assert bench.opened[0].aborted or bench.opened[0].closed
        assert len(asyncio.all_tasks()) == 1

    run(monkeypatch, scenario)


def test_a_connection_is_left_before_the_peer_has_said_that_it_closes_it(monkeypatch):
    async def scenario(bench):
        await bench.request()
        bench.opened[0].feed(b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=5\r\ncontent-length: 0\r\n\r\n")
        bench.clock.advance(3.9)
        await bench.request()
        bench.opened[0].feed(b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=5\r\ncontent-length: 0\r\n\r\n")
        bench.clock.advance(4.1)
        await bench.request()
        assert bench.opened[0].closed
        assert len(bench.opened) == 2

    bench = run(monkeypatch, scenario)
    assert bench.stats.upstream_cx_idle_timeout == 1


def test_where_peers_close_idle_connections_a_post_gets_none_that_is_old(monkeypatch):
    async def scenario(bench):
        await bench.request()
        bench.opened[0].feed(HELLO)
        bench.clock.advance(2)
        bench.opened[0].lose()
        await bench.request()
        bench.opened[1].feed(HELLO)
        bench.clock.advance(1.1)
        await bench.request(Request("POST"))
        assert len(bench.opened) == 3
        await bench.request()
        assert len(bench.opened) == 3

    run(monkeypatch, scenario)


def test_a_post_has_an_old_connection_where_there_may_be_no_more(monkeypatch):
    async def scenario(bench):
        await bench.request()
        bench.opened[0].feed(HELLO)
        bench.clock.advance(2)
        bench.opened[0].lose()
        await bench.request()
        bench.opened[1].feed(HELLO)
        bench.clock.advance(1.9)
        await bench.request(Request("POST"))
        assert len(bench.opened) == 2

    run(monkeypatch, scenario, **thresholds(max_connections=1))


@pytest.mark.parametrize(
    ("method", "before", "stale"),
    [("GET", 1, True), ("PUT", 1, True), ("GET", 0, False), ("POST", 1, False)],
)
def test_who_may_try_again_hears_that_a_used_connection_was_stale(monkeypatch, method, before, stale):
    async def scenario(bench):
        for _ in range(before):
            await bench.request()
            bench.opened[0].feed(HELLO)
        request = await bench.request(Request(method))
        bench.opened[0].lose()
        assert request.heard == ["stale"] * stale + [ResetReason.CONNECTION_TERMINATION]

    run(monkeypatch, scenario)


@pytest.mark.parametrize("what", ["body", "response"])
def test_a_request_that_has_come_further_is_not_stale(monkeypatch, what):
    async def scenario(bench):
        await bench.request()
        bench.opened[0].feed(HELLO)
        request = Request("PUT")
        connection = bench.pool.take(request)
        connection.send_head(b"body" if what == "body" else b"", end_stream=True)
        if what == "response":
            bench.opened[0].feed(b"HTTP/1.1 100 Continue\r\n\r\n")
        bench.opened[0].lose()
        assert "stale" not in request.heard

    run(monkeypatch, scenario)
