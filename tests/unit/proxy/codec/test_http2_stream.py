"""Sending within the peer's windows, and giving back our own."""

import struct

import pytest

from tests.support import http2_frames as wire
from tests.support.http2_core import RecordedStream, client, server
from tests.support.http2_frames import Code

BLOCK = b"\x88"


def opened(core, number=1, *, end=True):
    core.feed(wire.request(number, end=end))
    return core.opened[number]


def sent(core):
    return wire.FrameReader().feed(core.take())


def body(frames, number=1):
    return b"".join(frame.payload for frame in frames if frame.name == "DATA" and frame.stream_id == number)


def increments(frames):
    return [
        (frame.stream_id, struct.unpack(">L", frame.payload)[0])
        for frame in frames
        if frame.name == "WINDOW_UPDATE"
    ]


def test_a_small_message_is_one_chunk():
    core = server()
    opened(core).send_message(BLOCK, b"hello")
    assert len(core.out) == 1
    assert [(frame.name, frame.flags) for frame in sent(core)] == [("HEADERS", 4), ("DATA", 1)]
    assert core.gone == [1]


@pytest.mark.parametrize(
    ("size", "end"), [(0, True), (1, False), (5000, True), (16384, True), (40_000, True)]
)
def test_bodies_are_framed(size, end):
    core = server()
    stream = opened(core)
    stream.send_head(BLOCK, False)
    stream.send_data(b"x" * size, end)
    frames = sent(core)
    assert body(frames) == b"x" * size
    assert max(len(frame.payload) for frame in frames) <= 16384
    assert (frames[-1].flags == wire.END_STREAM) is end
    assert stream.closed is end


def test_nothing_is_sent_beyond_the_window_of_a_stream():
    core = server()
    stream = opened(core)
    stream.send_message(BLOCK, b"x" * 70_000)
    assert len(body(sent(core))) == 65_535
    assert stream.send_window == 0
    assert stream.pending_bytes == core.stats.pending_send_bytes == 70_000 - 65_535
    core.feed(wire.window_update(0, 100_000))
    assert not core.out
    frames = core.feed(wire.window_update(1, 1))
    assert len(body(frames)) == 1
    frames = core.feed(wire.window_update(1, 100_000))
    assert len(body(frames)) == 70_000 - 65_536
    assert frames[-1].flags == wire.END_STREAM
    assert core.stats.pending_send_bytes == 0
    assert core.gone == [1]


def test_the_window_of_the_connection_is_shared_in_turns():
    core = server()
    core.feed(wire.settings({wire.INITIAL_WINDOW_SIZE: 1 << 20}))
    one, two = opened(core, 1), opened(core, 3)
    one.send_message(BLOCK, b"1" * 200_000)
    two.send_message(BLOCK, b"2" * 200_000)
    frames = sent(core)
    assert (len(body(frames, 1)), len(body(frames, 3))) == (65_535, 0)
    frames = core.feed(wire.window_update(0, 65_536))
    assert (len(body(frames, 1)), len(body(frames, 3))) == (32_768, 32_768)
    frames = core.feed(wire.window_update(0, 1 << 20))
    assert len(body(frames, 1)) + len(body(frames, 3)) == 400_000 - 65_535 - 65_536
    assert core.gone == [1, 3]


def test_a_stream_without_window_does_not_hold_up_the_others():
    core = server()
    one, two = opened(core, 1), opened(core, 3)
    core.feed(wire.window_update(0, 1 << 20))
    one.send_message(BLOCK, b"1" * 70_000)
    two.send_message(BLOCK, b"2" * 100)
    assert len(body(sent(core), 3)) == 100


def test_the_initial_window_is_a_difference_and_windows_may_be_negative():
    core = server()
    core.feed(wire.window_update(0, 1 << 20))
    stream = opened(core)
    stream.send_message(BLOCK, b"x" * 70_000)
    sent(core)
    core.feed(wire.settings({wire.INITIAL_WINDOW_SIZE: 10}))
    assert stream.send_window == 10 - 65_535
    assert not body(core.feed(wire.window_update(1, 65_525)))
    assert stream.send_window == 0
    frames = core.feed(wire.settings({wire.INITIAL_WINDOW_SIZE: 15}))
    assert len(body(frames)) == 5
    frames = core.feed(wire.settings({wire.INITIAL_WINDOW_SIZE: 65_535}))
    assert frames[-1].flags == wire.END_STREAM
    assert stream.closed


def test_an_empty_end_passes_a_window_of_zero():
    core = server()
    core.feed(wire.settings({wire.INITIAL_WINDOW_SIZE: 0}))
    stream = opened(core)
    stream.send_head(BLOCK, False)
    stream.send_data(b"", True)
    assert [frame.flags for frame in sent(core)] == [4, 1]


def test_trailers_wait_behind_the_body():
    core = server()
    stream = opened(core)
    stream.send_head(BLOCK, False)
    stream.send_data(b"x" * 70_000, False)
    stream.send_trailers(b"\x89")
    stream.send_data(b"late", True)
    assert [frame.name for frame in sent(core)][-1] == "DATA"
    frames = core.feed(wire.window_update(1, 10_000) + wire.window_update(0, 10_000))
    assert len(body(frames)) == 70_000 - 65_535
    assert (frames[-1].name, frames[-1].flags, frames[-1].payload) == ("HEADERS", 5, b"\x89")


def test_a_larger_frame_size_of_the_peer_is_used():
    core = server()
    core.feed(wire.settings({wire.MAX_FRAME_SIZE: 30_000}))
    opened(core).send_message(b"\x88" * 20_000, b"x" * 30_001)
    assert [len(frame.payload) for frame in sent(core)] == [20_000, 30_000, 1]


def test_a_long_block_goes_on_in_continuations():
    core = server()
    opened(core).send_head(b"\x88" * 40_000, True)
    frames = sent(core)
    assert [(frame.name, frame.flags) for frame in frames] == [
        ("HEADERS", 1),
        ("CONTINUATION", 0),
        ("CONTINUATION", 4),
    ]
    assert b"".join(frame.payload for frame in frames) == b"\x88" * 40_000


def test_the_sender_is_told_when_too_much_waits():
    core = server(stream_buffer_bytes=1000)
    stream = opened(core)
    stream.send_head(BLOCK, False)
    stream.send_data(b"x" * 65_535, False)
    stream.send_data(b"x" * 1000, False)
    assert stream.events[1:] == []
    stream.send_data(b"x", False)
    stream.send_data(b"x", False)
    assert stream.events[1:] == [("blocked",)]
    core.feed(wire.window_update(0, 10_000) + wire.window_update(1, 400))
    assert stream.events[1:] == [("blocked",)]
    core.feed(wire.window_update(1, 400))
    assert stream.events[1:] == [("blocked",), ("drained",)]


def test_bodies_wait_while_the_transport_is_full_but_heads_do_not():
    core = server()
    stream = opened(core)
    core.pause_writing()
    stream.send_message(BLOCK, b"hello")
    assert [frame.name for frame in sent(core)] == ["HEADERS"]
    assert stream.events[1:] == [("blocked",)]
    core.resume_writing()
    assert [frame.name for frame in sent(core)] == ["DATA"]
    assert stream.events[1:] == [("blocked",), ("drained",)]
    assert stream.closed


def test_a_sender_may_go_on_from_within_the_hook():
    class Eager(RecordedStream):
        def on_send_drained(self):
            self.send_data(b"b" * 30, True)

    core = server(stream_buffer_bytes=10)
    core.new_stream = lambda stream_id: core.opened.setdefault(stream_id, Eager(core, stream_id))
    stream = opened(core)
    core.pause_writing()
    stream.send_head(BLOCK, False)
    stream.send_data(b"a" * 30, False)
    core.resume_writing()
    frames = sent(core)
    assert body(frames) == b"a" * 30 + b"b" * 30
    assert frames[-1].flags == wire.END_STREAM
    assert core.gone == [1]


def test_reset_drops_what_waits():
    core = server()
    stream = opened(core, end=False)
    stream.send_head(BLOCK, False)
    stream.send_data(b"x" * 70_000, True)
    sent(core)
    stream.reset(Code.CANCEL)
    stream.reset(Code.CANCEL)
    stream.send_data(b"x", True)
    stream.send_trailers(b"\x88")
    (frame,) = sent(core)
    assert (frame.name, frame.payload) == ("RST_STREAM", b"\0\0\0\x08")
    assert core.stats.pending_send_bytes == core.stats.streams_active == 0
    assert core.stats.tx_reset == 1
    assert core.gone == [1]
    assert not core.feed(wire.window_update(1, 100_000))


def test_a_reply_may_end_a_request_that_is_still_coming():
    core = server()
    stream = opened(core, end=False)
    stream.send_message(BLOCK, b"x" * 70_000)
    stream.reset_after_sending(Code.NO_ERROR)
    assert sent(core)[-1].name == "DATA"
    frames = core.feed(wire.window_update(1, 10_000) + wire.window_update(0, 10_000))
    assert [(frame.name, frame.flags) for frame in frames] == [("DATA", 1), ("RST_STREAM", 0)]
    stream = opened(core, 3, end=False)
    stream.send_message(BLOCK, b"x")
    stream.reset_after_sending(Code.NO_ERROR)
    assert [frame.name for frame in sent(core)] == ["HEADERS", "DATA", "RST_STREAM"]
    assert core.feed(wire.data(3, b"late") + wire.headers(3, BLOCK, end=True)) == []
    assert core.error is None


def test_a_stream_that_was_never_opened_can_be_reset():
    core = client()
    stream = type(core.request())(core)
    stream.reset(Code.CANCEL)
    assert stream.closed
    assert [frame.name for frame in sent(core)] == ["HEADERS"]


def test_windows_are_given_back_when_half_is_used():
    core = server(initial_stream_window_size=65_536, initial_connection_window_size=131_072)
    opened(core, end=False)
    assert not core.feed(wire.data(1, b"x" * 16_384) * 2)
    assert increments(core.feed(wire.data(1, b"x", padding=9))) == [(1, 32_768 + 11)]
    assert increments(core.feed(wire.data(1, b"x" * 16_384) * 2)) == [(0, 65_536 + 11)]


def test_a_paused_stream_gets_no_window_and_the_others_go_on():
    core = server(initial_stream_window_size=65_536, initial_connection_window_size=65_536)
    slow = opened(core, 1, end=False)
    opened(core, 3, end=False)
    slow.pause_reading()
    slow.pause_reading()
    frames = core.feed((wire.data(1, b"x" * 16_384) + wire.data(3, b"y" * 16_384)) * 4)
    assert core.error is None
    assert {stream_id for stream_id, _ in increments(frames)} == {0, 3}
    slow.resume_reading()
    assert not core.out
    slow.resume_reading()
    assert (1, 65_536) in increments(sent(core))
    assert core.held == 0


def test_many_paused_streams_cannot_hold_more_than_two_windows():
    core = server(initial_stream_window_size=65_536, initial_connection_window_size=65_536)
    streams = [opened(core, number, end=False) for number in range(1, 21, 2)]
    for stream in streams:
        stream.pause_reading()
    room, got = 65_536, 0
    for stream in streams:
        for _ in range(4):
            size = min(16_384, room)
            if size:
                frames = core.feed(wire.data(stream.id, b"x" * size))
                room += sum(by for number, by in increments(frames) if not number) - size
                got += size
    assert core.error is None
    assert got <= 2 * 65_536
    for stream in streams:
        stream.resume_reading()
    assert core.held == 0
    assert room + sum(by for number, by in increments(sent(core)) if not number) == 65_536


def test_a_paused_stream_that_goes_gives_the_connection_its_window_back():
    core = server(initial_stream_window_size=65_536, initial_connection_window_size=65_536)
    stream = opened(core, end=False)
    stream.pause_reading()
    core.feed(wire.data(1, b"x" * 16_384) * 4)
    core.feed(wire.rst_stream(1))
    assert core.held == 0


@pytest.mark.parametrize("late", [wire.rst_stream(1), b""])
def test_late_data_counts_against_the_connection_only(late):
    core = server(initial_stream_window_size=65_536, initial_connection_window_size=65_536)
    stream = opened(core, end=False)
    if late:
        core.feed(late)
    else:
        stream.reset(Code.CANCEL)
        sent(core)
    frames = core.feed(wire.data(1, b"x" * 16_384) * 3)
    assert increments(frames) == [(0, 49_152)]


def test_a_peer_that_ignores_the_window_of_a_stream_loses_the_stream():
    core = server(initial_stream_window_size=65_536)
    opened(core, end=False).pause_reading()
    frames = core.feed(wire.data(1, b"x" * 16_384) * 4 + wire.data(1, b"x"))
    assert [(frame.name, frame.payload[-1]) for frame in frames] == [("RST_STREAM", Code.FLOW_CONTROL_ERROR)]
    assert core.opened[1].events[-1][0] == "reset"


def test_a_peer_that_ignores_the_window_of_the_connection_is_told_to_go():
    core = server(initial_stream_window_size=65_536, initial_connection_window_size=65_536)
    for number in range(1, 21, 2):
        opened(core, number, end=False).pause_reading()
    frames = core.feed(b"".join(wire.data(number, b"x" * 16_384) * 4 for number in range(1, 21, 2)))
    assert core.error is not None
    assert frames[-1].name == "GOAWAY"
    assert frames[-1].payload[7] == Code.FLOW_CONTROL_ERROR


def test_the_length_of_a_reply_to_head_says_nothing():
    core = client()
    stream = core.request()
    stream.ignore_length = True
    core.feed(wire.response(1, 200, [("content-length", "5")], end=True))
    assert stream.events == [("head", [(":status", "200"), ("content-length", "5")], True)]
    other = core.request()
    core.feed(wire.response(3, 304, [("content-length", "5")], end=True))
    assert other.events[-1][0] == "head"
    third = core.request()
    third.ignore_length = True
    core.take()
    frames = core.feed(wire.response(5, 200) + wire.data(5, b"x"))
    assert [frame.name for frame in frames] == ["RST_STREAM"]


def test_a_client_that_pauses_before_the_answer_holds_its_first_bytes():
    core = client(initial_stream_window_size=65_536, initial_connection_window_size=65_536)
    answer = wire.response(1, 200) + wire.data(1, b"x" * 100)
    first = core.request()
    core.feed(answer)
    second = core.request()
    second.pause_reading()
    core.feed(wire.response(3, 200) + wire.data(3, b"x" * 100))
    assert second.body == first.body
    assert core.held == 100
    second.resume_reading()
    assert core.held == 0


def test_parts_of_a_large_chunk_are_sent_in_order():
    core = server()
    core.feed(wire.settings({wire.INITIAL_WINDOW_SIZE: 1 << 20}))
    stream = opened(core)
    whole = bytes(range(256)) * 1000
    stream.send_message(BLOCK, whole)
    got = body(sent(core))
    while not stream.closed:
        got += body(core.feed(wire.window_update(0, 10_001)))
    assert got == whole


def test_streams_without_window_hold_little_together():
    core = server(max_concurrent_streams=1000)
    core.feed(wire.settings({wire.INITIAL_WINDOW_SIZE: 0}))
    for number in range(1, 1001, 2):
        stream = opened(core, number)
        stream.send_head(BLOCK, False)
        while not stream.send_blocked:
            stream.send_data(b"x" * 16_384, False)
    assert core.pending_bytes == core.stats.pending_send_bytes <= 4 * (1 << 20) + 500 * 82_000
    first = core.opened[1]
    assert first.pending_bytes > 1 << 20
    core.feed(wire.window_update(1, 1 << 20) + wire.window_update(0, 1 << 20))
    assert first.events[-1] == ("drained",)
    core.terminate("gone")
    assert core.pending_bytes == core.stats.pending_send_bytes == 0
