"""Servers that speak first, behind listener filters that wait for the client's first bytes.

With MySQL, SMTP and the like both sides would wait for `listener_filters_timeout`. So while nothing is waited for
but the detection of a protocol, the host of the fallback chain is dialled: the chain of a client in whom nothing
was detected. If the host speaks before the client, the protocol is clear: the chain is chosen as if the time were
over, and what the host has said goes on its way. Until then nothing is sent to the host. If the client speaks
first, the chain is chosen as ever, and the connection is closed unless it is the one that this chain wants.

Who spoke first is remembered for each destination: where it was the server, the next connection dials at once;
where it was the client, none does. A destination that is not known is dialled after a silence that most clients
do not keep. Either way a wrong memory costs one connection and is corrected by it.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, ClassVar, Final

from proxy.base.services import Timers
from proxy.base.stats import StatGroup

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.base.stream_info import ConnectionInfo

logger = logging.getLogger("outrider.filter")

#: Seconds that a client must be silent before an unknown destination is dialled.
SILENCE: Final = 0.05
#: Seconds that it is remembered who speaks first.
_SERVER_KNOWN: Final = 600.0
_CLIENT_KNOWN: Final = 60.0
_MOST_DESTINATIONS: Final = 1024
#: Connections of one listener and worker that may be made early at the same time: silent clients are cheap to have.
MOST_EARLY: Final = 256


class FirstSpeakers:
    """Who speaks first at which destination. Bounded: the destination not asked for longest goes first."""

    def __init__(self, most: int = _MOST_DESTINATIONS) -> None:
        self._most = most
        self._known: OrderedDict[str, tuple[bool, float]] = OrderedDict()

    def server_first(self, destination: str, now: float) -> bool | None:
        """Whether the server does; None if that is not known (any more). `now` is a monotonic second."""
        known = self._known.get(destination)
        if known is None:
            return None
        if now >= known[1]:
            del self._known[destination]
            return None
        self._known.move_to_end(destination)
        return known[0]

    def learn(self, destination: str, server_first: bool, now: float) -> bool:
        """The latest word on a destination; whether that is news."""
        known = self.server_first(destination, now)
        self._known[destination] = server_first, now + (_SERVER_KNOWN if server_first else _CLIENT_KNOWN)
        self._known.move_to_end(destination)
        if len(self._known) > self._most:
            self._known.popitem(last=False)
        return known is not server_first


def dial_after(
    server_first: bool | None, only_detecting: bool, chain_allows: bool, early: int
) -> float | None:
    """How many seconds after it began to wait a connection may dial its host; None for not at all.

    `only_detecting` says that all filters still to come only detect a protocol. `chain_allows` says that the
    fallback chain leads to a host by itself: no gate that may refuse or change something, no TLS to the client.
    `early` is how many other connections are at it.
    """
    if not only_detecting or not chain_allows or server_first is False or early >= MOST_EARLY:
        return None
    return 0.0 if server_first else SILENCE


class ServerFirstStats(StatGroup):
    """`listener.<address>.server_first.*`, of which Envoy has nothing.

    `dialled` early; of these, `spoke` before the client, and `wrong`: the client was first though the server was
    expected to be.
    """

    COUNTERS: ClassVar[tuple[str, ...]] = ("dialled", "spoke", "wrong")

    dialled: int
    spoke: int
    wrong: int


class ServerFirst:
    """What the early dials of one listener in one worker share."""

    def __init__(
        self, listener: str, timers: Timers, now: Callable[[], float], stats: ServerFirstStats
    ) -> None:
        self.listener = listener
        self.timers = timers
        self.now = now
        self.stats = stats
        self.speakers = FirstSpeakers()
        self.early = 0

    def watch(self, connection: ConnectionInfo, dial: Any, spoke: Callable[[], None]) -> Watch:
        """Watch a connection whose client is silent.

        `dial(connection, on_spoke)` is the fallback chain's (see `TcpProxyFilter.dial_early`), None if that chain
        has or allows none; `spoke` is called when the host has spoken.
        """
        destination = connection.local_address.text
        now = self.now()
        known = self.speakers.server_first(destination, now)
        watch = Watch(self, connection, destination, known, dial, spoke)
        delay = dial_after(known, True, dial is not None, self.early)
        if delay is not None:
            watch.dial_in(delay, now)
        return watch


class Watch:
    """One connection, from the silence of its client to the choice of its chain."""

    __slots__ = ("_connection", "_destination", "_dial", "_early", "_expected", "_of", "_spoke", "_timer")

    def __init__(
        self,
        of: ServerFirst,
        connection: ConnectionInfo,
        destination: str,
        expected: bool | None,
        dial: Any,
        spoke: Callable[[], None],
    ) -> None:
        self._of = of
        self._connection = connection
        self._destination = destination
        self._expected = expected
        self._dial = dial
        self._spoke: Callable[[], None] | None = spoke
        self._early: Any = None
        self._timer: Any = None

    def dial_in(self, delay: float, now: float) -> None:
        """Dial in so many seconds, at once if that is 0."""
        if delay:
            self._timer = self._of.timers.wake(now + delay, self)
        else:
            self.on_wake(now)

    def on_wake(self, now: float) -> None:
        """The client has been silent for long enough."""
        del now
        self._timer = None
        self._early = early = self._dial(self._connection, self._on_spoke)
        if early is not None:
            self._of.early += 1
            self._of.stats.dialled += 1

    def _on_spoke(self) -> None:
        if self._spoke is None:
            return  # too late
        of = self._of
        of.stats.spoke += 1
        if of.speakers.learn(self._destination, True, of.now()):
            logger.info(
                "listener %s: the server at %s speaks first: connections to it do not wait for the client",
                of.listener,
                self._destination,
            )
        self._spoke()

    def client_spoke(self) -> None:
        """The client was first."""
        self._spoke = None
        if self._expected is False:
            return
        of = self._of
        of.speakers.learn(self._destination, False, of.now())
        if self._expected:
            of.stats.wrong += 1
            logger.info(
                "listener %s: the client spoke first at %s, where the server did before: connections wait again",
                of.listener,
                self._destination,
            )

    def end(self) -> Any:
        """The connection to the host or the attempt to make one, now the caller's; None if there is none."""
        early, self._early = self._early, None
        if self._timer is not None:
            self._of.timers.cancel(self._timer)
            self._timer = None
        if early is not None:
            self._of.early -= 1
        return early
