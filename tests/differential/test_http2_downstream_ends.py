"""HTTP/2 clients: how connections begin, what takes too long, and how connections and streams end."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.support import http2_frames as h2
from tests.support.differential import Pair, Side
from tests.support.http2_client import Http2Client, exchange
from tests.support.http2_downstream import (
    BROKEN,
    IGNORED,
    SLOW,
    UUID,
    case,
    fixture,
    one,
    same,
    told,
)
from tests.support.origin import HELLO, Script

pair = fixture()


@pytest.mark.parametrize("listener", ["plain", "http1", "http2"])
@pytest.mark.parametrize("size", [1, 10, 11, 12, 20, 24])
def test_the_version_is_told_from_the_first_read(pair: Pair, listener: str, size: int) -> None:
    whole = h2.PREFACE + h2.settings() + h2.request(1)

    def sent(side: Side) -> Any:
        side.origin.script(HELLO)
        client = Http2Client(side.proxy.ports[listener], start=False, timeout=1.0)
        with client:
            client.send(whole[:size])
            time.sleep(0.05)
            client.send(whole[size:])
            client.receive(time.monotonic() + 1.0)
            begin = bytes(client._reader.rest[:12])
            if not begin.startswith(b"HTTP/"):
                client.read(1)
            return begin, client.verdict()

    pair.same_value("version", sent, settle=0)


def test_a_connection_of_one_request_after_the_other(pair: Pair) -> None:
    frames = b"".join(h2.request(number) for number in (1, 3))
    same(
        pair,
        [
            case("limit of requests", [frames, h2.request(5)], 1, 3, 5, listener="two_requests"),
        ],
    )


@pytest.mark.parametrize("listener", ["two_requests", "idle", "old"])
def test_draining(pair: Pair, listener: str) -> None:
    frames = b"".join(h2.request(number) for number in (1, 3))

    def drained(side: Side) -> Any:
        side.origin.script(HELLO)
        client = exchange(side.proxy.ports[listener], frames, timeout=3.0)
        return told(client), [last for last, _, _ in client.goaways]

    names = [f"http.{listener}.downstream_cx_", "http2.goaway_sent"]
    with pair.same_stats(*names, ignore=IGNORED):
        pair.same_value("drain", drained, settle=0)


def test_a_stream_opened_while_draining_is_served(pair: Pair) -> None:
    def drained(side: Side) -> Any:
        side.origin.script(HELLO)
        with Http2Client(side.proxy.ports["old"], timeout=2.0) as client:
            client.request(1)
            client.until(lambda client: bool(client.goaways))
            client.request(3)
            client.until(lambda client: len(client.goaways) > 1)
            client.send(h2.request(5))
            client.read_to_end(1.0)
            return told(client)

    pair.same_value("drain", drained, settle=0)


def test_an_idle_connection_without_a_byte(pair: Pair) -> None:
    def silent(side: Side) -> Any:
        client = exchange(side.proxy.ports["idle"], b"", start=False, timeout=2.0)
        return client.end, client.frames

    # Here a connection counts for HTTP/1 before its first byte.
    with pair.same_stats("http.idle.", ignore=(*IGNORED, "http.idle.downstream_cx_http1_total")):
        pair.same_value("silence", silent, settle=0)


@pytest.mark.parametrize("answers", [True, False])
def test_keepalive(pair: Pair, answers: bool) -> None:
    def pinged(side: Side) -> Any:
        with Http2Client(side.proxy.ports["pings"], timeout=1.0, answer_pings=answers) as client:
            client.read_to_end(0.5)
            pings = [frame for frame in client.frames if frame.type == h2.PING]
            return client.end, len(pings) > 2

    with pair.same_stats("http2.keepalive_timeout", "http.pings.downstream_cx_destroy_", ignore=IGNORED):
        pair.same_value("pings", pinged, settle=0)


def test_timeouts(pair: Pair) -> None:
    head = h2.request(1, end=False)
    part = h2.headers(1, one()[9:], end=True, end_headers=False)
    cases = [
        case("route", one(path="/timeout"), script=SLOW),
        case("route, response begun", one(path="/timeout"), script=BROKEN),
        case("route, gRPC", one(("content-type", "application/grpc"), path="/timeout"), script=SLOW),
        case("request", head, listener="hasty"),
        case("head", part, listener="hasty"),
        case("idle, unfinished", head, listener="idle_streams"),
        case("idle", one(), listener="idle_streams", script=SLOW),
        case("idle, response begun", one(), listener="idle_streams", script=BROKEN),
        case("duration", one(), listener="short_streams", script=SLOW),
        case("duration, unfinished", head, listener="short_streams"),
        case("duration, response begun", one(), listener="short_streams", script=BROKEN),
    ]
    names = [f"http.{name}.downstream_rq_" for name in ("plain", "hasty", "idle_streams", "short_streams")]
    with pair.same_stats(*names, "http2.tx_reset", ignore=IGNORED):
        same(pair, cases)


def test_clients_that_give_up(pair: Pair) -> None:
    def given_up(*frames: bytes, script: Script = SLOW) -> None:
        def play_it(side: Side) -> Any:
            side.origin.script(script)
            with Http2Client(side.proxy.ports["plain"], timeout=1.0) as client:
                client.send(h2.request(1, "/given_up"))
                time.sleep(0.1)
                client.send(frames)
                client.settle(0.3)
                return told(client)

        pair.same_value("given up", play_it, settle=0)

    names = ("http.plain.downstream_rq_", "http.plain.downstream_cx_destroy", "http2.rx_reset")
    with pair.same_stats(*names, ignore=IGNORED):
        for code in (0, 2, 7, 8):
            given_up(h2.rst_stream(1, code))
        given_up(h2.rst_stream(1), script=BROKEN)
        given_up(h2.goaway())
        given_up()
    time.sleep(0.5)
    pair.same_log(7, lambda line: UUID.sub("<uuid>", line))


def test_settings(pair: Pair) -> None:
    def read(side: Side) -> Any:
        found = {}
        for name in ("plain", "tuned", "lenient"):
            with Http2Client(side.proxy.ports[name], timeout=1.0) as client:
                client.settle()
                updates = [frame.payload for frame in client.frames if frame.type == h2.WINDOW_UPDATE]
                found[name] = client.settings, updates
        return found

    pair.same_value("settings", read, settle=0)


def test_streams_over_the_limit(pair: Pair) -> None:
    frames = [h2.request(number) for number in (1, 3, 5)]

    def crowd(side: Side) -> Any:
        side.origin.script(SLOW)
        with Http2Client(side.proxy.ports["tuned"], timeout=2.0) as client:
            client.settle()
            client.send(frames)
            client.read_to_end(0.7)
            return client.verdict()

    pair.same_value("crowd", crowd, settle=0)


def test_streams_that_fall_with_their_connection(pair: Pair) -> None:
    bad = {
        "malformed head": h2.request(5, fields=[("Upper", "x")]),
        "malformed frame": h2.frame(h2.PING, payload=b"short"),
        "wrong state": h2.rst_stream(9),
    }
    first = h2.request(1, "/1") + h2.request(3, "/3", method="POST", end=False)
    cases = [case(name, [first, frame], 1, 3, script=SLOW) for name, frame in bad.items()]
    names = ("http.plain.downstream_rq_rx_reset", "http.plain.downstream_cx_", "http2.rx_messaging_error")
    with pair.same_stats(*names, ignore=IGNORED):
        same(pair, cases)


def test_a_client_that_finishes_sending_has_left(pair: Pair) -> None:
    def half(side: Side) -> Any:
        side.origin.script(SLOW)
        with Http2Client(side.proxy.ports["plain"], timeout=1.0) as client:
            client.settle()
            client.send(h2.request(1))
            time.sleep(0.1)
            client.half_close()
            client.read_to_end(1.0)
            return client.summary()

    pair.same_value("half", half, settle=0)
