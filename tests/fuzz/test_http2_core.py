"""Random frames against the HTTP/2 core: a verdict and nothing else, however they are cut, and h2's view of them.

The examples are the same in every run. `OUTRIDER_FUZZ=20` draws twenty times as many, different each time.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import http2_frames as wire
from tests.support.http2_core import Core, client, server

_MORE = int(os.environ.get("OUTRIDER_FUZZ", "0"))
fuzz = settings(
    max_examples=200 * max(_MORE, 1), deadline=None, database=None, derandomize=not _MORE, print_blob=True
)
HELLO = wire.PREFACE + wire.settings() + wire.settings_ack()
#: Floods are another matter: h2 knows none of them.
PATIENT = {
    "max_consecutive_inbound_frames_with_empty_payload": 1000,
    "max_inbound_window_update_frames_per_data_frame_sent": 1000,
    "initial_stream_window_size": 65_535,
    "initial_connection_window_size": 65_535,
}
_FIELDS = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a")]
REQUEST = wire.encode(_FIELDS)
TRAILERS = wire.encode([("a", "b")])

stream_ids = st.sampled_from([1, 1, 1, 3, 3, 5, 7, 0, 2])
bodies = st.binary(max_size=40)
#: Frames on whose legality h2 and Envoy agree.
agreed = st.one_of(
    st.builds(lambda number, end: wire.headers(number, REQUEST, end=end), stream_ids, st.booleans()),
    st.builds(lambda number: wire.headers(number, TRAILERS, end=True), stream_ids),
    st.builds(
        lambda number, at: (
            wire.headers(number, REQUEST[:at], end_headers=False) + wire.continuation(number, REQUEST[at:])
        ),
        stream_ids,
        st.integers(0, len(REQUEST)),
    ),
    st.builds(
        lambda number, payload, end, padding: wire.data(number, payload, end=end, padding=padding),
        stream_ids,
        bodies,
        st.booleans(),
        st.none() | st.integers(0, 20),
    ),
    st.builds(wire.window_update, stream_ids, st.sampled_from([1, 5, 100_000, 0, 2**31 - 1])),
    st.builds(wire.priority, stream_ids, st.just(0)),
    st.just(wire.ping()),
    st.builds(
        lambda identifier, value: wire.settings([(identifier, value)]),
        st.integers(1, 9),
        st.sampled_from([0, 1, 100, 65_535, 20_000, 2**31 - 1, 2**31]),
    ),
    st.just(wire.goaway(2**31 - 1)),
)
anything = st.one_of(
    agreed,
    st.builds(wire.rst_stream, stream_ids),
    st.builds(wire.goaway, st.sampled_from([0, 1])),
    st.just(wire.settings_ack()),
    st.builds(wire.frame, st.integers(0, 12), st.integers(0, 255), stream_ids, st.binary(max_size=12)),
)


@dataclass
class View:
    """What one implementation made of a sequence: by stream (fields, body, trailers, ended, reset)."""

    failed: bool = False
    reset: bool = False
    streams: dict[int, list[Any]] = field(default_factory=dict)

    def stream(self, number: int) -> list[Any]:
        return self.streams.setdefault(number, [None, b"", None, False, False])


def view_of(core: Core) -> View:
    view = View(core.error is not None)
    for number, recorded in core.opened.items():
        seen = view.stream(number)
        for event in recorded.events:
            match event:
                case ("head", fields, end):
                    seen[0] = fields
                    seen[3] = end
                case ("data", data, end):
                    seen[1] += data
                    seen[3] = end
                case ("trailers", fields):
                    seen[2] = fields
                    seen[3] = True
                case ("reset", _, _, remote):
                    seen[4] = True
                    view.reset = view.reset or not remote
    return view


def ours(data: bytes, cuts: list[int] | None = None) -> View:
    core = Core(**PATIENT)
    edges = sorted({cut % (len(data) + 1) for cut in cuts or []} | {0, len(data)})
    for start, end in itertools.pairwise(edges):
        if core.error is None:
            frames = core.feed(data[start:end])
            assert core.error is None or core.error.goaway == any(frame.name == "GOAWAY" for frame in frames)
    return view_of(core)


def theirs(data: bytes) -> View:
    view = View()
    peer = h2.connection.H2Connection(
        h2.config.H2Configuration(
            client_side=False, validate_inbound_headers=False, header_encoding="latin-1"
        )
    )
    peer.initiate_connection()
    try:
        events = peer.receive_data(data)
    except h2.exceptions.ProtocolError:
        view.failed = True
        return view
    for event in events:
        match event:
            case h2.events.RequestReceived():
                view.stream(event.stream_id)[0] = [tuple(pair) for pair in event.headers]
            case h2.events.DataReceived():
                view.stream(event.stream_id)[1] += event.data
            case h2.events.TrailersReceived():
                view.stream(event.stream_id)[2] = [tuple(pair) for pair in event.headers]
            case h2.events.StreamEnded():
                view.stream(event.stream_id)[3] = True
            case h2.events.StreamReset():
                view.stream(event.stream_id)[4] = True
                view.reset = view.reset or not event.remote_reset
    return view


@fuzz
@given(st.lists(anything, max_size=12), st.lists(st.integers(0, 2000), max_size=6))
def test_cutting_changes_nothing(frames, cuts):
    data = HELLO + b"".join(frames)
    whole = ours(data)
    assert ours(data, cuts) == whole
    assert ours(data, list(range(len(data)))) == whole


@fuzz
@given(st.binary(max_size=200), st.booleans())
def test_noise_gets_a_verdict(noise, hello):
    core = Core()
    core.feed((HELLO if hello else b"") + noise)
    core = client()
    core.request()
    core.feed(noise)


@fuzz
@given(st.lists(agreed, min_size=1, max_size=12))
def test_what_h2_takes_without_complaint_we_take_alike(frames):
    data = HELLO + b"".join(frames)
    reference = theirs(data)
    if not reference.failed and not reference.reset:
        view = ours(data)
        assert not view.failed
        assert view.streams == reference.streams


KINDS = ("open", "data", "data", "end", "trailers", "reset", "window", "ping", "settings", "unknown")


@st.composite
def conversations(draw):
    """Frames of a client that obeys the rules."""
    last, open_streams, frames = -1, set(), []
    for _ in range(draw(st.integers(1, 25))):
        kind = draw(st.sampled_from(KINDS))
        if kind == "open" or (not open_streams and kind in ("data", "end", "trailers", "reset")):
            last += 2
            end = draw(st.booleans())
            at = draw(st.integers(0, len(REQUEST)) | st.none())
            if at is None:
                frames.append(wire.headers(last, REQUEST, end=end))
            else:
                frames.append(wire.headers(last, REQUEST[:at], end=end, end_headers=False))
                frames.append(wire.continuation(last, REQUEST[at:]))
            if not end:
                open_streams.add(last)
            continue
        number = draw(st.sampled_from(sorted(open_streams))) if open_streams else 0
        match kind:
            case "data":
                padding = draw(st.none() | st.integers(0, 255))
                frames.append(wire.data(number, draw(bodies), padding=padding))
            case "end":
                frames.append(wire.data(number, draw(bodies), end=True))
                open_streams.discard(number)
            case "trailers":
                frames.append(wire.headers(number, TRAILERS, end=True))
                open_streams.discard(number)
            case "reset":
                frames.append(wire.rst_stream(number))
                open_streams.discard(number)
            case "window":
                frames.append(wire.window_update(number, draw(st.integers(1, 1000))))
            case "ping":
                frames.append(wire.ping(draw(st.binary(min_size=8, max_size=8))))
            case "settings":
                frames.append(
                    wire.settings([(draw(st.sampled_from([3, 4, 6, 99])), draw(st.integers(0, 2**20)))])
                )
            case "unknown":
                frames.append(wire.frame(draw(st.integers(0x20, 0x30)), 0, number, draw(bodies)))
    return b"".join(frames)


@fuzz
@given(conversations())
def test_rules_obeyed_are_understood_as_by_h2(frames):
    view = ours(HELLO + frames)
    assert not view.failed
    assert not view.reset
    assert view == theirs(HELLO + frames)


@fuzz
@given(
    st.lists(st.tuples(st.binary(max_size=300), st.integers(0, 150_000)), min_size=1, max_size=6),
    st.sampled_from([0, 1, 17, 1000, 65_535]),
    st.booleans(),
)
def test_messages_pass_through_small_windows_to_and_from_h2(messages, window, as_client):
    """Bodies arrive whole, both ways, whatever the windows; the receiver opens them step by step."""
    peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=not as_client))
    peer.initiate_connection()
    peer.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
    core = Core(client=as_client, start=False, max_concurrent_streams=100)
    core.start()
    sent, got = {}, {}

    def talk() -> bool:
        there, here = core.take() if core.out else b"", peer.data_to_send()
        for event in peer.receive_data(there):
            if isinstance(event, h2.events.DataReceived):
                got[event.stream_id] = got.get(event.stream_id, b"") + event.data
                peer.increment_flow_control_window(max(event.flow_controlled_length, 1))
        core.receive(here)
        return bool(there or here)

    while talk():
        pass
    for payload, size in messages:
        body = payload + b"x" * size
        if as_client:
            stream = core.request(REQUEST, end=False)
            number = stream.id
        else:
            number = peer.get_next_available_stream_id()
            peer.send_headers(number, _FIELDS)
            while talk():
                pass
            stream = core.opened[number]
            stream.send_head(b"\x88", False)
        stream.send_data(payload, False)
        stream.send_data(body[len(payload) :], True)
        sent[number] = body
    for _ in range(1000):
        if not talk():
            waiting = [number for number in sent if len(got.get(number, b"")) < len(sent[number])]
            if not waiting:
                break
            for number in waiting:
                peer.increment_flow_control_window(40_000, number)
    assert {number: body for number, body in sent.items() if body} == {n: b for n, b in got.items() if b}
    assert core.stats.pending_send_bytes == 0
    assert not core.waiting
    assert not core.stalled


@fuzz
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60_000)), min_size=1, max_size=30))
def test_windows_given_back_match_what_was_taken(steps):
    """Whatever is read, paused and resumed, in the end the peer has all of its windows again or half of them."""
    core = server(initial_stream_window_size=65_535, initial_connection_window_size=65_535)
    core.feed(b"".join(wire.headers(number, REQUEST) for number in (1, 3, 5, 7)))
    room = dict.fromkeys((0, 1, 3, 5, 7), 65_535)

    def account(frames: list[wire.Frame]) -> None:
        for frame in frames:
            if frame.name == "WINDOW_UPDATE":
                room[frame.stream_id] += int.from_bytes(frame.payload, "big")
                assert room[frame.stream_id] <= 65_535

    for index, size in steps:
        number = 2 * index + 1
        stream = core.opened[number]
        if size % 7 == 0:
            stream.pause_reading()
        elif size % 7 == 1 and stream.pauses:
            stream.resume_reading()
        size = min(size % 16_385, room[0], room[number])
        if size:
            room[0] -= size
            room[number] -= size
            account(core.feed(wire.data(number, b"x" * size)))
            assert core.error is None
    for stream in core.opened.values():
        while stream.pauses:
            stream.resume_reading()
    account(wire.FrameReader().feed(core.take()))
    assert core.held == 0
    assert min(room.values()) >= 65_535 // 2
