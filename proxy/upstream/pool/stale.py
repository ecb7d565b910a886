"""When an idle connection is too old to be trusted: the peer may be closing it at this very moment.

A peer tells its limit (`proxy.codec.keep_alive`), or shows it by closing. What goes wrong nevertheless may be sent
again if that does no harm (RFC 9110 section 9.2.2).
"""

from __future__ import annotations

from typing import Final

#: Methods whose requests may be sent again, where nobody has said so: the idempotent ones.
REPEATABLE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})

#: What was observed counts for this many seconds, or for some times what it says.
_MEMORY_SECONDS: Final = 10.0
_MEMORY_TIMES: Final = 4


class ObservedCloses:
    """How long connections had been idle when the peer closed them. Times are monotonic seconds."""

    __slots__ = ("_seen_at", "shortest")

    def __init__(self) -> None:
        self.shortest = float("inf")
        self._seen_at = 0.0

    def note(self, idle_for: float, now: float) -> None:
        """The peer has closed a connection that was idle for so long."""
        self._forget(now)
        self.shortest = min(self.shortest, idle_for)
        self._seen_at = now

    def trusts(self, idle_for: float, now: float) -> bool:
        """Whether a connection that was idle for so long is safe for a request that must not be sent twice."""
        if self.shortest == float("inf"):
            return True
        self._forget(now)
        return idle_for * 2 < self.shortest

    def _forget(self, now: float) -> None:
        if now - self._seen_at > max(_MEMORY_SECONDS, self.shortest * _MEMORY_TIMES):
            self.shortest = float("inf")
