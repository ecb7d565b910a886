"""Floods and abuse by HTTP/2 clients, those of Envoy's own tests: who is cut off, how, what is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support import http2_frames as h2
from tests.support.differential import Pair, Side, pair_fixture
from tests.support.http2_client import Http2Client
from tests.support.http2_floods import (
    BIG_WINDOWS,
    HELLO,
    LISTENERS,
    OPEN_CONNECTION,
    agree,
    bomb,
    connect,
    flood_config,
    never,
)
from tests.support.http2_origin import Http2Answer, Http2Origin, Http2Script

pair = pair_fixture(flood_config(), origins={"origin": Http2Origin}, listeners=LISTENERS)


def attack(
    pair: Pair,
    *frames: bytes,
    name: str = "plain",
    before: Callable[[Http2Client], Any] | None = None,
    script: Http2Script = HELLO,
    wait: bool = False,
) -> Any:
    """Send frames, then look whether the connection still answers a PING; who ended what.

    With `wait` stream 1 is going to be answered or reset.
    """

    def scenario(side: Side) -> Any:
        with connect(side, name, settings=BIG_WINDOWS) as client:
            client.send(OPEN_CONNECTION)
            if before is not None:
                before(client)
            client.send(frames)
            if wait:
                client.read(1, timeout=2)
            alive = client.settle()
            return alive, _without_reset(client)

    return agree(pair, scenario, script)


def _without_reset(client: Http2Client) -> tuple[object, ...]:
    """The verdict; whether unread bytes turn the close into a TCP reset is a matter of luck."""
    streams, goaways, end = client.verdict()
    return streams, goaways, "open" if end == "open" else "closed"


def cut(outcome: Any) -> bool:
    """The connection did not survive."""
    return outcome[1][2] == "closed"


POST = h2.request(1, method="POST", end=False)


# -- frames that mean nothing


def test_pings_of_a_client_that_reads(pair: Pair) -> None:
    def scenario(side: Side) -> Any:
        with connect(side) as client:
            alive = [client.send([h2.ping()] * 50) and client.settle() for _ in range(40)]
            return all(alive), len(client.acked_pings), client.end

    assert agree(pair, scenario) == (True, 40 * 51, "open")


@pytest.mark.parametrize("count", [100, 101])
def test_priority_before_any_stream(pair: Pair, count: int) -> None:
    outcome = attack(pair, *[h2.priority(1, 3)] * count)
    assert cut(outcome) == (count > 100)


@pytest.mark.parametrize("count", [200, 201])
def test_priority_of_an_open_stream(pair: Pair, count: int) -> None:
    outcome = attack(pair, POST, *[h2.priority(1, 3)] * count, script=never)
    assert cut(outcome) == (count > 200)


@pytest.mark.parametrize("count", [99, 100, 101, 200, 201])
def test_priority_of_a_closed_stream(pair: Pair, count: int) -> None:
    attack(pair, *[h2.priority(1, 3)] * count, before=lambda client: client.request(1))


@pytest.mark.parametrize("count", [6, 7, 8])
@pytest.mark.parametrize("stream_id", [0, 1])
def test_window_updates_without_data(pair: Pair, stream_id: int, count: int) -> None:
    # One update of the connection has been sent by then.
    updates = [h2.window_update(stream_id, 1)] * count

    def scenario(side: Side) -> Any:
        with connect(side) as client:
            client.send([POST, *updates])
            return client.settle(), _without_reset(client)

    assert cut(agree(pair, scenario, never)) == (count > 7)


def test_window_updates_for_each_frame_of_data_are_welcome(pair: Pair) -> None:
    def scenario(side: Side) -> Any:
        with connect(side) as client:
            client.request(1)
            return len(client.streams[1].body), client.streams[1].end

    answer = Http2Answer(body=[b"x" * 1000] * 400)
    assert agree(pair, scenario, answer) == (400_000, "ended")


@pytest.mark.parametrize(
    "frames",
    [
        [h2.data(1)],
        [h2.data(1), h2.data(1)],
        [h2.data(1, padding=10), h2.data(1, padding=10)],
        [h2.data(1, padding=0), h2.data(1, padding=255)],
        [h2.data(1), h2.data(1, b"x")] * 20,
        [h2.data(1), h2.ping(), h2.data(1), h2.ping()],
        [h2.data(1), h2.data(1, end=True)],
        [h2.data(1, end=True), h2.request(3, method="POST", end=False), h2.data(3), h2.data(3)],
        [h2.request(3, method="POST", end=False), h2.data(1), h2.data(3)],
    ],
    ids=["one", "two", "padded", "padding", "between", "pings", "end", "next", "across"],
)
def test_empty_data(pair: Pair, frames: list[bytes]) -> None:
    attack(pair, POST, *frames, script=never)


@pytest.mark.parametrize("name", ["plain", "strict"])
def test_empty_data_that_ends_a_stream(pair: Pair, name: str) -> None:
    outcome = attack(pair, POST, h2.data(1, end=True), name=name, wait=True)
    assert not cut(outcome)


@pytest.mark.parametrize("name", ["plain", "strict"])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_empty_headers_and_continuations(pair: Pair, name: str, count: int) -> None:
    frames = [h2.headers(1, b"", end_headers=False), *[h2.continuation(1, end_headers=False)] * count]
    attack(pair, *frames, name=name)


def test_empty_continuations_between_full_ones(pair: Pair) -> None:
    block = h2.request(1)[9:]
    frames = [h2.headers(1, block, end=True, end_headers=False)]
    frames += [h2.continuation(1, end_headers=False), h2.continuation(1, end_headers=True)]
    attack(pair, *frames, wait=True)


def test_unknown_frames_are_ignored(pair: Pair) -> None:
    assert not cut(attack(pair, *[h2.frame(99, 0, 1, b"x" * 100)] * 5000))


def test_many_settings_of_a_client_that_reads(pair: Pair) -> None:
    assert not cut(attack(pair, *[h2.settings({h2.INITIAL_WINDOW_SIZE: 100_000})] * 90))


# -- header blocks


@pytest.mark.parametrize("name", ["plain", "lenient"])
def test_a_field_without_a_name(pair: Pair, name: str) -> None:
    outcome = attack(pair, h2.request(1, fields=[("", "x")]), name=name, wait=True)
    assert cut(outcome) == (name == "plain")


@pytest.mark.parametrize("name", ["plain", "picky", "lenient"])
@pytest.mark.parametrize("references", [0, 10, 90, 1000, 12000])
def test_a_headerbomb(pair: Pair, references: int, name: str) -> None:
    attack(pair, h2.headers(1, bomb(references), end=True), name=name, wait=True)


@pytest.mark.parametrize("frames", [3, 5, 20, 100])
def test_continuations_without_end(pair: Pair, frames: int) -> None:
    piece = h2.encode([("x-filler", "y" * 8000)] * 2)
    attack(
        pair,
        h2.headers(1, h2.request(1)[9:], end_headers=False),
        *[h2.continuation(1, piece, end_headers=False)] * frames,
        h2.continuation(1),
    )


@pytest.mark.parametrize("count", [96, 97, 200, 5000])
def test_too_many_fields(pair: Pair, count: int) -> None:
    block = h2.request(1)[9:] + h2.encode([("x", "y")]) * count
    pieces = [block[at : at + 16000] for at in range(0, len(block), 16000)]
    frames = [h2.headers(1, pieces[0], end=True, end_headers=len(pieces) == 1)]
    frames += [h2.continuation(1, piece, end_headers=piece is pieces[-1]) for piece in pieces[1:]]
    attack(pair, *frames, wait=True)


# -- streams opened and thrown away


@pytest.mark.parametrize("count", [200, 600])
def test_rapid_resets(pair: Pair, count: int) -> None:
    def scenario(side: Side) -> Any:
        with connect(side, "roomy") as client:
            for number in range(count):
                stream_id = 2 * number + 1
                client.send(h2.request(stream_id) + h2.rst_stream(stream_id))
            alive = client.settle()
            return alive, client.verdict()[1], client.end != "open"

    outcome = agree(pair, scenario, never)
    assert outcome[2] == (count > 500)


@pytest.mark.parametrize("count", [50, 600])
def test_resets_provoked_from_the_proxy(pair: Pair, count: int) -> None:
    """Made you reset: each stream is made to fail by what the client sends after its end."""

    def scenario(side: Side) -> Any:
        with connect(side) as client:
            for number in range(count):
                stream_id = 2 * number + 1
                bad = h2.request(stream_id, method="POST", fields=[("content-length", "1")], end=False)
                client.send(bad + h2.data(stream_id, b"four", end=True))
                if number % 50 == 49 and not client.settle():
                    break
            return client.settle(), client.verdict()[1], client.end != "open"

    agree(pair, scenario, never)


def test_more_streams_than_allowed(pair: Pair) -> None:
    frames = [h2.request(number) for number in (1, 3, 5, 7)]
    attack(pair, *frames, name="few", script=never)


# -- time


def test_a_stalled_stream_times_out(pair: Pair) -> None:
    """A window of zero holds the answer back; the stream is given up, the connection stays."""

    def scenario(side: Side) -> Any:
        with connect(side, "hasty", settings={h2.INITIAL_WINDOW_SIZE: 0}) as client:
            client.send(h2.request(1))
            client.until(lambda client: client.stream(1).done, 3)
            return client.settle(), client.verdict()

    assert agree(pair, scenario)[1][0][1][1].endswith("reset INTERNAL_ERROR")


def test_many_stalled_streams_time_out(pair: Pair) -> None:
    numbers = range(1, 120, 2)

    def scenario(side: Side) -> Any:
        with connect(side, "hasty", settings={h2.INITIAL_WINDOW_SIZE: 0}) as client:
            client.send([h2.request(number) for number in numbers])
            client.read(*numbers, timeout=4)
            return client.settle(), client.verdict()

    agree(pair, scenario)


def test_a_client_that_answers_no_ping_is_left(pair: Pair) -> None:
    def scenario(side: Side) -> Any:
        with connect(side, "pinging", answer_pings=False) as client:
            client.request(1)
            client.read_to_end(3)
            return client.verdict()

    assert agree(pair, scenario)[2] == "closed"


def test_an_idle_connection_is_told(pair: Pair) -> None:
    def scenario(side: Side) -> Any:
        with connect(side, "idle") as client:
            client.request(1)
            client.read_to_end(3)
            return client.verdict()

    assert agree(pair, scenario)[1][0] == (h2.MAX_WINDOW, "NO_ERROR")
