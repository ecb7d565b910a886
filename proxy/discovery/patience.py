"""How long a control plane has for its answers before the snapshot stands in for it."""

from __future__ import annotations

from typing import Final

ANSWER_SECONDS: Final = 5.0
"""How long a control plane that is connected, or still connecting, has for all that a start asks of it.

A restart then costs seconds rather than the 15 s of Envoy's `initial_fetch_timeout` for one type after the other,
and a healthy server that is merely busy has answered by then.
"""

LATE_SECONDS: Final = 1.0
"""What is asked for late in a start has this long, of a server that has answered everything so far: it takes what
came before to know what to ask for next, and a server that lives would be talked over else."""


class Patience:
    """The bound is one for the whole start: types are asked for one after the other, and a server that left one
    unanswered for so long is not waited for again, until it answers something.

    Times are of one monotonic clock, in seconds. A server is whatever its config calls it.
    """

    def __init__(self) -> None:
        self._begun: float | None = None
        self._silent: set[str] = set()

    def begin(self, now: float) -> None:
        """Something is asked for; the first time counts."""
        if self._begun is None:
            self._begun = now

    def heard(self, server: str) -> None:
        """A server has answered."""
        self._silent.discard(server)

    def ended(self, server: str, since: float, now: float, *, starting: bool) -> bool:
        """Whether what a server was asked for at `since` is not waited for any more. Once it has started, a proxy
        has no bound for everything: each type has its own."""
        if not starting or self._begun is None:
            return now >= since + ANSWER_SECONDS
        if server not in self._silent and now >= max(self._begun + ANSWER_SECONDS, since + LATE_SECONDS):
            self._silent.add(server)
        return server in self._silent
