"""What the proxy has decided, and why: the last decisions for the admin server, each also a line of the log."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from msgspec import Struct, field

from proxy.base.times import rfc3339

logger = logging.getLogger("outrider.events")

#: So many decisions are kept.
MOST_EVENTS: Final = 1000


class Event(Struct, frozen=True):
    """One decision. `time` and `until` are in Unix seconds; `until` is None where it has no known end.

    `what` is the kind, such as "outlier_ejection"; `about` names what it is about, such as cluster and host;
    `reason` has the numbers that it rests on.
    """

    time: float
    what: str
    about: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    until: float | None = None

    @property
    def text(self) -> str:
        """Everything but the time, on one line."""
        about = "".join(f" {name}={value}" for name, value in self.about.items())
        until = "" if self.until is None else f"; until {rfc3339(self.until)}"
        return f"{self.what}{about}: {self.reason}{until}"

    def fields(self) -> dict[str, str]:
        """The same by name."""
        fields = {"time": rfc3339(self.time), "event": self.what, **self.about, "reason": self.reason}
        if self.until is not None:
            fields["until"] = rfc3339(self.until)
        return fields


class EventLog:
    """See module. `clock` gives Unix seconds."""

    def __init__(self, clock: Callable[[], float], most: int = MOST_EVENTS) -> None:
        self._clock = clock
        self._events: deque[Event] = deque(maxlen=most)

    def record(self, what: str, about: Mapping[str, str], reason: str, lasts: float | None = None) -> None:
        """Note a decision of now; `lasts` is in seconds, None where it has no known end."""
        now = self._clock()
        # A line stays a line whatever a name of the configuration holds.
        clean = {name: " ".join(value.split()) for name, value in about.items()}
        event = Event(now, what, clean, reason, None if lasts is None else now + lasts)
        self._events.append(event)
        logger.info("%s", event.text)

    def last(self, count: int = MOST_EVENTS) -> list[Event]:
        """The newest `count` decisions, the oldest of them first."""
        return list(self._events)[-count:] if count > 0 else []
