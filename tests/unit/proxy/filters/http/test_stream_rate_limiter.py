from __future__ import annotations

from proxy.filters.http.stream_rate_limiter import StreamRateLimiter
from tests.support.fake_clock import FakeClock


class Response:
    """A response on its way through a limiter of 1000 bytes a second, of which 100 may wait."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.events: list[str] = []
        self.limiter = StreamRateLimiter(self, 1000, 100, self._wake)

    def _wake(self, when: float) -> None:
        self.clock.wake(when, self)

    def on_wake(self, now: float) -> None:
        self.limiter.on_time(now)

    def put(self, size: int, *, end_stream: bool = False) -> None:
        self.limiter.put(b"x" * size, end_stream, self.clock.now)

    def write(self, data: bytes, end_stream: bool) -> None:
        self.events.append(f"{len(data)}{' end' * end_stream}")

    def finish(self) -> None:
        self.events.append("trailers")

    def pause(self) -> None:
        self.events.append("pause")

    def resume(self) -> None:
        self.events.append("resume")

    def after(self, seconds: float) -> list[str]:
        """What has happened meanwhile."""
        self.clock.advance(seconds)
        events, self.events = self.events, []
        return events


def test_a_body_leaves_in_portions_at_its_rate() -> None:
    response = Response()
    response.put(95, end_stream=True)
    assert response.after(0.01) == ["50"]
    assert response.after(0.05) == ["45 end"]
    assert response.after(10) == []


def test_an_empty_body_still_ends() -> None:
    response = Response()
    response.put(0, end_stream=True)
    assert response.after(0.01) == ["0 end"]


def test_after_a_rest_a_seconds_worth_may_go_at_once() -> None:
    response = Response()
    response.put(10)
    assert response.after(10) == ["10"]
    response.put(2000)
    assert response.after(0.01) == ["pause", "1000"]


def test_the_sender_waits_while_more_waits_than_may() -> None:
    response = Response()
    response.put(160)
    assert response.after(0.01) == ["pause", "50"]
    assert "resume" not in response.after(0.05)
    assert response.after(0.05)[0] == "resume"


def test_trailers_follow_the_last_byte() -> None:
    response = Response()
    response.put(60)
    assert response.after(0.01) == ["50"]
    assert response.limiter.end()
    assert response.after(0.05) == ["10", "trailers"]
    assert not Response().limiter.end()
