"""When PINGs go out, and when a peer counts as gone."""

from proxy.codec.http2_options import KeepaliveOptions
from proxy.connection.http2_keepalive import Http2Keepalive
from tests.support.fake_clock import FakeClock


class Connection:
    def __init__(self):
        self.heard = []

    def send_ping(self, opaque):
        assert len(opaque) == 8
        self.heard.append("ping")

    def on_keepalive_timeout(self):
        self.heard.append("timeout")


def started(draw=0, **options):
    clock = FakeClock()
    connection = Connection()
    keepalive = Http2Keepalive(KeepaliveOptions(**options), connection, clock, lambda: draw, clock.now)
    return clock, connection, keepalive


def test_without_an_answer_the_peer_is_given_up():
    clock, connection, _ = started(interval=10, timeout=2, interval_jitter=0)
    clock.advance(9.9)
    assert connection.heard == []
    clock.advance(0.1)
    assert connection.heard == ["ping"]
    clock.advance(2)
    assert connection.heard == ["ping", "timeout"]


def test_an_answer_starts_the_next_interval():
    clock, connection, keepalive = started(interval=10, timeout=2, interval_jitter=0)
    for _ in range(3):
        clock.advance(10)
        clock.advance(1)
        keepalive.on_ack(clock.now)
    assert connection.heard == ["ping"] * 3


def test_anything_received_puts_the_end_off():
    clock, connection, keepalive = started(interval=10, timeout=2, interval_jitter=0)
    clock.advance(10)
    for _ in range(5):
        clock.advance(1.5)
        keepalive.on_received(clock.now)
    assert connection.heard == ["ping"]
    clock.advance(2)
    assert connection.heard == ["ping", "timeout"]


def test_intervals_are_spread():
    clock, connection, _ = started(draw=1_499, interval=10, timeout=2, interval_jitter=15)
    clock.advance(11.4)
    assert connection.heard == []
    clock.advance(0.1)
    assert connection.heard == ["ping"]


def test_a_stream_after_a_pause_is_preceded_by_a_ping():
    clock, connection, keepalive = started(timeout=2, connection_idle_interval=5)
    clock.advance(5)
    keepalive.before_stream(clock.now)
    assert connection.heard == []
    clock.advance(0.1)
    keepalive.before_stream(clock.now)
    keepalive.before_stream(clock.now)
    assert connection.heard == ["ping"]
    keepalive.on_ack(clock.now)
    clock.advance(100)
    assert connection.heard == ["ping"]


def test_nothing_happens_once_stopped():
    clock, connection, keepalive = started(interval=10, timeout=2)
    keepalive.stop()
    keepalive.on_ack(clock.now)
    clock.advance(100)
    assert connection.heard == []
