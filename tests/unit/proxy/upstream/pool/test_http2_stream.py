"""One request as a stream: what is sent, what is heard, how it ends early."""

import asyncio

import pytest

from proxy.base.headers import HeaderMap
from proxy.base.stream_info import StreamInfo
from proxy.upstream.pool.api import ResetReason
from tests.support import http2_frames as h2
from tests.support.cluster_messages import compiled, endpoint
from tests.support.http2_upstream import connected
from tests.support.upstream_pool import Bench, Request


def run(monkeypatch, scenario, **fields):
    bench = Bench(monkeypatch, compiled(endpoint(), **{"http2_protocol_options": {}, **fields}))
    asyncio.run(scenario(bench))
    return bench


async def open_request(bench, method="GET"):
    """A request whose stream is there but has sent nothing, and the host."""
    _, host = await connected(bench)
    request = Request(method)
    request.connection = bench.pool.take(request)
    return request, host


def test_a_request_with_body_and_trailers(monkeypatch):
    async def scenario(bench):
        request, host = await open_request(bench)
        request.connection.send_head(b"ab", end_stream=False)
        request.connection.send_data(b"cd", end_stream=False)
        request.connection.send_trailers(HeaderMap([("t", "v")]))
        await bench.settle()
        assert host.body(3) == b"abcd"
        assert host.ended(3)
        assert [frame.name for frame in host.read() if frame.stream_id == 3] == [
            "HEADERS",
            "DATA",
            "DATA",
            "HEADERS",
        ]
        # Frame headers count, as in Envoy.
        assert request.header_bytes_sent == 10
        assert request.wire_bytes_sent == sum(
            9 + len(frame.payload) for frame in host.read() if frame.stream_id == 3
        )

    run(monkeypatch, scenario)


def test_a_whole_request_at_once(monkeypatch):
    async def scenario(bench):
        request, host = await open_request(bench)
        request.connection.send_head(b"body", end_stream=True)
        await bench.settle()
        assert host.body(3) == b"body"
        assert host.ended(3)

    run(monkeypatch, scenario)


def test_a_response_with_interim_heads_and_trailers(monkeypatch):
    async def scenario(bench):
        request, host = await connected(bench)
        host.send(
            h2.response(1, 103),
            h2.response(1, 200),
            h2.data(1, b"a"),
            h2.data(1, b"b"),
            h2.headers(1, [("t", "v")], end=True),
        )
        assert request.heard[:2] == [103, (200, b"", False)]
        assert request.heard[2:] == [(b"a", False), (b"b", False), {"t": "v"}]
        assert request.wire_bytes_received

    run(monkeypatch, scenario)


def test_interim_heads_without_end(monkeypatch):
    async def scenario(bench):
        request, host = await connected(bench)
        host.send(*[h2.response(1, 103)] * 200)
        await bench.settle()
        assert request.heard == [103] * 100 + [ResetReason.PROTOCOL_ERROR]
        assert host.resets() == [(1, 11)]

    run(monkeypatch, scenario)


def test_the_answer_to_head_has_no_body_whatever_its_length_says(monkeypatch):
    async def scenario(bench):
        request, host = await open_request(bench, "HEAD")
        request.connection.send_head(b"", end_stream=True)
        host.send(h2.response(3, 200, [("content-length", "5")], end=True))
        assert request.heard == [(200, b"", True)]

    run(monkeypatch, scenario)


@pytest.mark.parametrize("status", [204, 304])
def test_a_body_where_none_may_be(monkeypatch, status):
    async def scenario(bench):
        request, host = await connected(bench)
        host.send(h2.response(1, status), h2.data(1, b"x", end=True))
        await bench.settle()
        assert request.heard == [(status, b"", False), ResetReason.PROTOCOL_ERROR]
        assert host.resets() == [(1, 1)]

    run(monkeypatch, scenario)


@pytest.mark.parametrize(
    ("code", "reason", "counter"),
    [
        (0, ResetReason.REMOTE_RESET, "upstream_rq_rx_reset"),
        (1, ResetReason.PROTOCOL_ERROR, "upstream_rq_tx_reset"),
        (7, ResetReason.REMOTE_REFUSED_STREAM, None),
        (8, ResetReason.REMOTE_RESET, "upstream_rq_rx_reset"),
        (10, ResetReason.CONNECT_ERROR, None),
        (99, ResetReason.REMOTE_RESET, "upstream_rq_rx_reset"),
    ],
)
def test_a_reset_by_the_host(monkeypatch, code, reason, counter):
    async def scenario(bench):
        request, host = await connected(bench)
        host.send(h2.rst_stream(1, code))
        assert request.heard == [reason]

    stats = run(monkeypatch, scenario).stats
    counters = ("upstream_rq_rx_reset", "upstream_rq_tx_reset", "upstream_rq_pending_failure_eject")
    assert [name for name in counters if getattr(stats, name)] == ([counter] if counter else [])


def test_giving_up_resets_the_stream_and_keeps_the_connection(monkeypatch):
    async def scenario(bench):
        request, host = await connected(bench)
        request.connection.abandon()
        request.connection.abandon()
        await bench.settle()
        assert host.resets() == [(1, 2)]
        host.answer(1)
        assert request.heard == []
        assert bench.pool.take(Request()) is not None

    assert run(monkeypatch, scenario).stats.upstream_rq_tx_reset == 1


def test_an_answer_before_the_end_of_the_request_ends_it(monkeypatch):
    async def scenario(bench):
        request, host = await open_request(bench)
        stream = request.connection
        stream.send_head(b"some", end_stream=False)
        host.answer(3, 413)
        stream.send_data(b"more", end_stream=True)
        await bench.settle()
        assert request.heard[-1] in [(b"hello", True), (413, b"hello", True)]
        assert host.resets() == [(3, 2)]
        assert host.body(3) == b"some"

    assert run(monkeypatch, scenario).stats.upstream_rq_tx_reset == 1


def test_a_slow_host_holds_up_its_own_request_only(monkeypatch):
    async def scenario(bench):
        request, host = await open_request(bench)
        other = Request()
        other.connection = bench.pool.take(other)
        other.connection.send_head(b"", end_stream=False)
        request.connection.send_head(b"x" * 100_000, end_stream=False)
        assert request.heard == ["paused"]
        assert other.heard == []
        host.send(h2.window_update(0, 1_000_000), h2.window_update(3 + 2, 1_000_000))
        await bench.settle()
        assert request.heard == ["paused", "resumed"]

    stats = run(monkeypatch, scenario, per_connection_buffer_limit_bytes=1000).stats
    assert stats.upstream_flow_control_backed_up_total == 1
    assert stats.upstream_flow_control_drained_total == 1


def test_a_slow_client_holds_up_its_own_response_only(monkeypatch):
    async def scenario(bench):
        request, host = await connected(bench)
        request.connection.pause_reading()
        for _ in range(8):
            host.send(h2.data(1, b"x" * 10_000)) if request.heard else host.send(h2.response(1))
        await bench.settle()
        credited = {frame.stream_id for frame in host.read() if frame.type == h2.WINDOW_UPDATE}
        assert 0 in credited
        assert 1 not in credited
        request.connection.resume_reading()
        await bench.settle()
        assert 1 in {frame.stream_id for frame in host.read() if frame.type == h2.WINDOW_UPDATE}

    options = {"initial_stream_window_size": 100_000, "initial_connection_window_size": 100_000}
    stats = run(monkeypatch, scenario, http2_protocol_options=options).stats
    assert stats.upstream_flow_control_paused_reading_total == 1
    assert stats.upstream_flow_control_resumed_reading_total == 1


def test_the_connection_is_described(monkeypatch):
    async def scenario(bench):
        request, _ = await connected(bench)
        info = StreamInfo.__new__(StreamInfo)
        request.connection.describe(info)
        assert info.upstream_protocol == "HTTP/2"
        assert info.upstream_connection_id == request.connection.connection_id == 1
        assert info.upstream_remote_address.port == 40000

    run(monkeypatch, scenario)
