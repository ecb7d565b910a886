"""The connection behind the streams: its ends, its errors, its pings."""

import asyncio
import socket

import pytest

from proxy.upstream.pool.api import ResetReason
from tests.support import http2_frames as h2
from tests.support.cluster_messages import compiled, endpoint
from tests.support.http2_upstream import Host, connected
from tests.support.upstream_pool import Bench, Request


def run(monkeypatch, scenario, **options):
    bench = Bench(monkeypatch, compiled(endpoint(), http2_protocol_options=options))
    asyncio.run(scenario(bench))
    return bench


def test_it_starts_with_the_preface_and_what_it_was_configured_with(monkeypatch):
    async def scenario(bench):
        await bench.request()
        await bench.settle()
        assert bench.opened[0].written.startswith(h2.PREFACE)
        host = Host(bench.opened[0])
        assert host.read()[0].name == "SETTINGS"
        assert h2.settings([(h2.MAX_CONCURRENT_STREAMS, 7)])[9:] in host.frames[0].payload

    run(monkeypatch, scenario, max_concurrent_streams=7)


def test_the_end_of_the_connection_ends_its_streams(monkeypatch):
    async def scenario(bench):
        request, _ = await connected(bench)
        other = await bench.request()
        assert bench.opened[0].protocol.eof_received() is False
        bench.opened[0].lose()
        assert request.heard == other.heard == [ResetReason.CONNECTION_TERMINATION]
        await bench.request()
        assert len(bench.opened) == 2

    stats = run(monkeypatch, scenario).stats
    assert stats.upstream_rq_pending_failure_eject == 2
    assert stats.upstream_cx_destroy_remote_with_active_rq == 1
    assert stats.upstream_cx_active == 1


def test_nobody_gets_a_connection_that_is_about_to_end(monkeypatch):
    async def scenario(bench):
        _, host = await connected(bench)
        host.answer(1)
        bench.opened[0].protocol.eof_received()
        await bench.request()
        assert len(bench.opened) == 2

    run(monkeypatch, scenario)


@pytest.mark.parametrize(("bytes_before", "connections"), [(b"", 2), (b"a frame", 1)])
def test_an_end_that_the_loop_has_not_told_of(monkeypatch, bytes_before, connections):
    async def scenario(bench):
        _, host = await connected(bench)
        host.answer(1)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            bench.opened[0].protocol.socket = ours
            bench.clock.advance(1)
            theirs.send(bytes_before)
            theirs.close()
            await bench.request()
        assert len(bench.opened) == connections

    run(monkeypatch, scenario)


@pytest.mark.parametrize(
    ("frames", "announced"),
    [([h2.frame(h2.PING, payload=b"123")], True), ([h2.window_update(1, 0)], False)],
)
def test_nonsense_ends_the_connection(monkeypatch, frames, announced):
    async def scenario(bench):
        request, host = await connected(bench)
        host.send(*frames)
        assert request.heard == [ResetReason.PROTOCOL_ERROR]
        assert bench.opened[0].closed
        assert ("GOAWAY" in [frame.name for frame in host.read()]) == announced
        host.send(h2.response(1))
        bench.opened[0].lose()
        assert request.heard == [ResetReason.PROTOCOL_ERROR]

    stats = run(monkeypatch, scenario).stats
    assert stats.upstream_cx_protocol_error == 1
    assert stats.upstream_rq_tx_reset == 1
    assert stats.upstream_cx_destroy_local == 1
    assert stats.upstream_cx_destroy_with_active_rq == 0


def test_a_malformed_head_may_end_its_stream_only(monkeypatch):
    async def scenario(bench):
        request, host = await connected(bench)
        host.send(h2.response(1, 200, [("Upper", "x")]))
        assert request.heard == [ResetReason.PROTOCOL_ERROR]
        assert not bench.opened[0].closed

    run(monkeypatch, scenario, override_stream_error_on_invalid_http_message=True)


def test_a_full_socket_holds_bodies_back(monkeypatch):
    async def scenario(bench):
        _, host = await connected(bench)
        request = Request()
        stream = bench.pool.take(request)
        stream.send_head(b"", end_stream=False)
        bench.opened[0].protocol.pause_writing()
        stream.send_data(b"body", end_stream=True)
        await bench.settle()
        assert host.body(3) == b""
        bench.opened[0].protocol.resume_writing()
        await bench.settle()
        assert host.body(3) == b"body"
        assert host.ended(3)

    run(monkeypatch, scenario)


KEEPALIVE = {"interval": "10s", "timeout": "2s", "interval_jitter": {"value": 0}}


def test_a_host_that_answers_no_ping(monkeypatch):
    async def scenario(bench):
        request, host = await connected(bench)
        bench.clock.advance(10)
        await bench.settle()
        assert "PING" in [frame.name for frame in host.read()]
        bench.clock.advance(2)
        assert bench.opened[0].aborted
        bench.opened[0].lose()
        assert request.heard == [ResetReason.CONNECTION_TERMINATION]

    bench = run(monkeypatch, scenario, connection_keepalive=KEEPALIVE)
    assert bench.pool.codec_stats.keepalive_timeout == 1
    assert bench.stats.upstream_cx_destroy_local_with_active_rq == 1


def test_a_host_that_answers_pings(monkeypatch):
    async def scenario(bench):
        _, host = await connected(bench)
        for _ in range(3):
            bench.clock.advance(10)
            await bench.settle()
            host.send(h2.ping(host.read()[-1].payload, ack=True))
        assert [frame.name for frame in host.read()].count("PING") == 3
        bench.opened[0].lose()
        bench.clock.advance(100)

    bench = run(monkeypatch, scenario, connection_keepalive=KEEPALIVE)
    assert not bench.opened[0].aborted
