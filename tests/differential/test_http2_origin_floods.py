"""The floods of test_http2_floods.py from the other side: by an HTTP/2 origin."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import http2_frames as h2
from tests.support.differential import Pair, Side, pair_fixture
from tests.support.http2_floods import (
    CONTROL_FRAMES,
    HELLO,
    LISTENERS,
    agree,
    bomb,
    connect,
    flood_config,
    never,
)
from tests.support.http2_frames import Code
from tests.support.http2_origin import Http2Answer, Http2Origin, Http2Script, OriginStream

pair = pair_fixture(flood_config(), origins={"origin": Http2Origin}, listeners=LISTENERS)


def raw(*frames: Callable[[OriginStream], bytes]) -> Callable[[OriginStream], None]:
    """Send what the frames are for the stream."""

    def play(stream: OriginStream) -> None:
        stream.connection.send([make(stream) for make in frames])

    return play


def upstream(pair: Pair, script: Http2Script, name: str = "plain") -> Any:
    """A request that meets the script; then one more, which tells whether the connection lived."""

    def scenario(side: Side) -> Any:
        before = len(side.origin.connections)
        with connect(side, name) as client:
            client.request(1)
            first = client.verdict()
            time.sleep(0.05)
            lines = side.proxy.access_log(1)[-1:]
            side.origin.script(Http2Answer())
            client.request(3)
            return first, client.verdict(), len(side.origin.connections) - before, lines

    def run(side: Side) -> None:
        """Both start with one connection, and a fresh one, whose counts begin at nothing."""
        side.origin.close_connections()
        side.origin.script(HELLO)
        time.sleep(0.05)
        with connect(side, name) as client:
            client.request(1)

    pair.both(run)
    return agree(pair, scenario, script)


OK = h2.response


@pytest.mark.parametrize("count", [5, 20])
@pytest.mark.parametrize("own", [False, True], ids=["connection", "stream"])
def test_window_updates_from_an_origin(pair: Pair, own: bool, count: int) -> None:
    def update(stream: OriginStream) -> bytes:
        return h2.window_update(stream.id if own else 0, 1)

    upstream(pair, raw(*[update] * count, lambda stream: OK(stream.id, end=True)))


@pytest.mark.parametrize("name", ["plain", "strict"])
def test_empty_headers_from_an_origin(pair: Pair, name: str) -> None:
    upstream(pair, raw(lambda stream: h2.headers(stream.id, b"")), name)


@pytest.mark.parametrize("count", [1, 2])
def test_empty_continuations_from_an_origin(pair: Pair, count: int) -> None:
    frames: list[Callable[[OriginStream], bytes]] = [
        lambda stream: h2.headers(stream.id, b"", end_headers=False)
    ]
    frames += [lambda stream: h2.continuation(stream.id, end_headers=False)] * count
    upstream(pair, raw(*frames, lambda stream: h2.continuation(stream.id, h2.encode([(":status", "200")]))))


@pytest.mark.parametrize("count", [1, 2])
def test_empty_data_from_an_origin(pair: Pair, count: int) -> None:
    frames: list[Callable[[OriginStream], bytes]] = [lambda stream: OK(stream.id)]
    frames += [lambda stream: h2.data(stream.id)] * count
    upstream(pair, raw(*frames, lambda stream: h2.data(stream.id, b"x", end=True)))


@pytest.mark.parametrize("name", ["plain", "lenient"])
def test_a_field_without_a_name_from_an_origin(pair: Pair, name: str) -> None:
    upstream(pair, raw(lambda stream: OK(stream.id, fields=[("", "x")], end=True)), name)


@pytest.mark.parametrize("answered", ["no", "head", "whole"])
@pytest.mark.parametrize("count", [150, 2000])
def test_priority_from_an_origin(pair: Pair, answered: str, count: int) -> None:
    def play(stream: OriginStream) -> None:
        flood = [h2.priority(stream.id, stream.id + 2)] * count
        if answered != "no":
            flood.insert(0, OK(stream.id, end=answered == "whole"))
        stream.connection.send(flood)
        if answered == "no":
            stream.connection.send(OK(stream.id, end=True))
        elif answered == "head":
            stream.connection.send(h2.data(stream.id, b"x", end=True))

    upstream(pair, play)


@pytest.mark.parametrize("references", [10, 90, 12000])
def test_a_header_bomb_from_an_origin(pair: Pair, references: int) -> None:
    head = h2.encode([(":status", "200")]) + bomb(references)[len(h2.request(1)) - 9 :]
    upstream(pair, raw(lambda stream: h2.headers(stream.id, head, end=True)))


def test_many_informational_answers(pair: Pair) -> None:
    frames = [lambda stream: OK(stream.id, 103)] * 300
    upstream(pair, raw(*frames, lambda stream: OK(stream.id, end=True)))


@pytest.mark.parametrize("frame", [h2.ping(), h2.settings()], ids=["ping", "settings"])
def test_acknowledgements_that_no_origin_reads(pair: Pair, frame: bytes) -> None:
    def play(stream: OriginStream) -> None:
        if stream.path != "/upload":
            stream.answer(Http2Answer())
            return
        stream.connection.pause()
        stream.wait(lambda view: False, 1.5)
        stream.connection.send([frame] * (CONTROL_FRAMES + 20))
        time.sleep(0.3)
        stream.connection.resume()

    def scenario(side: Side) -> Any:
        with connect(side) as client:
            client.send(h2.request(1, "/upload", method="POST", end=False))
            client.settle()
            deadline = time.monotonic() + 1.2
            client.socket.settimeout(0.2)
            with contextlib.suppress(OSError):
                for _ in range(600):
                    if time.monotonic() > deadline:
                        break
                    client.send(h2.data(1, b"x" * 16384))
            client.until(lambda client: client.stream(1).done, 4)
            return client.stream(1).status, client.stream(1).end

    def fresh(side: Side) -> None:
        side.origin.close_connections()
        time.sleep(0.1)

    pair.both(fresh)
    agree(pair, scenario, play)


def test_a_client_that_leaves_does_not_flood_the_origin(pair: Pair) -> None:
    count = 80

    def scenario(side: Side) -> Any:
        with connect(side) as client:
            client.request(1, "/small")
            connections = len(side.origin.connections)
            side.origin.script(never)
            client.send([h2.request(2 * number + 3) for number in range(count)])
            streams = side.origin.wait_for_requests(count)
        deadline = time.monotonic() + 3
        while any(stream.view.reset is None for stream in streams) and time.monotonic() < deadline:
            time.sleep(0.02)
        resets = sorted({str(stream.view.reset) for stream in streams})
        with connect(side) as client:
            side.origin.script(Http2Answer())
            client.request(1)
            return resets, len(side.origin.connections) - connections, client.stream(1).status

    assert agree(pair, scenario)[1:] == (0, 200)


def test_a_reset_and_a_goaway_at_once(pair: Pair) -> None:
    upstream(
        pair,
        raw(lambda stream: h2.rst_stream(stream.id, Code.NO_ERROR) + h2.goaway(stream.id, Code.NO_ERROR)),
    )
