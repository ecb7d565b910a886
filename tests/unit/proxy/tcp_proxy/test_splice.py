"""Bytes through pipes: order, back-pressure, and the way back to reading and writing."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest
import uvloop

from proxy.tcp_proxy import splice
from proxy.tcp_proxy.splice import PipeStock, Relay, begin


class End(asyncio.Protocol):
    """One transport's protocol: what it reads goes to the other's transport, as in a session."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.other: Any = None
        self.relay: Relay | None = None
        self.read = bytearray()
        self.moves = 0
        self.calls: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.read += data
        self.other.transport.write(data)

    def eof_received(self) -> bool:
        self.calls.append("eof")
        self.other.transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append(type(exc).__name__)

    def moved(self, size: int) -> None:
        self.moves += size

    def stalled(self) -> None:
        self.calls.append("stalled")

    def resumed(self) -> None:
        self.calls.append("resumed")


def _itself(end: End) -> End:
    return end


class Pair:
    """Two transports with a relay from the first to the second, and the peers of both."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.pipes = PipeStock()
        self.source, self.sink = End(), End()
        self.source.other, self.sink.other = self.sink, self.source
        self.writer, near = socket.socketpair()
        self.reader, far = socket.socketpair()
        self.writer.setblocking(False)
        self.reader.setblocking(False)
        self.inner = (near, far)

    async def open(self) -> None:
        for end, inner in zip((self.source, self.sink), self.inner, strict=True):
            await self.loop.create_connection(partial(_itself, end), sock=inner)

    def begin(self) -> Relay:
        relay = begin(self.loop, self.pipes, self.source, self.source.transport, self.sink.transport)
        assert relay is not None
        self.source.relay = relay
        return relay

    async def send(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.writer, data)

    async def receive(self, size: int) -> bytes:
        got = b""
        while len(got) < size:
            piece = await self.loop.sock_recv(self.reader, 1 << 16)
            if not piece:
                break
            got += piece
        return got

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0)

    async def close(self) -> None:
        self.writer.close()
        self.reader.close()
        for end in (self.source, self.sink):
            if end.relay is not None:
                end.relay.stop()
            end.transport.abort()
        await asyncio.sleep(0.01)


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Callable[[Pair], Awaitable[None]]], None]]:
    loop = uvloop.new_event_loop() if request.param == "uvloop" else asyncio.SelectorEventLoop()

    def runs(case: Callable[[Pair], Awaitable[None]]) -> None:
        async def whole() -> None:
            pair = Pair(loop)
            await pair.open()
            try:
                await case(pair)
            finally:
                await pair.close()

        loop.run_until_complete(asyncio.wait_for(whole(), 20))

    yield runs
    loop.close()


Run = Callable[[Callable[[Pair], Awaitable[None]]], None]


def test_bytes_pass_unread(run: Run) -> None:
    async def case(pair: Pair) -> None:
        pair.begin()
        data = os.urandom(3 << 20)
        sending = asyncio.ensure_future(pair.send(data))
        assert await pair.receive(len(data)) == data
        await sending
        assert pair.source.moves == len(data)
        assert not pair.source.read

    run(case)


def test_a_slow_reader_stops_the_sender(run: Run) -> None:
    async def case(pair: Pair) -> None:
        relay = pair.begin()
        data = os.urandom(8 << 20)
        sending = asyncio.ensure_future(pair.send(data))
        await pair.until(lambda: relay.pending > 0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert pair.source.calls == ["stalled"]
        assert pair.source.moves < 2 << 20
        assert not sending.done()
        assert await pair.receive(len(data)) == data
        await sending
        assert relay.pending == 0
        assert pair.source.calls.count("stalled") == pair.source.calls.count("resumed")

    run(case)


def test_what_is_in_the_pipe_goes_before_what_is_read_later(run: Run) -> None:
    async def case(pair: Pair) -> None:
        relay = pair.begin()
        data = os.urandom(4 << 20)
        sending = asyncio.ensure_future(pair.send(data))
        await pair.until(lambda: relay.pending > 0)
        relay.stop()
        assert pair.source.relay is None
        assert await pair.receive(len(data)) == data
        await sending
        assert pair.source.moves + len(pair.source.read) == len(data)
        assert pair.source.read

    run(case)


def test_the_end_of_the_stream_is_told_by_the_transport(run: Run) -> None:
    async def case(pair: Pair) -> None:
        pair.begin()
        await pair.send(b"last words")
        pair.writer.shutdown(socket.SHUT_WR)
        assert await pair.receive(100) == b"last words"
        assert pair.source.calls == ["eof"]
        await pair.loop.sock_sendall(pair.reader, b"an answer")
        assert await pair.loop.sock_recv(pair.writer, 100) == b"an answer"

    run(case)


def test_many_small_moves_end_the_relay(run: Run) -> None:
    async def case(pair: Pair) -> None:
        pair.begin()
        for number in range(40):
            await pair.send(b"%02d" % number)
            assert await pair.receive(2) == b"%02d" % number
        assert pair.source.relay is None
        assert pair.source.read

    run(case)


def test_a_sink_that_has_gone_ends_its_connection(run: Run) -> None:
    async def case(pair: Pair) -> None:
        pair.sink.transport.pause_reading()
        pair.begin()
        pair.reader.close()
        await pair.send(b"to nobody")
        await pair.until(lambda: bool(pair.sink.calls))
        assert pair.sink.calls == ["BrokenPipeError"]

    run(case)


def test_no_relay_begins_behind_bytes_that_wait_or_on_other_transports(run: Run) -> None:
    async def case(pair: Pair) -> None:
        pair.sink.transport.write(bytes(4 << 20))
        source, sink = pair.source.transport, pair.sink.transport
        assert begin(pair.loop, pair.pipes, pair.source, source, sink) is None
        assert begin(pair.loop, pair.pipes, pair.source, object(), sink) is None
        assert begin(pair.loop, pair.pipes, pair.source, sink, object()) is None

    run(case)


def test_without_pipes_bytes_are_read_and_written(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splice, "_MOST_PIPES", 0)

    async def case(pair: Pair) -> None:
        pair.begin()
        await pair.send(b"hello")
        assert await pair.receive(5) == b"hello"
        assert pair.source.relay is None

    run(case)


def test_an_empty_pipe_is_lent_again() -> None:
    pipes = PipeStock()
    pipe = pipes.take()
    pipes.give_back(pipe, empty=True)
    assert pipes.take() == pipe
    pipes.give_back(pipe, empty=False)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(pipe[0])
