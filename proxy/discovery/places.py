"""Places in memory that all processes share, one for each cluster or listener."""

from __future__ import annotations

from collections import deque


class Places:
    """Hands out numbers from 0 to `capacity` - 1; one that was given back is used again as late as possible.

    What had it before may still be finishing its last requests.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._next = 0
        self._free: deque[int] = deque()

    def take(self) -> int | None:
        """A number that nobody has, None if there is none left."""
        if self._next < self.capacity:
            self._next += 1
            return self._next - 1
        return self._free.popleft() if self._free else None

    def give_back(self, place: int) -> None:
        """The number is free again."""
        self._free.append(place)
