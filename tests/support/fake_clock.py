"""Time that moves only when a test says so."""

from __future__ import annotations

from datetime import UTC, datetime


class FakeClock:
    """Monotonic and wall time in seconds, and timers that fire while `advance` passes them.

    The object itself can be called for the monotonic time. It is a `Timers` too: `wake(when, target)` calls
    `target.on_wake(now)`.
    """

    def __init__(self, monotonic: float = 1000.0, wall: float = 1_700_000_000.0) -> None:
        self.now = monotonic
        self.wall_now = wall
        self._timers: list[tuple[float, int, object]] = []
        self._count = 0

    def __call__(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        """Seconds since 1970."""
        return self.wall_now

    def datetime(self) -> datetime:
        return datetime.fromtimestamp(self.wall_now, UTC)

    def wake(self, when: float, target: object) -> tuple[float, int, object]:
        self._count += 1
        entry = (when, self._count, target)
        self._timers.append(entry)
        return entry

    def cancel(self, entry: tuple[float, int, object]) -> None:
        if entry in self._timers:
            self._timers.remove(entry)

    def advance(self, seconds: float) -> None:
        """Let time pass; timers fire in order, each at its own time."""
        end = self.now + seconds
        while True:
            due = [timer for timer in self._timers if timer[0] <= end]
            if not due:
                break
            first = min(due, key=lambda timer: timer[:2])
            self._timers.remove(first)
            self._set(max(first[0], self.now))
            first[2].on_wake(self.now)  # type: ignore[attr-defined]
        self._set(end)

    def _set(self, now: float) -> None:
        self.wall_now += now - self.now
        self.now = now
