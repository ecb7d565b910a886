"""What a peer's frames do to a connection: delivered messages, and errors as in Envoy 1.40."""

import struct

import pytest

from tests.support import http2_frames as wire
from tests.support.http2_cases import CASES, FINE, GOAWAY, OPEN, RESET, SILENT, WHOLE
from tests.support.http2_core import Core, client, exchange, server
from tests.support.http2_frames import Code

GET = [(":method", "GET"), (":path", "/")]


def verdict(core: Core, frames: list[wire.Frame]) -> tuple[str, int]:
    """How the core took it: (kind, code)."""
    if core.error is not None:
        said = [frame for frame in frames if frame.name == "GOAWAY"]
        assert bool(said) == core.error.goaway
        assert core.dead
        return (GOAWAY, struct.unpack(">L", said[0].payload[4:8])[0]) if said else (SILENT, 0)
    resets = [struct.unpack(">L", frame.payload)[0] for frame in frames if frame.name == "RST_STREAM"]
    return (RESET, resets[0]) if resets else (FINE, 0)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_request_is_delivered_however_it_is_cut(size):
    core = Core()
    core.feed(
        wire.PREFACE
        + wire.settings()
        + wire.settings_ack()
        + wire.headers(1, GET, end_headers=False)
        + wire.continuation(1, wire.encode([("a", "b")]))
        + wire.data(1, b"hello ", padding=3)
        + wire.frame(0x16, 7, 1, b"unknown")
        + wire.data(1, b"world")
        + wire.headers(1, [("c", "d")], end=True),
        size,
    )
    stream = core.opened[1]
    assert stream.events[0] == ("head", [*GET, ("a", "b")], False)
    assert stream.body == b"hello world"
    assert stream.events[-1] == ("trailers", [("c", "d")])
    assert stream.remote_closed
    assert not stream.closed


def test_data_is_handed_on_as_it_arrives():
    core = server()
    frame = wire.data(1, b"abcdefgh", end=True)
    core.feed(OPEN + frame[:12])
    core.feed(frame[12:15])
    core.feed(frame[15:])
    assert core.opened[1].events[1:] == [
        ("data", b"abc", False),
        ("data", b"def", False),
        ("data", b"gh", True),
    ]


LARGE = b"x" * 5000


def test_large_frames_of_a_stream_come_as_one_piece():
    core = server()
    core.feed(OPEN + wire.data(1, LARGE) + wire.data(1, LARGE) + wire.data(1, b"end", end=True))
    assert core.opened[1].events[1:] == [("data", LARGE + LARGE + b"end", True)]


def test_small_frames_stay_apart():
    core = server()
    core.feed(OPEN + wire.data(1, LARGE) + wire.data(1, b"a") + wire.data(1, b"b") + wire.data(1, LARGE))
    assert [event[1] for event in core.opened[1].events[1:]] == [LARGE, b"a", b"b", LARGE]


@pytest.mark.parametrize("cut", [1, 9, 100, 5008, 5009, 5010, 6000, 10017, 10018, 10020, 15000])
def test_the_piece_of_a_frame_joins_the_whole_ones(cut):
    sent = wire.data(1, LARGE) + wire.data(1, b"y" * 5000) + wire.data(1, b"z" * 5000, end=True)
    core = server()
    core.feed(OPEN)
    core.feed(sent[:cut])
    core.feed(sent[cut:])
    stream = core.opened[1]
    assert stream.body == LARGE + b"y" * 5000 + b"z" * 5000
    assert stream.events[-1][2]
    assert len(stream.events) <= 3
    assert stream.recv_window == core.initial_recv_window - 15000


def test_large_frames_of_several_streams_are_told_apart():
    core = server()
    core.feed(OPEN + wire.request(3, method="POST", end=False))
    core.feed(b"".join(wire.data(number, bytes([number]) * 5000) for number in (1, 3, 3, 1)))
    assert core.opened[1].body == b"\1" * 10000
    assert core.opened[3].body == b"\3" * 10000


def test_what_came_before_a_frame_that_is_too_much_counts():
    core = server()
    head = wire.request(1, method="POST", fields=[("content-length", "10000")], end=False)
    answer = core.feed(head + wire.data(1, LARGE) + wire.data(1, LARGE) + wire.data(1, LARGE, end=True))
    assert core.opened[1].body == LARGE + LARGE
    assert verdict(core, answer) == (RESET, Code.PROTOCOL_ERROR)


def test_a_response_with_interim_heads_and_trailers():
    core = client()
    stream = core.request()
    core.feed(
        wire.response(1, 103, [("link", "x")])
        + wire.response(1, 200)
        + wire.data(1, b"body")
        + wire.headers(1, [("grpc-status", "0")], end=True)
    )
    assert [event[0] for event in stream.events] == ["head", "head", "data", "trailers"]
    assert stream.closed
    assert core.gone == [1]
    assert core.stats.trailers == 0


def test_our_client_and_our_server_understand_each_other():
    here, there = Core(client=True, start=False), Core(start=False)
    here.start()
    there.start()
    exchange(here, there)
    ask = here.request(end=False)
    ask.send_data(b"x" * 100_000, False)
    ask.send_trailers(wire.encode([("t", "1")]))
    exchange(here, there)
    answer = there.opened[1]
    assert answer.body == b"x" * 100_000
    assert answer.events[-1] == ("trailers", [("t", "1")])
    answer.send_head(wire.encode([(":status", "100")]), False)
    answer.send_message(wire.encode([(":status", "200")]), b"fine")
    exchange(here, there)
    assert [event[0] for event in ask.events] == ["head", "head", "data"]
    assert ask.body == b"fine"
    assert here.gone == there.gone == [1]
    assert not here.streams
    assert not there.streams
    assert here.stats.streams_active == there.stats.streams_active == 0


def test_equal_blocks_are_parsed_once_until_the_table_changes():
    core = server()
    core.feed(wire.request(1) + wire.request(3))
    assert core.parsed == 1
    core.feed(wire.headers(5, b"\x40\x01a\x01b", end=True) + wire.request(7))
    assert core.parsed == 3
    core.feed(wire.request(9))
    assert core.parsed == 3


def test_blocks_are_remembered_again_after_many_new_ones():
    core = server(max_concurrent_streams=5000)
    for number in range(1, 1001, 2):
        core.feed(wire.request(number, f"/{number}"))
    assert core.parsed == 500
    for number in range(1001, 1201, 2):
        core.feed(wire.request(number))
    assert core.parsed < 550


def test_blocks_that_change_the_table_are_never_remembered():
    core = server()
    core.feed(wire.headers(1, b"\x40\x01a\x01b", end=True) + wire.headers(3, b"\x40\x01a\x01b\xbf", end=True))
    core.feed(wire.headers(5, b"\xbf", end=True))
    assert core.opened[5].events[0][1] == [("a", "b")]
    assert core.opened[3].events[0][1] == [("a", "b"), ("a", "b")]


def test_the_memos_of_blocks_are_bounded():
    core = server(max_concurrent_streams=5000)
    for number in range(1, 2001, 2):
        core.feed(wire.request(number, f"/{number}"))
    assert len(core.heads) <= 64
    core.feed(wire.request(2001, "/" + "x" * 5000))
    assert max(map(len, core.heads)) < 5000


def test_a_block_that_nobody_wants_still_changes_the_table():
    core = server()
    core.feed(
        OPEN + wire.rst_stream(1) + wire.headers(1, b"\x40\x01a\x01b", end=True) + wire.headers(3, b"\xbe")
    )
    assert core.error is None
    assert core.opened[3].events[0][1] == [("a", "b")]


OWN_CASES = {
    "malformed request": (wire.request(1, fields=[("bad", "")]), SILENT, 0),
    "malformed trailers": (OPEN + wire.headers(1, [("bad", "")], end=True), SILENT, 0),
    "request over a limit": (wire.request(1, fields=[("worse", "")]), RESET, Code.INTERNAL_ERROR),
}


@pytest.mark.parametrize("size", [1, 1 << 30])
@pytest.mark.parametrize(
    ("sent", "kind", "code"), {**CASES, **OWN_CASES}.values(), ids={**CASES, **OWN_CASES}
)
def test_errors_are_announced_as_by_envoy(sent, kind, code, size):
    core = server()
    assert verdict(core, core.feed(sent, size)) == (kind, code)
    if kind == FINE:
        assert [frame.name for frame in core.feed(wire.ping())] == ["PING"]


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (wire.PREFACE + wire.ping(), GOAWAY),
        (wire.PREFACE + wire.settings_ack(), GOAWAY),
        (wire.PREFACE + wire.request(1), GOAWAY),
        (wire.PREFACE[:-3] + b"X\r\n", SILENT),
        (b"GET / HTTP/1.1\r\n", SILENT),
        (wire.PREFACE + wire.settings() + wire.request(1), FINE),
    ],
)
def test_a_connection_starts_with_the_preface_and_settings(sent, kind):
    core = Core()
    assert verdict(core, core.feed(sent))[0] == kind


@pytest.mark.parametrize(
    "sent",
    [
        wire.request(1, fields=[("bad", "")]),
        wire.request(1, fields=[("content-length", "2")]),
        OPEN + wire.headers(1, [("a", "b")]),
        OPEN + wire.headers(1, [("bad", "")], end=True),
    ],
)
def test_the_override_keeps_the_connection_when_a_message_is_malformed(sent):
    core = server(override_stream_error_on_invalid_http_message=True)
    assert verdict(core, core.feed(sent)) == (RESET, Code.PROTOCOL_ERROR)
    assert core.opened[1].events[-1][0] == "reset"
    assert core.stats.rx_messaging_error == core.stats.tx_reset == 1
    assert core.gone == [1]


def test_the_stream_at_fault_gets_a_detail_of_its_own():
    core = server()
    core.feed(OPEN + wire.request(3, fields=[("bad", "")]))
    core.terminate("codec_error:x")
    assert core.opened[1].events[-1] == ("reset", 2, "codec_error:x", True)
    assert core.opened[3].events[-1] == ("reset", 2, "http2.invalid.header.field", True)
    assert core.gone == [1, 3]
    assert core.stats.streams_active == 0


def test_after_an_error_nothing_is_taken_and_nothing_of_that_read_is_sent():
    core = server()
    frames = core.feed(wire.ping() + wire.continuation(1))
    assert [frame.name for frame in frames] == ["GOAWAY"]
    assert core.feed(OPEN) == []
    assert 1 not in core.opened


def test_streams_over_the_limit():
    core = Core(max_concurrent_streams=2)
    frames = core.feed(wire.PREFACE + wire.settings() + wire.request(1) + wire.request(3) + wire.request(5))
    assert verdict(core, frames) == (RESET, Code.REFUSED_STREAM)
    assert core.stats.stream_refused_errors == 1
    core.feed(wire.settings_ack())
    assert verdict(core, core.feed(wire.request(7))) == (SILENT, 0)
    assert core.opened.keys() == {1, 3}


def test_a_client_refuses_what_a_server_may_not_do():
    for sent in (
        wire.response(2),
        wire.response(1),
        wire.frame(wire.PUSH_PROMISE, 4, 1, b"\0\0\0\2"),
        wire.settings({wire.ENABLE_PUSH: 1}),
        wire.settings({wire.ENABLE_CONNECT_PROTOCOL: 1}) + wire.settings({wire.ENABLE_CONNECT_PROTOCOL: 0}),
    ):
        core = client()
        assert verdict(core, core.feed(sent)) == (SILENT, 0)


def test_a_client_waits_for_the_streams_that_the_server_allows():
    core = Core(client=True)
    for _ in range(100):
        assert core.can_open
        core.request()
    assert not core.can_open
    core.feed(wire.settings({wire.MAX_CONCURRENT_STREAMS: 101}))
    assert core.can_open
    assert core.request().id == 201
    assert not core.can_open
    core.feed(wire.response(1, end=True))
    assert core.can_open


def test_goaway_refuses_the_streams_that_the_server_will_not_serve():
    core = client()
    first, second, third = core.request(), core.request(), core.request()
    core.feed(wire.goaway(1, 0, b"bye"))
    assert not first.events
    assert second.events == third.events == [("reset", 7, "http2.remote_refuse", True)]
    assert core.gone == [3, 5]
    assert core.notes[-1] == ("goaway", 1, 0, b"bye")
    assert not core.can_open
    core.feed(wire.response(1, end=True))
    assert first.closed
    assert not core.streams


def test_a_graceful_end_serves_what_comes_between_the_two_goaways():
    core = server()
    core.graceful_goaway()
    core.graceful_goaway()
    assert [frame.payload for frame in wire.FrameReader().feed(core.take())] == [
        struct.pack(">LL", 2**31 - 1, 0)
    ]
    core.feed(OPEN)
    core.final_goaway()
    core.final_goaway()
    assert [frame.payload for frame in wire.FrameReader().feed(core.take())] == [struct.pack(">LL", 1, 0)]
    assert core.stats.goaway_sent == 1
    assert core.feed(wire.headers(3, b"\x40\x01a\x01b", end=True) + wire.data(1, b"x", end=True)) == []
    assert core.opened.keys() == {1}
    assert core.opened[1].body == b"x"


def test_start_says_what_is_configured():
    core = Core(start=False, allow_connect=True, custom_settings=((99, 7),))
    core.start()
    settings, window = wire.FrameReader().feed(core.take())
    assert list(struct.iter_unpack(">HL", settings.payload)) == [
        (99, 7),
        (1, 4096),
        (8, 1),
        (3, 1024),
        (4, 16 * 1024 * 1024),
    ]
    assert window.payload == struct.pack(">L", 24 * 1024 * 1024 - 65535)
    core = Core(client=True, start=False)
    core.start()
    data = core.take()
    assert data.startswith(wire.PREFACE)
    assert wire.FrameReader().feed(data[len(wire.PREFACE) :])[0].payload.startswith(struct.pack(">HL", 2, 0))


def test_a_peer_with_a_small_table_is_told_that_ours_is_empty():
    core = server()
    core.feed(wire.settings({wire.HEADER_TABLE_SIZE: 100}) + WHOLE + wire.request(3))
    core.opened[1].send_message(b"\x88", b"x")
    core.opened[3].send_message(b"\x88", b"x")
    blocks = [frame.payload for frame in wire.FrameReader().feed(core.take()) if frame.name == "HEADERS"]
    assert blocks == [b"\x20\x88", b"\x88"]


def test_a_smaller_table_of_ours_counts_from_its_acknowledgement():
    core = Core(hpack_table_size=0)
    core.feed(wire.PREFACE + wire.settings() + wire.headers(1, b"\x40\x01a\x01b") + wire.settings_ack())
    assert core.error is None
    assert verdict(core, core.feed(wire.headers(3, b"\x88"))) == (GOAWAY, Code.COMPRESSION_ERROR)


def test_a_hook_may_end_the_connection():
    core = server()
    core.new_stream = lambda stream_id: core.terminate("local")
    core.feed(OPEN + wire.request(3))
    assert core.dead


def test_resets_are_told_and_counted():
    core = server()
    core.feed(
        OPEN + wire.rst_stream(1, Code.CANCEL) + wire.request(3) + wire.rst_stream(3, Code.REFUSED_STREAM)
    )
    assert core.opened[1].events[-1] == ("reset", 8, "http2.remote_reset", True)
    assert core.opened[3].events[-1] == ("reset", 7, "http2.remote_refuse", True)
    assert core.stats.rx_reset == 2
    assert core.gone == [1, 3]


def test_pings_are_answered_and_answers_told():
    core = server()
    (frame,) = core.feed(wire.ping(b"abcdefgh"))
    assert (frame.name, frame.flags, frame.payload) == ("PING", 1, b"abcdefgh")
    core.send_ping(b"01234567")
    assert core.notes == [("wants_write",)]
    core.take()
    core.feed(wire.ping(b"01234567", ack=True))
    assert core.notes[-1] == ("ack", b"01234567")


@pytest.mark.parametrize("end", [True, False])
def test_a_known_head_and_its_body_in_one_read_are_told_as_apart(end):
    head = [(":method", "POST"), (":path", "/"), ("content-length", "4")]
    data = b"".join(
        wire.headers(number, head) + wire.data(number, body, end=end)
        for number, body in ((1, b"four"), (3, b"four"), (5, b"seven 7"), (7, b"four"), (9, b"tw"))
    )
    whole = server()
    whole.feed(data)
    apart = server()
    apart.feed(data, 1)
    for number, stream in whole.opened.items():
        other = apart.opened[number]
        assert stream.events[0] == other.events[0]
        assert stream.events[-1][0] == other.events[-1][0]
        # A body that is too long is refused at once, or from its fifth byte on.
        assert stream.body == other.body[: len(stream.body)]
        assert stream.body == other.body or other.events[-1][0] == "reset"
    assert whole.recv_window == apart.recv_window


def test_a_goaway_may_be_repeated_and_lowered():
    core = client()
    streams = [core.request() for _ in range(3)]
    core.feed(wire.goaway(2**31 - 1) + wire.goaway(3) + wire.goaway(3) + wire.goaway(1))
    assert core.gone == [5, 3]
    assert core.peer_last_stream_id == 1
    assert not streams[0].closed


@pytest.mark.parametrize("step", [1, 5, 10_000])
def test_a_window_update_between_head_and_body_counts(step):
    data = b"".join(
        wire.headers(number, GET) + wire.window_update(number, 1000) + wire.data(number, b"body", end=True)
        for number in (1, 3, 5)
    )
    core = server()
    core.feed(data, step)
    for stream in core.opened.values():
        assert stream.body == b"body"
        assert stream.send_window == core.peer_initial_window + 1000
        assert stream.remote_closed
    broken = server()
    broken.feed(wire.headers(1, GET) + wire.data(1, b"body", end=True), step)
    frames = broken.feed(
        wire.headers(3, GET) + wire.window_update(3, 0) + wire.data(3, b"body", end=True), step
    )
    assert verdict(broken, frames) == (SILENT, 0)
