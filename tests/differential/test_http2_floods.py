"""Every flood and abuse of HTTP/2 that Envoy's own tests know: who is cut off, how it is told, what is counted.

Limits are lower than the defaults, so that a case is over soon.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import http2_frames as h2
from tests.support.compare import Difference
from tests.support.configs import (
    Json,
    bootstrap,
    connection_manager,
    file_log,
    http2_cluster,
    listener,
    route,
    virtual_host,
)
from tests.support.differential import Pair, Side
from tests.support.http2_client import Http2Client
from tests.support.http2_frames import Code
from tests.support.http2_origin import Http2Answer, Http2Origin, Http2Script, OriginStream

FRAMES, CONTROL_FRAMES = 1000, 100
LIMITS = {"max_outbound_frames": FRAMES, "max_outbound_control_frames": CONTROL_FRAMES}
LISTENERS = ("plain", "strict", "lenient", "hasty", "idle", "pinging", "few", "picky", "wide", "roomy")
COUNTERS = (
    "dropped_headers_with_underscores",
    "header_overflow",
    "inbound_empty_frames_flood",
    "inbound_priority_frames_flood",
    "inbound_window_update_frames_flood",
    "keepalive_timeout",
    "outbound_control_flood",
    "outbound_flood",
    "rx_messaging_error",
    "stream_refused_errors",
    "tx_flush_timeout",
)
CODEC_STATS = tuple(f"http2.{name}" for name in COUNTERS)
STATS = (
    *CODEC_STATS,
    "http.ingress.downstream_cx_protocol_error",
    "http.ingress.downstream_cx_idle_timeout",
    "http.ingress.downstream_cx_max_duration_reached",
    "http.ingress.downstream_cx_overload_disable_keepalive",
    "http.ingress.downstream_rq_idle_timeout",
    "http.ingress.downstream_rq_too_many_premature_resets",
    *(f"cluster.{cluster}.http2.{name}" for cluster in ("origin", "strict", "lenient") for name in COUNTERS),
    *(
        f"cluster.{cluster}.{name}"
        for cluster in ("origin", "strict", "lenient")
        for name in ("upstream_cx_protocol_error", "upstream_rq_rx_reset")
    ),
)
HELLO = Http2Answer()
BIG_WINDOWS = {h2.INITIAL_WINDOW_SIZE: h2.MAX_WINDOW}
OPEN_CONNECTION = h2.window_update(0, h2.MAX_WINDOW - h2.DEFAULT_WINDOW)


def _listener(name: str, cluster: str = "origin", http2: Json | None = None, **hcm: Any) -> Json:
    table = {"name": name, "virtual_hosts": [virtual_host([route(cluster, "/", timeout="0s")], ["a"])]}
    fields = {
        "codec_type": "HTTP2",
        "delayed_close_timeout": "0.1s",
        "http2_protocol_options": {**LIMITS, **(http2 or {})},
        "access_log": [file_log("%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%")],
        **hcm,
    }
    return listener([connection_manager(table, **fields)], name)


def _config() -> Json:
    strict = {"max_consecutive_inbound_frames_with_empty_payload": 0}
    lenient = {"override_stream_error_on_invalid_http_message": True}
    return bootstrap(
        [
            _listener("plain"),
            _listener("strict", "strict", strict),
            _listener("lenient", "lenient", lenient),
            _listener("hasty", stream_idle_timeout="0.4s"),
            _listener("idle", common_http_protocol_options={"idle_timeout": "0.4s"}, drain_timeout="0.2s"),
            _listener("pinging", http2={"connection_keepalive": {"interval": "0.3s", "timeout": "0.2s"}}),
            _listener("few", http2={"max_concurrent_streams": 2}),
            _listener("roomy", "roomy"),
            _listener("picky", max_request_headers_kb=8),
            {**_listener("wide"), "per_connection_buffer_limit_bytes": 1 << 30},
        ],
        [
            http2_cluster("origin", http2=LIMITS),
            http2_cluster("roomy", "{{origin_port}}"),
            http2_cluster("strict", "{{origin_port}}", http2={**LIMITS, **strict}),
            http2_cluster("lenient", "{{origin_port}}", http2={**LIMITS, **lenient}),
        ],
    )


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Pair(_config(), origins={"origin": Http2Origin}, listeners=LISTENERS) as started:
        yield started


def agree(
    pair: Pair,
    scenario: Callable[[Side], Any],
    script: Http2Script = HELLO,
    stats: tuple[str, ...] = STATS,
) -> Any:
    """`scenario` and the counters of floods must come to the same on both sides; what it came to."""

    def run(side: Side) -> Any:
        side.origin.script(script)
        return scenario(side)

    with pair.same_stats(*stats):
        envoy, outrider = pair.both(run)
        pair.check([] if envoy == outrider else [Difference("scenario", envoy, outrider)])
    return outrider


def connect(side: Side, name: str = "plain", **options: Any) -> Http2Client:
    return Http2Client(side.proxy.ports[name], **options)


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


def never(stream: OriginStream) -> None:
    """An origin that does not answer."""


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


def _bomb(references: int) -> bytes:
    """A field of 4,000 bytes entered into the table once and then named again and again."""
    value = b"x" * 3900
    entry = b"\x40" + h2.integer(5, 7) + b"bombs" + h2.integer(len(value), 7) + value
    head = h2.request(1)[9:]
    return head + entry + bytes([0x80 | 62]) * references


@pytest.mark.parametrize("name", ["plain", "picky", "lenient"])
@pytest.mark.parametrize("references", [0, 10, 90, 1000, 12000])
def test_a_header_bomb(pair: Pair, references: int, name: str) -> None:
    attack(pair, h2.headers(1, _bomb(references), end=True), name=name, wait=True)


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


# -- a client that does not read


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


def end_of(side: Side, client: Http2Client, counter: str, seconds: float) -> tuple[int, str]:
    """How far the counter came when the flood was over, and whether the connection was ended."""
    deadline = time.monotonic() + seconds
    before = side.floods[counter]  # type: ignore[attr-defined]
    while (grown := side.proxy.stats()[counter] - before) == 0 and time.monotonic() < deadline:
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
        wait_for_empty_queues(side)
        side.floods = side.proxy.stats()  # type: ignore[attr-defined]
        with clogged(side, name) as client:
            flood(side, client)
            return end_of(side, client, counter, seconds)

    return agree(pair, scenario, big, CODEC_STATS)


def wait_for_empty_queues(side: Side) -> None:
    """Connections of the case before may still be on their way out."""
    deadline = time.monotonic() + 3
    while side.proxy.stats()["http2.outbound_frames_active"] and time.monotonic() < deadline:
        time.sleep(0.02)


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


# -- the same from the origin


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
    head = h2.encode([(":status", "200")]) + _bomb(references)[len(h2.request(1)) - 9 :]
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
