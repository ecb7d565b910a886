"""When PINGs are sent, and when a silent peer is given up."""

from proxy.codec.http2_keepalive import Http2Keepalive
from proxy.codec.http2_options import KeepaliveOptions
from tests.support import http2_frames as wire
from tests.support.http2_core import client


def pings(core):
    return [frame.name for frame in wire.FrameReader().feed(core.take())]


def test_pings_go_out_in_intervals_with_jitter():
    core = client()
    keepalive = Http2Keepalive(core, KeepaliveOptions(10, 2, 20), 100.0, lambda: 0.5)
    assert keepalive.deadline == 111.0
    assert not keepalive.on_deadline(110.0)
    assert not pings(core)
    assert not keepalive.on_deadline(111.0)
    assert pings(core) == ["PING"]
    keepalive.on_ping_ack(111.5)
    assert keepalive.deadline == 122.5
    assert not keepalive.awaiting


def test_a_silent_peer_is_given_up():
    core = client()
    keepalive = Http2Keepalive(core, KeepaliveOptions(10, 2, 0), 0.0, lambda: 0.0)
    keepalive.on_deadline(10.0)
    assert keepalive.deadline == 12.0
    keepalive.on_read(11.0)
    assert not keepalive.on_deadline(12.0)
    assert keepalive.on_deadline(13.0)
    assert core.stats.keepalive_timeout == 1


def test_a_ping_goes_ahead_of_a_stream_after_a_silence():
    core = client()
    keepalive = Http2Keepalive(core, KeepaliveOptions(0, 2, 0, 5), 0.0, lambda: 0.0)
    assert keepalive.deadline == float("inf")
    keepalive.on_new_stream(4.0)
    assert not pings(core)
    keepalive.on_new_stream(6.0)
    keepalive.on_new_stream(6.0)
    assert pings(core) == ["PING"]
    assert keepalive.deadline == 8.0
    keepalive.on_ping_ack(7.0)
    assert keepalive.deadline == float("inf")
