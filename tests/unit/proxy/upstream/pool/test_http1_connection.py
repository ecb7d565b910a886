"""What a connection makes of what the origin sends."""

import asyncio

import pytest

from proxy.upstream.pool.api import ResetReason
from tests.support.cluster_messages import compiled, endpoint
from tests.support.upstream_pool import Bench, Request

HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


def heard(monkeypatch, pieces, request=None, lose=False, error=None):
    """What a request hears, and the transport."""
    result = []

    async def scenario():
        bench = Bench(monkeypatch, compiled(endpoint()))
        sent = await bench.request(request)
        transport = bench.opened[0]
        for piece in pieces:
            transport.feed(piece)
        if lose:
            transport.lose(error)
        result.extend((sent.heard, transport))

    asyncio.run(scenario())
    return result


def bytewise(data):
    return [data[at : at + 1] for at in range(len(data))]


def joined(events):
    """The events with the body in one piece: (status, body, ended)."""
    status, body, ended = events[0]
    for event in events[1:]:
        if isinstance(event, tuple):
            body += event[0]
            ended = event[1]
    return status, body, ended


@pytest.mark.parametrize(
    "answer",
    [
        HELLO,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x\r\nllo\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\ncontent-length: 5\n\nhello",
    ],
)
def test_a_response_is_the_same_in_any_pieces(monkeypatch, answer):
    for pieces in ([answer], bytewise(answer), [answer[:20], answer[20:]]):
        events, _ = heard(monkeypatch, pieces)
        assert joined(events) == (200, b"hello", True)


def test_a_response_seen_before_takes_the_short_way_with_the_same_outcome(monkeypatch):
    async def scenario():
        bench = Bench(monkeypatch, compiled(endpoint()))
        for answer in (HELLO, HELLO, HELLO.replace(b"hello", b"world"), HELLO + b"x"):
            request = await bench.request()
            bench.opened[-1].feed(answer)
            assert request.heard == [(200, answer[-5:] if answer[-1:] != b"x" else b"hello", True)]
        assert bench.opened[-1].closed

    asyncio.run(scenario())


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("status", [200, 204, 304])
def test_responses_without_a_body(monkeypatch, method, status):
    if (method, status) == ("GET", 200):
        return
    events, transport = heard(
        monkeypatch,
        [b"HTTP/1.1 %d X\r\n%b\r\n" % (status, b"" if status == 204 else b"content-length: 5\r\n")],
        Request(method),
    )
    assert events == [(status, b"", True)]
    assert not transport.closed


def test_a_body_until_close(monkeypatch):
    events, _ = heard(monkeypatch, [b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo"], lose=True)
    assert joined(events) == (200, b"hello", True)
    events, _ = heard(monkeypatch, [b"HTTP/1.1 200 OK\r\n\r\nhel"], lose=True, error=ConnectionResetError())
    assert events[-1] is ResetReason.CONNECTION_TERMINATION


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
@pytest.mark.parametrize("at", [*range(1, len(HELLO))])
def test_a_message_that_is_cut_is_a_protocol_error(monkeypatch, at, error):
    events, _ = heard(monkeypatch, [HELLO[:at]], lose=True, error=error)
    assert events[-1] is ResetReason.PROTOCOL_ERROR


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
def test_silence_is_only_a_close(monkeypatch, error):
    events, _ = heard(monkeypatch, [], lose=True, error=error)
    assert events == [ResetReason.CONNECTION_TERMINATION]


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage",
        b"\r\n",
        b"HTTP/1.1 abc\r\n",
        b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        b"HTTP/1.1 204 X\r\ncontent-length: 5\r\n\r\n",
        b"HTTP/1.1 100 X\r\n\r\n" * 101,
        b"HTTP/1.1 200 OK\r\nx: " + b"v" * 100_000,
    ],
)
def test_broken_responses_end_the_connection_at_once(monkeypatch, answer):
    events, transport = heard(monkeypatch, [answer])
    assert events[-1] is ResetReason.PROTOCOL_ERROR
    assert transport.aborted


def test_interim_responses_come_before_the_response(monkeypatch):
    events, _ = heard(monkeypatch, [b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\nlink: x\r\n\r\n" + HELLO])
    assert events == [100, 103, (200, b"hello", True)]


def test_trailers(monkeypatch):
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"
    events, transport = heard(monkeypatch, [answer])
    assert joined(events) == (200, b"hello", True)
    assert not transport.closed


def test_broken_trailers_come_after_the_body(monkeypatch):
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nbroken\r\n\r\n"
    events, _ = heard(monkeypatch, [answer])
    assert events == [(200, b"hello", False), ResetReason.PROTOCOL_ERROR]


def test_an_upgrade_opens_a_tunnel(monkeypatch):
    switch = b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nearly"
    events, _ = heard(monkeypatch, [switch, b"HTTP/1.1 \x00"], Request(upgrading="websocket"))
    assert events == [(101, b"early", False), (b"HTTP/1.1 \x00", False)]


def test_connect_opens_a_tunnel(monkeypatch):
    events, _ = heard(monkeypatch, [b"HTTP/1.1 200 X\r\n\r\n", b"bytes"], Request("CONNECT"))
    assert events == [(200, b"", False), (b"bytes", False)]


def test_reading_is_paused_as_long_as_anybody_asks(monkeypatch):
    async def scenario():
        bench = Bench(monkeypatch, compiled(endpoint()))
        request = await bench.request()
        connection, transport = request.connection, bench.opened[0]
        connection.pause_reading()
        connection.pause_reading()
        connection.resume_reading()
        assert not transport.reading
        connection.resume_reading()
        assert transport.reading
        connection.pause_reading()
        transport.feed(HELLO)
        assert transport.reading

    asyncio.run(scenario())


def test_a_slow_origin_is_told_to_the_request(monkeypatch):
    async def scenario():
        bench = Bench(monkeypatch, compiled(endpoint(), per_connection_buffer_limit_bytes=1000))
        request = await bench.request()
        assert bench.opened[0].high_water == 1000
        bench.opened[0].protocol.pause_writing()
        bench.opened[0].protocol.resume_writing()
        assert request.heard == ["paused", "resumed"]

    asyncio.run(scenario())


def test_an_abandoned_request_ends_its_connection(monkeypatch):
    async def scenario():
        bench = Bench(monkeypatch, compiled(endpoint()))
        request = await bench.request()
        request.connection.abandon()
        bench.opened[0].feed(HELLO)
        bench.opened[0].lose()
        assert request.heard == []
        assert bench.opened[0].closed or bench.opened[0].aborted

    asyncio.run(scenario())
