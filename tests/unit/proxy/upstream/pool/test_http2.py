"""Which request gets which connection of HTTP/2."""

import asyncio

import pytest

from proxy.upstream.pool.api import PoolFailure, ResetReason
from proxy.upstream.pool.connect import ConnectError
from tests.support import http2_frames as h2
from tests.support.cluster_messages import compiled, endpoint
from tests.support.http2_upstream import Host, connected
from tests.support.upstream_pool import Bench, Request


def run(monkeypatch, scenario, **fields):
    bench = Bench(monkeypatch, compiled(endpoint(), **{"http2_protocol_options": {}, **fields}))
    asyncio.run(scenario(bench))
    return bench


def limits(**values):
    return {"circuit_breakers": {"thresholds": [values]}}


def test_requests_share_a_connection(monkeypatch):
    async def scenario(bench):
        first, host = await connected(bench)
        second = await bench.request()
        await bench.settle()
        assert host.streams() == [1, 3]
        host.answer(3, body=b"b")
        host.answer(1, body=b"a")
        assert second.heard == [(200, b"", False), (b"b", True)]
        # A head that is known is handed on with its body.
        assert first.heard == [(200, b"a", True)]
        assert "Http2Pool" in repr(bench.pool)

    bench = run(monkeypatch, scenario)
    assert bench.stats.upstream_cx_total == bench.stats.upstream_cx_http2_total == 1


def test_everything_of_one_turn_leaves_in_one_write(monkeypatch):
    async def scenario(bench):
        await connected(bench)
        writes = []
        monkeypatch.setattr(bench.opened[0], "write", writes.append)
        for _ in range(3):
            request = Request()
            bench.pool.take(request).send_head(b"", end_stream=True)
        assert writes == []
        await bench.settle()
        assert len(writes) == 1

    run(monkeypatch, scenario)


def test_requests_that_wait_for_the_first_connection_share_it(monkeypatch):
    async def scenario(bench):
        requests = [Request() for _ in range(3)]
        for request in requests:
            bench.pool.wait(request)
        await bench.settle()
        assert len(bench.opened) == 1
        assert all(request.connection is not None for request in requests)

    run(monkeypatch, scenario)


def test_until_the_host_has_announced_its_limit_a_hundred_streams_are_assumed(monkeypatch):
    async def scenario(bench):
        requests = [Request() for _ in range(103)]
        for request in requests:
            bench.pool.wait(request)
        await bench.settle()
        assert sum(request.connection is not None for request in requests) == 100
        assert len(bench.opened) == 1
        Host(bench.opened[0], {h2.MAX_CONCURRENT_STREAMS: 102})
        await bench.settle()
        assert sum(request.connection is not None for request in requests) == 103
        assert len(bench.opened) == 2

    run(monkeypatch, scenario)


def test_the_limit_of_the_host_opens_another_connection(monkeypatch):
    async def scenario(bench):
        await connected(bench, {h2.MAX_CONCURRENT_STREAMS: 1})
        await bench.request()
        assert len(bench.opened) == 2
        # The second connection is expected to take no more either.
        await bench.request()
        assert len(bench.opened) == 3

    run(monkeypatch, scenario)


def test_the_end_of_a_stream_lets_a_waiting_request_in(monkeypatch):
    async def scenario(bench):
        _, host = await connected(bench, {h2.MAX_CONCURRENT_STREAMS: 1})
        waiting = await bench.request()
        assert waiting.connection is None
        host.answer(1)
        assert waiting.connection is not None
        waiting.connection.send_head(b"", end_stream=True)
        await bench.settle()
        assert host.streams() == [1, 3]

    bench = run(monkeypatch, scenario, **limits(max_connections=1))
    assert bench.stats.upstream_cx_overflow == 1


def test_a_host_that_allows_no_stream_does_not_make_connections_without_end(monkeypatch):
    async def scenario(bench):
        await connected(bench, {h2.MAX_CONCURRENT_STREAMS: 0})
        await bench.request()
        Host(bench.opened[1], {h2.MAX_CONCURRENT_STREAMS: 0})
        await bench.settle()
        assert len(bench.opened) == 2

    run(monkeypatch, scenario)


def test_too_many_waiting_requests(monkeypatch):
    async def scenario(bench):
        await connected(bench, {h2.MAX_CONCURRENT_STREAMS: 1})
        await bench.request()
        refused = await bench.request()
        assert refused.heard == [(PoolFailure.OVERFLOW, "")]

    run(monkeypatch, scenario, **limits(max_connections=1, max_pending_requests=1))


def test_a_request_that_no_longer_waits(monkeypatch):
    async def scenario(bench):
        await connected(bench, {h2.MAX_CONCURRENT_STREAMS: 1})
        waiting = await bench.request()
        bench.pool.cancel(waiting)
        bench.opened[0].protocol.streams[1].abandon()
        assert waiting.connection is None

    bench = run(monkeypatch, scenario, **limits(max_connections=1))
    assert bench.stats.upstream_rq_cancelled == 1
    assert bench.stats.upstream_rq_pending_active == 0


def test_a_connection_that_cannot_be_opened(monkeypatch):
    async def scenario(bench):
        bench.refuse = ConnectError("delayed connect error: Connection refused")
        request = await bench.request()
        assert request.heard == [
            (PoolFailure.REMOTE_CONNECT, "delayed connect error: Connection refused"),
        ]
        assert bench.pool.coming == 0

    run(monkeypatch, scenario)


def test_a_connection_carries_its_number_of_requests(monkeypatch):
    async def scenario(bench):
        _, host = await connected(bench)
        await bench.request()
        await bench.request()
        assert len(bench.opened) == 2
        host.answer(1)
        host.answer(3)
        await bench.settle()
        assert bench.opened[0].closed
        assert not bench.opened[1].closed

    bench = run(monkeypatch, scenario, max_requests_per_connection=2)
    assert bench.stats.upstream_cx_max_requests == 1


def test_goaway_sends_new_requests_elsewhere_and_lets_old_ones_finish(monkeypatch):
    async def scenario(bench):
        request, host = await connected(bench)
        refused = await bench.request()
        await bench.settle()
        host.send(h2.goaway(1))
        assert refused.heard == [ResetReason.REMOTE_REFUSED_STREAM]
        await bench.request()
        assert len(bench.opened) == 2
        host.answer(1)
        await bench.settle()
        assert request.heard
        assert bench.opened[0].closed

    bench = run(monkeypatch, scenario)
    assert bench.stats.upstream_cx_close_notify == 1


def test_idle_connections_close(monkeypatch):
    async def scenario(bench):
        _, host = await connected(bench)
        bench.clock.advance(20)
        assert not bench.opened[0].closed
        host.answer(1)
        bench.clock.advance(9)
        assert not bench.opened[0].closed
        bench.clock.advance(2)
        assert bench.opened[0].closed

    bench = run(monkeypatch, scenario, common_http_protocol_options={"idle_timeout": "10s"})
    assert bench.stats.upstream_cx_idle_timeout == 1


def test_old_connections_drain(monkeypatch):
    async def scenario(bench):
        request, host = await connected(bench)
        bench.clock.advance(11)
        assert not bench.opened[0].closed
        await bench.request()
        assert len(bench.opened) == 2
        host.answer(1)
        await bench.settle()
        assert request.heard
        assert bench.opened[0].closed

    bench = run(monkeypatch, scenario, common_http_protocol_options={"max_connection_duration": "10s"})
    assert bench.stats.upstream_cx_max_duration_reached == 1


def test_a_host_that_has_gone_keeps_its_streams_only(monkeypatch):
    async def scenario(bench):
        _, host = await connected(bench)
        bench.pool.drain()
        assert not bench.opened[0].closed
        host.answer(1)
        await bench.settle()
        assert bench.opened[0].closed

    run(monkeypatch, scenario)


def test_a_stream_that_was_not_used_gives_its_place_back(monkeypatch):
    async def scenario(bench):
        await connected(bench, {h2.MAX_CONCURRENT_STREAMS: 2})
        request = Request()
        bench.pool.take(request).release()
        assert bench.pool.take(Request()) is not None
        assert bench.pool.take(Request()) is None

    run(monkeypatch, scenario)


def test_equal_responses_are_parsed_once_for_all_connections(monkeypatch):
    async def scenario(bench):
        seen = []
        for _ in range(2):
            request, host = await connected(bench, {h2.MAX_CONCURRENT_STREAMS: 1})
            monkeypatch.setattr(request, "on_response", lambda response, *_: seen.append(response))
            host.send(h2.response(1, 200, [("server", "x")], end=True))
            bench.opened[-1].protocol.eof_received()
        assert len(bench.opened) == 2
        assert seen[0] is seen[1]

    run(monkeypatch, scenario)


def test_kept_responses_have_an_end(monkeypatch):
    async def scenario(bench):
        _, host = await connected(bench)
        for number in range(600):
            request = await bench.request()
            stream_id = request.connection.id
            host.send(h2.response(stream_id, 200, [("number", str(number))], end=True))
        assert len(bench.pool.known_responses) <= 512

    run(monkeypatch, scenario)


@pytest.mark.parametrize("after", ["connecting", "connected"])
def test_the_end_of_the_worker(monkeypatch, after):
    async def scenario(bench):
        if after == "connecting":
            bench.hold = asyncio.Event()
            await bench.request()
            await bench.pool.close()
            assert bench.stats.upstream_cx_active == 0
        else:
            request, _ = await connected(bench)
            await bench.pool.close()
            assert bench.opened[0].aborted
            bench.opened[0].lose()
            assert request.heard == [ResetReason.CONNECTION_TERMINATION]

    run(monkeypatch, scenario)


class Unwilling(Request):
    """Gives back what it gets, like a request beyond the limit of requests."""

    def on_pool_ready(self, connection):
        connection.release()
        self.heard.append("released")


def test_a_long_queue_of_requests_that_give_their_stream_back(monkeypatch):
    async def scenario(bench):
        requests = [Unwilling() for _ in range(1000)]
        for request in requests:
            bench.pool.wait(request)
        await bench.settle()
        Host(bench.opened[0], {})
        assert all(request.heard == ["released"] for request in requests)
        assert bench.pool.take(Request()) is not None

    run(monkeypatch, scenario)


def test_goaway_on_an_idle_connection_closes_it(monkeypatch):
    async def scenario(bench):
        _, host = await connected(bench)
        host.answer(1)
        host.send(h2.goaway(1))
        await bench.settle()
        assert bench.opened[0].closed
        await bench.request()
        assert len(bench.opened) == 2

    run(monkeypatch, scenario)
