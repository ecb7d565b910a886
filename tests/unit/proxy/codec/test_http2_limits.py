"""Floods: how much of what a peer may send, and what it costs it."""

import tracemalloc

import pytest

from proxy.codec.http2_limits import PrematureResets
from tests.support import http2_frames as wire
from tests.support.http2_core import Core, client, server
from tests.support.http2_frames import Code

OPEN = wire.request(1, end=False)


def fails(core, data, counter=""):
    """Whether `data` ends the connection, and by the counter that says so."""
    core.feed(data)
    if counter and core.error is not None:
        assert core.error.flood
        assert getattr(core.stats, counter) == 1
    return core.error is not None


@pytest.mark.parametrize(
    ("before", "frame", "allowed", "counter"),
    [
        (b"", wire.priority(3, 1), 100, "inbound_priority_frames_flood"),
        (OPEN, wire.priority(3, 1), 200, "inbound_priority_frames_flood"),
        (b"", wire.window_update(0, 1), 5, "inbound_window_update_frames_flood"),
        (OPEN, wire.window_update(0, 1), 7, "inbound_window_update_frames_flood"),
        (OPEN, wire.window_update(1, 1), 7, "inbound_window_update_frames_flood"),
        (OPEN, wire.data(1), 1, "inbound_empty_frames_flood"),
        (OPEN, wire.data(1, padding=9), 1, "inbound_empty_frames_flood"),
        (OPEN, wire.data(1) + wire.ping(), 1, "inbound_empty_frames_flood"),
        (
            wire.headers(1, wire.encode([("a", "b")]), end_headers=False),
            wire.continuation(1, end_headers=False),
            1,
            "inbound_empty_frames_flood",
        ),
        (b"", wire.settings(), 1000, "outbound_control_flood"),
        (b"", wire.ping(), 1000, "outbound_control_flood"),
    ],
)
def test_limits_of_inbound_frames(before, frame, allowed, counter):
    core = server()
    core.feed(before)
    assert not fails(core, frame * allowed)
    assert fails(server(), before + frame * (allowed + 1), counter)


def test_frames_with_payload_begin_a_new_count_of_empty_ones():
    assert not fails(server(), OPEN + (wire.data(1) + wire.data(1, b"x")) * 100)
    assert not fails(server(), OPEN + (wire.data(1) + wire.data(1, b"x", padding=1)) * 100)


def test_data_that_we_send_allows_window_updates():
    core = server()
    core.feed(OPEN)
    core.opened[1].send_message(b"\x88", b"x" * 16_384 * 3)
    core.take()
    assert not fails(core, wire.window_update(0, 1) * 67)
    assert fails(core, wire.window_update(0, 1))


def test_limits_are_options():
    assert fails(server(max_inbound_priority_frames_per_stream=1), wire.priority(3, 1) * 2)
    assert not fails(server(max_consecutive_inbound_frames_with_empty_payload=9), OPEN + wire.data(1) * 9)
    assert fails(server(max_outbound_control_frames=3), wire.ping() * 4)
    assert fails(server(max_outbound_frames=3), wire.ping() * 4, "outbound_flood")


def test_answers_that_the_peer_does_not_read_add_up():
    core = server()
    # The acknowledgement of the first SETTINGS counts as well.
    core.unsent = 1 << 30
    for _ in range(999):
        assert not fails(core, wire.ping())
    assert fails(core, wire.ping(), "outbound_control_flood")


def test_answers_that_the_peer_reads_do_not():
    core = server()
    for _ in range(3000):
        assert not fails(core, wire.ping())
    core.unsent = 17 * 10
    for _ in range(3000):
        assert not fails(core, wire.ping())


def test_a_body_that_never_stops_leaves_no_false_flood():
    core = server(max_outbound_frames=100)
    core.feed(wire.settings({wire.INITIAL_WINDOW_SIZE: 2**31 - 1}) + wire.window_update(0, 2**30) + OPEN)
    stream = core.opened[1]
    core.unsent = 50_000
    for _ in range(500):
        stream.send_data(b"x" * 16_384, False)
        core.take()
    assert core.notes == [] or ("overflow" not in {note[0] for note in core.notes})


def test_frames_queued_outside_of_a_read_are_limited_too():
    core = server(max_outbound_frames=10, initial_stream_window_size=65_536)
    core.feed(OPEN)
    core.unsent = 1 << 30
    for _ in range(12):
        core.send_ping(bytes(8))
    core.take()
    assert core.notes[-1] == ("overflow", "Too many frames in the outbound queue.")
    assert core.dead


def test_resets_have_a_burst_and_a_rate():
    core = server()
    core.feed(OPEN)
    core.clock = 1000.0
    assert not fails(core, wire.rst_stream(1) * 1000)
    core.clock += 1
    assert not fails(core, wire.rst_stream(1) * 33)
    frames = core.feed(wire.rst_stream(1))
    assert frames[-1].name == "GOAWAY"
    assert frames[-1].payload[7] == Code.INTERNAL_ERROR


def test_a_server_may_reset_as_it_likes():
    core = client()
    core.request()
    assert not fails(core, wire.rst_stream(1) * 3000)


def test_premature_resets():
    guard = PrematureResets()
    assert not any(guard.on_closed(0.0, responded=False) for _ in range(249))
    assert guard.on_closed(1.9, responded=False)
    guard = PrematureResets()
    assert not any(guard.on_closed(0.0, responded=True) for _ in range(1000))
    assert not any(guard.on_closed(2.0, responded=False) for _ in range(1000))
    guard = PrematureResets(total=10, min_lifetime=5)
    assert not any(guard.on_closed(5.5, responded=False) for _ in range(4))
    assert guard.on_closed(5.5, responded=False)
    guard = PrematureResets(total=10)
    assert not any(guard.on_closed(0.0, responded=number % 3 > 0) for number in range(1000))


@pytest.mark.parametrize("block", [b"x" * 16_384, wire.encode([("a", "x" * 16_000)])])
def test_a_block_without_end_holds_no_more_than_a_few_times_its_limit(block):
    core = server()
    core.feed(OPEN + wire.headers(3, block, end_headers=False))
    tracemalloc.start()
    try:
        for _ in range(1000):
            core.feed(wire.continuation(3, block, end_headers=False))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert core.error is not None


def test_frames_in_tiny_pieces_cost_little_memory():
    core = Core()
    core.feed(wire.PREFACE)
    frame = wire.headers(1, wire.encode([("a", "x" * 16_000)]))
    core.feed(wire.settings())
    tracemalloc.start()
    try:
        core.feed(frame[:-1], 2)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


def test_a_stream_stays_small():
    core = server(max_concurrent_streams=2000)
    core.feed(OPEN)
    tracemalloc.start()
    try:
        core.feed(b"".join(wire.request(number, end=False) for number in range(3, 2003, 2)))
        assert tracemalloc.get_traced_memory()[0] / 1000 < 1500
    finally:
        tracemalloc.stop()


def test_frames_that_wait_for_the_peer_show_in_the_gauges():
    core = server()
    core.feed(OPEN)
    core.unsent = 1 << 30
    for _ in range(3):
        core.send_ping(bytes(8))
    core.opened[1].send_head(b"\x88", False)
    core.take()
    core.feed(wire.ping())
    gauges = core.stats.gauges()
    prefix = core.stats.prefix
    assert gauges[f"{prefix}outbound_frames_active"] >= 5
    assert gauges[f"{prefix}outbound_control_frames_active"] >= 1
    core.unsent = 0
    core.take()
    gauges = core.stats.gauges()
    assert gauges[f"{prefix}outbound_frames_active"] == 0
    assert gauges[f"{prefix}outbound_control_frames_active"] == 0
