"""Sessions that have no timer of their own yet: most end before one would matter.

A deadline that is far away is looked at when the session has lived through the next sweep, which is not later than
`SWEEP` seconds from now. Asking the timer queue for each connection costs 3 % of one that carries a single request.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from proxy.base.services import Timers

#: Seconds from the first young session to the moment when all that still live look at their deadlines.
SWEEP: Final = 0.2


class YoungSession(Protocol):
    """See `proxy.tcp_proxy.session.TcpSession`."""

    def settle(self, now: float) -> None:
        """Look at the deadlines; to be called once at most."""


class YoungSessions:
    """Those of one filter. Keys are sessions; the values mean nothing."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._sessions: dict[YoungSession, None] = {}
        self._sweep: Any = None

    def add(self, session: YoungSession, now: float) -> None:
        """Have `session.settle` called within `SWEEP` seconds."""
        self._sessions[session] = None
        if self._sweep is None:
            self._sweep = self._timers.wake(now + SWEEP, self)

    def discard(self, session: YoungSession) -> None:
        """Forget a session that has ended, if it is there."""
        self._sessions.pop(session, None)

    def on_wake(self, now: float) -> None:
        """See `Timers`."""
        self._sweep = None
        sessions, self._sessions = self._sessions, {}
        for session in sessions:
            session.settle(now)
