"""An answer that the head of a request alone decides."""

from __future__ import annotations


class Rejection:
    """A local reply that the head alone decides.

    `close` ends the connection after it, which matters to HTTP/1 only; `drain` ends it in any version, once the
    requests under way are through. `header` is one that the reply has beside those of all replies.
    """

    __slots__ = ("body", "close", "details", "drain", "flags", "header", "location", "stat", "status")

    def __init__(
        self,
        status: int,
        details: str,
        body: str = "",
        flags: int = 0,
        close: bool = False,
        stat: str = "",
        location: str = "",
        drain: bool = False,
        header: tuple[str, str] | None = None,
    ) -> None:
        self.status = status
        self.details = details
        self.body = body
        self.flags = flags
        self.close = close
        self.drain = drain
        self.stat = stat
        self.location = location
        self.header = header
