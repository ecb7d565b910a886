"""One stream of an HTTP/2 connection: its state, its windows, and what waits to be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from proxy.codec.http2_connection import Http2Connection


class ParsedHead(Protocol):
    """What the core reads of a parsed request or response head."""

    @property
    def content_length(self) -> int:
        """Bytes, -1 if none was declared (or if none may be held against the body)."""

    @property
    def informational(self) -> bool:
        """A 1xx response: another head follows."""


class Http2Stream:
    """See module; the owner of the connection subclasses it. One object per stream per side.

    The core calls the `on_*` hooks; none of them may raise. `on_reset` or the end of both directions is
    followed by `Http2Connection.on_stream_closed`, once. After that every method is a no-op.
    """

    __slots__ = (
        "body_left",
        "closed",
        "connection",
        "head_received",
        "id",
        "ignore_length",
        "local_closed",
        "pauses",
        "pending",
        "recv_unacked",
        "recv_window",
        "remote_closed",
        "send_blocked",
        "send_credit",
    )

    def __init__(self, connection: Http2Connection, stream_id: int = 0) -> None:
        self.connection = connection
        #: 0 until a client's stream has been opened.
        self.id = stream_id
        self.closed = False
        self.head_received = False
        #: Bytes of the declared content-length still to come, -1 if there is none.
        self.body_left = -1
        #: Set by a client for HEAD: the declared length says nothing about this body.
        self.ignore_length = False
        self.remote_closed = False
        self.local_closed = False
        self.pending: PendingSend | None = None
        self.send_blocked = False

    # -- called by the core; the owner overrides

    def on_head(self, parsed: Any, end_stream: bool) -> None:
        """A head came (a client gets one call for each 1xx first). `parsed` is what `parse_head` made."""
        raise NotImplementedError

    def on_data(self, data: bytes, end_stream: bool) -> None:
        """Body bytes came, in the pieces in which they arrive; `data` is empty only with `end_stream`."""
        raise NotImplementedError

    def on_trailers(self, trailers: Any) -> None:
        """Trailers came and the peer has finished. `trailers` is what `parse_trailers` made (shared: no edits)."""
        raise NotImplementedError

    def on_reset(self, code: int, details: str, remote: bool) -> None:
        """The stream ended early: by the peer's RST_STREAM, by an error found here, or with its connection."""
        raise NotImplementedError

    def on_send_blocked(self) -> None:
        """Too much waits for the peer: stop producing. See `Http2Options.stream_buffer_bytes`."""

    def on_send_drained(self) -> None:
        """Production may go on."""

    # -- offered to the owner

    def send_head(self, block: bytes, end_stream: bool) -> None:
        """Send a header block: a request, a response, or a 1xx (with `end_stream` False)."""
        raise NotImplementedError

    def send_message(self, block: bytes, data: bytes) -> None:
        """A head, a whole body and the end of the stream, as one chunk where the windows allow."""
        raise NotImplementedError

    def send_data(self, data: bytes, end_stream: bool) -> None:
        """Send body bytes. What the windows do not take now is kept and sent later, in order."""
        raise NotImplementedError

    def send_trailers(self, block: bytes) -> None:
        """Send trailers, behind whatever body still waits, and end the stream."""
        raise NotImplementedError

    def reset(self, code: int) -> None:
        """Send RST_STREAM and forget the stream and what it had to send. `on_reset` is not called."""
        raise NotImplementedError

    def reset_after_sending(self, code: int) -> None:
        """As `reset`, once what waits has been sent; for a reply to a request that is still coming."""
        raise NotImplementedError

    def pause_reading(self) -> None:
        """Stop crediting the peer for this stream's bytes; counted, undone by as many `resume_reading`."""
        raise NotImplementedError

    def resume_reading(self) -> None:
        """Undo one `pause_reading`; the last credits what came meanwhile."""
        raise NotImplementedError

    @property
    def send_window(self) -> int:
        """Bytes that the peer still takes on this stream; negative after it shrank the window."""
        raise NotImplementedError

    @property
    def pending_bytes(self) -> int:
        """Body bytes that wait for the peer."""
        raise NotImplementedError


class PendingSend:
    """What one blocked stream has yet to send."""

    __slots__ = ("chunks", "end", "reset_code", "size", "trailers")
