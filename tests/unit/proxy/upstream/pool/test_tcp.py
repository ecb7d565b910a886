"""Connections that carry bytes as they are."""

import asyncio

import pytest

from proxy.upstream.pool import base
from proxy.upstream.pool.api import FOR_RAW_BYTES, PoolFailure, ResetReason
from proxy.upstream.pool.connect import ConnectError
from tests.support.cluster_messages import compiled, endpoint
from tests.support.upstream_pool import Bench, Request


class Eager(Request):
    """Sends its head at once, as the router does."""

    def on_pool_ready(self, connection):
        connection.send_head(b"", False)


def run(monkeypatch, scenario, *, tls=False):
    bench = Bench(monkeypatch, compiled(endpoint()), FOR_RAW_BYTES)
    bench.tls = tls
    asyncio.run(scenario(bench))
    return bench


async def opened(bench, preamble=b""):
    request = Request("CONNECT")
    request.preamble = preamble
    bench.pool.wait(request)
    await bench.settle()
    request.connection.send_head(b"early", False)
    return request, bench.opened[-1]


async def spare(bench):
    """A connection that came when its request was gone."""
    gone = Request("CONNECT")
    bench.pool.wait(gone)
    bench.pool.cancel(gone)
    await bench.settle()
    return bench.opened[-1]


def test_a_request_is_answered_at_once_and_its_bytes_go_on(monkeypatch):
    async def scenario(bench):
        request, transport = await opened(bench, b"PROXY UNKNOWN\r\n")
        assert request.heard == [(200, b"", False)]
        request.connection.send_data(b" more", False)
        assert transport.written == b"PROXY UNKNOWN\r\nearly more"
        transport.feed(b"back")
        assert request.heard[1:] == [(b"back", False)]
        assert (request.wire_bytes_sent, request.wire_bytes_received) == (25, 4)
        assert bench.pool.take(Request()) is None

    assert run(monkeypatch, scenario).stats.upstream_cx_tx_bytes_total == 25


@pytest.mark.parametrize("tls", [False, True])
def test_the_end_of_our_half(monkeypatch, tls):
    async def scenario(bench):
        request, transport = await opened(bench)
        request.connection.send_data(b"", True)
        # TLS has no half-close, so the host learns of the end with the close.
        assert transport.ended == (not tls)
        transport.feed(b"late")
        assert transport.protocol.eof_received() is False
        transport.lose()
        assert request.heard[1:] == [(b"late", False), (b"", True)]

    assert run(monkeypatch, scenario, tls=tls).stats.upstream_cx_destroy_remote == 1


@pytest.mark.parametrize("ends", [False, True])
def test_a_host_may_speak_before_anybody_listens(monkeypatch, ends):
    async def scenario(bench):
        open_connection = bench.connect

        async def connect(loop, host, config, protocol, tls, **more):
            await open_connection(loop, host, config, protocol, tls, **more)
            bench.opened[-1].feed(b"220 ")
            bench.opened[-1].feed(b"hello")
            if ends:
                assert protocol.eof_received() is True

        monkeypatch.setattr(base, "open_connection", connect)
        request = Eager("CONNECT")
        bench.pool.wait(request)
        await bench.settle()
        heard = [(200, b"", False), (b"220 hello", False), (b"", True)]
        assert request.heard == heard[: 3 if ends else 2]
        assert bench.opened[0].closed == ends

    run(monkeypatch, scenario)


def test_the_end_of_the_hosts_half_is_the_end(monkeypatch):
    async def scenario(bench):
        request, transport = await opened(bench)
        assert transport.protocol.eof_received() is False
        transport.lose()
        assert request.heard[1:] == [(b"", True)]

    assert run(monkeypatch, scenario).stats.upstream_cx_destroy_local_with_active_rq == 1


def test_a_reset(monkeypatch):
    async def scenario(bench):
        request, transport = await opened(bench)
        transport.lose(ConnectionResetError())
        assert request.heard[1:] == [ResetReason.CONNECTION_TERMINATION]

    assert run(monkeypatch, scenario).stats.upstream_cx_destroy_remote_with_active_rq == 1


def test_a_request_that_is_given_up_closes_its_connection(monkeypatch):
    async def scenario(bench):
        request, transport = await opened(bench)
        request.connection.abandon()
        assert transport.aborted
        transport.feed(b"late")
        transport.lose()
        assert len(request.heard) == 1

    assert run(monkeypatch, scenario).stats.upstream_cx_destroy_local_with_active_rq == 1


def test_back_pressure(monkeypatch):
    async def scenario(bench):
        request, transport = await opened(bench)
        transport.protocol.pause_writing()
        transport.protocol.resume_writing()
        assert request.heard[1:] == ["paused", "resumed"]
        connection = request.connection
        connection.pause_reading()
        connection.pause_reading()
        connection.resume_reading()
        assert not transport.reading
        connection.resume_reading()
        assert transport.reading

    stats = run(monkeypatch, scenario).stats
    assert stats.upstream_flow_control_backed_up_total == stats.upstream_flow_control_drained_total == 1
    assert stats.upstream_flow_control_paused_reading_total == 1


def test_nobody_listens(monkeypatch):
    async def scenario(bench):
        bench.refuse = ConnectError("delayed connect error: Connection refused")
        request = Request("CONNECT")
        bench.pool.wait(request)
        await bench.settle()
        assert request.heard == [(PoolFailure.REMOTE_CONNECT, "delayed connect error: Connection refused")]

    run(monkeypatch, scenario)


def test_a_connection_that_came_too_late_serves_the_next_request(monkeypatch):
    async def scenario(bench):
        await spare(bench)
        connection = bench.pool.take(Request("CONNECT"))
        assert connection is not None
        connection.release()
        assert bench.pool.take(Request("CONNECT")) is connection
        assert len(bench.opened) == 1

    run(monkeypatch, scenario)


def test_bytes_that_nobody_waits_for_close_the_connection(monkeypatch):
    async def scenario(bench):
        transport = await spare(bench)
        transport.feed(b"220 hello")
        assert transport.closed
        assert bench.pool.take(Request("CONNECT")) is None

    run(monkeypatch, scenario)


def test_a_host_that_goes_lets_its_users_finish(monkeypatch):
    async def scenario(bench):
        idle = await spare(bench)
        bench.pool.take(Request("CONNECT"))
        await opened(bench)
        late = await spare(bench)
        bench.pool.drain()
        assert [transport.closed for transport in (idle, bench.opened[1], late)] == [False, False, True]

    run(monkeypatch, scenario)


@pytest.mark.parametrize("closes", [False, True])
def test_a_connection_in_use_ends_with_the_health_of_its_host_where_the_cluster_says_so(monkeypatch, closes):
    async def scenario(bench):
        _, transport = await opened(bench)
        bench.pool.drain_connections()
        assert transport.closed == closes

    config = compiled(endpoint(), close_connections_on_host_health_failure=closes)
    asyncio.run(scenario(Bench(monkeypatch, config, FOR_RAW_BYTES)))
