"""A host that picks the version of HTTP in the TLS handshake."""

import asyncio

import envoy.extensions.transport_sockets.tls.v3.tls_pb2
import envoy.extensions.upstreams.http.v3.http_protocol_options_pb2  # noqa: F401
import pytest

from tests.support.cluster_messages import compiled, endpoint
from tests.support.http2_upstream import Host
from tests.support.upstream_pool import Bench, Request

OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
FIELDS = {
    "typed_extension_protocol_options": {
        OPTIONS: {"@type": f"type.googleapis.com/{OPTIONS}", "auto_config": {}}
    },
    "transport_socket": {"name": "tls", "typed_config": {"@type": TLS}},
}
HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


def run(monkeypatch, scenario, alpn):
    bench = Bench(monkeypatch, compiled(endpoint(), **FIELDS))
    bench.tls = True
    bench.alpn = alpn
    asyncio.run(scenario(bench))
    return bench


def test_http2(monkeypatch):
    async def scenario(bench):
        first = await bench.request()
        second = await bench.request()
        host = Host(bench.opened[0], {})
        await bench.settle()
        assert host.streams() == [1, 3]
        host.answer(1)
        host.answer(3)
        assert first.heard
        assert second.heard

    stats = run(monkeypatch, scenario, "h2").stats
    assert (stats.upstream_cx_total, stats.upstream_cx_http1_total, stats.upstream_cx_http2_total) == (
        1,
        0,
        1,
    )


@pytest.mark.parametrize("alpn", ["http/1.1", "other", None])
def test_http1(monkeypatch, alpn):
    async def scenario(bench):
        for _ in range(2):
            request = await bench.request()
            bench.opened[0].feed(HELLO)
            assert request.heard == [(200, b"hello", True)]
        assert len(bench.opened) == 1

    stats = run(monkeypatch, scenario, alpn).stats
    assert (stats.upstream_cx_total, stats.upstream_cx_http1_total, stats.upstream_cx_http2_total) == (
        1,
        1,
        0,
    )


def test_once_http2_is_known_a_new_connection_is_expected_to_take_many(monkeypatch):
    async def scenario(bench):
        await bench.request()
        bench.opened[0].protocol.drain()
        for _ in range(3):
            bench.pool.wait(Request())
        await bench.settle()
        assert len(bench.opened) == 2

    run(monkeypatch, scenario, "h2")


def test_a_host_may_change_its_mind(monkeypatch):
    async def scenario(bench):
        await bench.request()
        bench.opened[0].protocol.drain()
        bench.alpn = "http/1.1"
        request = await bench.request()
        bench.opened[1].feed(HELLO)
        assert request.heard == [(200, b"hello", True)]

    stats = run(monkeypatch, scenario, "h2").stats
    assert (stats.upstream_cx_http1_total, stats.upstream_cx_http2_total) == (1, 1)


@pytest.mark.parametrize(("alpn", "opened"), [("h2", [1, 1, 1]), ("http/1.1", [2, 4, 6])])
def test_connections_ahead_of_requests(monkeypatch, alpn, opened):
    async def scenario(bench):
        seen = []
        for _ in opened:
            request = await bench.request()
            await bench.settle()
            assert request.connection is not None
            seen.append(len(bench.opened))
        assert seen == opened

    policy = {"per_upstream_preconnect_ratio": 2}
    bench = Bench(monkeypatch, compiled(endpoint(), preconnect_policy=policy, **FIELDS))
    bench.tls = True
    bench.alpn = alpn
    asyncio.run(scenario(bench))


def test_requests_that_wait_for_a_host_to_pick(monkeypatch):
    async def scenario(bench):
        waiting = [Request() for _ in range(5)]
        for request in waiting:
            assert bench.pool.take(request) is None
            bench.pool.wait(request)
        for _ in range(4):
            await bench.settle()
        assert all(request.connection is not None for request in waiting)
        assert bench.stats.upstream_cx_active == 10

    policy = {"per_upstream_preconnect_ratio": 2}
    bench = Bench(monkeypatch, compiled(endpoint(), preconnect_policy=policy, **FIELDS))
    bench.tls = True
    bench.alpn = "http/1.1"
    asyncio.run(scenario(bench))
