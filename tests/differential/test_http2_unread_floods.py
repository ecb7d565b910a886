"""Floods by HTTP/2 clients that do not read: what queues up for them is limited, as in Envoy."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import http2_frames as h2
from tests.support.differential import Pair, Side, pair_fixture
from tests.support.http2_client import Http2Client
from tests.support.http2_floods import (
    BIG_WINDOWS,
    CODEC_STATS,
    CONTROL_FRAMES,
    FRAMES,
    LISTENERS,
    OPEN_CONNECTION,
    agree,
    connect,
    flood_config,
)
from tests.support.http2_origin import Http2Answer, Http2Origin, OriginStream

pair = pair_fixture(flood_config(), origins={"origin": Http2Origin}, listeners=LISTENERS)


def big(stream: OriginStream) -> None:
    """Endless data for `/big` (or 64 KiB so many times), small answers for everything else, as the path says."""
    kind, _, count = stream.path.strip("/").partition("/")
    if kind == "big":
        stream.head()
        chunk = b"x" * 65536
        left = int(count or 10_000)
        while left and stream.data(chunk, timeout=3) == len(chunk):
            left -= 1
    elif kind == "data":
        stream.head()
        for _ in range(int(count)):
            stream.connection.send(h2.data(stream.id, b"x"))
        stream.data(b"", end=True)
    elif kind == "trailers":
        stream.head()
        stream.trailers([("x", "y")])
    elif kind == "never":
        pass
    else:
        stream.answer(Http2Answer(body=None))


@contextlib.contextmanager
def clogged(side: Side, name: str) -> Iterator[Http2Client]:
    """A client whose connection cannot take another byte from the proxy."""
    with connect(side, name, settings=BIG_WINDOWS, receive_buffer=4096) as client:
        client.send(OPEN_CONNECTION)
        client.settle()
        # Without a limit of the connection's buffer the queue must stay below the limit of frames.
        client.send(h2.request(1, "/big/128" if name == "wide" else "/big"))
        total, still = -1, 0
        deadline = time.monotonic() + 6
        while still < 4 and time.monotonic() < deadline:
            now = side.proxy.stats()["http.ingress.downstream_cx_tx_bytes_total"]
            still = still + 1 if now == total else 0
            total = now
            time.sleep(0.03)
        yield client


def end_of(side: Side, client: Http2Client, counter: str, before: int, seconds: float) -> tuple[int, str]:
    """How far the counter came when the flood was over, and whether the connection was ended."""
    deadline = time.monotonic() + seconds
    while (grown := side.proxy.stats().get(counter, 0) - before) == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    if grown:
        client.credit = False
        client.read_to_end(5)
    return grown, "open" if client.end == "open" else "closed"


def flood_unread(
    pair: Pair,
    counter: str,
    flood: Callable[[Side, Http2Client], None],
    name: str = "plain",
    seconds: float = 3,
) -> Any:
    def scenario(side: Side) -> Any:
        before = side.proxy.stats().get(counter, 0)
        with clogged(side, name) as client:
            flood(side, client)
            return end_of(side, client, counter, before, seconds)

    return agree(pair, scenario, big, CODEC_STATS)


CONTROL, ANY = "http2.outbound_control_flood", "http2.outbound_flood"


@pytest.mark.parametrize("frame", [h2.ping(), h2.settings()], ids=["ping", "settings"])
@pytest.mark.parametrize("count", [CONTROL_FRAMES // 2, CONTROL_FRAMES + 10])
def test_acknowledgements_that_nobody_reads(pair: Pair, frame: bytes, count: int) -> None:
    def flood(side: Side, client: Http2Client) -> None:
        client.send([frame] * count)

    outcome = flood_unread(pair, CONTROL, flood, seconds=3 if count > CONTROL_FRAMES else 0.5)
    assert outcome == ((1, "closed") if count > CONTROL_FRAMES else (0, "open"))


def test_resets_that_nobody_reads(pair: Pair) -> None:
    def flood(side: Side, client: Http2Client) -> None:
        client.send([h2.request(2 * number + 1, fields=[("", "x")]) for number in range(1, 130)])

    assert flood_unread(pair, CONTROL, flood, "lenient") == (1, "closed")


@pytest.mark.parametrize(
    ("authority", "path"), [("b", "/"), ("a", "/small"), ("a", "/trailers")], ids=["404", "200", "trailers"]
)
def test_answers_that_nobody_reads(pair: Pair, authority: str, path: str) -> None:
    def flood(side: Side, client: Http2Client) -> None:
        for number in range(1, FRAMES + 60):
            client.send(h2.request(2 * number + 1, path, authority=authority))
            if number % 50 == 0:
                time.sleep(0.01)

    assert flood_unread(pair, ANY, flood, "wide") == (1, "closed")


def test_many_small_pieces_that_nobody_reads(pair: Pair) -> None:
    def flood(side: Side, client: Http2Client) -> None:
        client.send(h2.request(3, f"/data/{FRAMES + 60}"))

    assert flood_unread(pair, ANY, flood, "wide") == (1, "closed")
