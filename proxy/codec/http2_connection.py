"""The sans-IO core of HTTP/2 (RFC 9113): one side of one connection; bytes in, hooks out, chunks to write.

The owner subclasses `Http2Connection` together with `asyncio.Protocol`, and `Http2Stream` for its streams.
"""

from __future__ import annotations

from typing import Any

from proxy.codec.http2_options import Http2Options
from proxy.codec.http2_stats import Http2CodecStats
from proxy.codec.http2_stream import Http2Stream, ParsedHead


class Http2Connection:
    """See module.

    `out` holds chunks to write; the owner joins and writes them once per turn of the loop (`take`).
    `streams` holds the open streams by id. `dead` is True after an error, `terminate` or the owner's close:
    whatever comes then is dropped.
    """

    def __init__(self, options: Http2Options, *, client: bool, stats: Http2CodecStats) -> None:
        self.options = options
        self.client = client
        self.stats = stats
        self.out: list[bytes] = []
        self.streams: dict[int, Http2Stream] = {}
        self.dead = False
        #: What the peer's SETTINGS say. A client counts on 100 streams until they have come.
        self.peer_max_concurrent_streams = 100 if client else 2**31
        self.peer_allows_connect = False
        self.settings_received = False
        #: The peer sent GOAWAY; `peer_last_stream_id` is the last one it may process.
        self.goaway_received = False
        self.peer_last_stream_id = 2**31 - 1
        #: The highest stream that the peer opened (server) or that was opened here (client).
        self.last_stream_id = 0

    # -- driving it

    def start(self) -> None:
        """Queue the preface (client), SETTINGS and the connection's WINDOW_UPDATE."""
        raise NotImplementedError

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer. Raises `Http2ConnectionError` only, after which the core is dead:

        the owner writes `take()` (a GOAWAY is in it if Envoy would send one), calls `terminate` and closes.
        Nothing is written from within: the owner flushes after this returns or raises.
        """
        raise NotImplementedError

    def take(self) -> bytes:
        """Everything queued, joined; `out` is empty afterwards."""
        raise NotImplementedError

    def pause_writing(self) -> None:
        """The transport is full: bodies wait in their streams (heads and control frames do not)."""
        raise NotImplementedError

    def resume_writing(self) -> None:
        """The transport takes bytes again: waiting bodies go on."""
        raise NotImplementedError

    def terminate(self, details: str, code: int = 0) -> None:
        """The connection is gone or about to be closed: every stream gets `on_reset(code, details, True)`."""
        raise NotImplementedError

    # -- streams of a client

    @property
    def can_open(self) -> bool:
        """Whether `open_stream` may be called: no GOAWAY, ids left, and the peer allows one more stream."""
        raise NotImplementedError

    def open_stream(self, stream: Http2Stream) -> None:
        """Give `stream` (of this connection, unopened) the next id and put it in the table."""
        raise NotImplementedError

    # -- connection-wide frames

    def graceful_goaway(self) -> None:
        """Announce the end (GOAWAY with id 2^31-1): streams that the peer opens meanwhile are still served."""
        raise NotImplementedError

    def final_goaway(self, code: int = 0) -> None:
        """GOAWAY with the last stream seen: later streams are ignored."""
        raise NotImplementedError

    def send_ping(self, opaque: bytes) -> None:
        """Send PING with 8 bytes; the answer calls `on_ping_ack`."""
        raise NotImplementedError

    # -- hooks for the owner

    def new_stream(self, stream_id: int) -> Http2Stream:
        """Server: make the stream object for a new request. Called before its field section is looked at."""
        raise NotImplementedError

    def parse_head(self, fields: list[tuple[str, str]], block_size: int) -> ParsedHead:
        """Parse a decoded field section of `block_size` encoded bytes. Raises `Http2MessageError`.

        The result is remembered for equal blocks, so nobody may change it. `decoder.never_indexed` holds the
        names that may not be put in a table.
        """
        raise NotImplementedError

    def parse_trailers(self, fields: list[tuple[str, str]], block_size: int) -> Any:
        """As `parse_head`, for trailers."""
        raise NotImplementedError

    def wants_write(self) -> None:
        """`out` went from empty to not empty outside `receive`: schedule a flush."""

    def unsent_bytes(self) -> int:
        """How many of the bytes taken so far the transport still holds (`get_write_buffer_size`)."""
        return 0

    def on_settings(self) -> None:
        """The peer's SETTINGS came; the `peer_*` attributes have changed."""

    def on_goaway(self, last_stream_id: int, code: int, debug: bytes) -> None:
        """The peer sent GOAWAY. Streams beyond `last_stream_id` have already had `on_refused`."""

    def on_refused(self, stream: Http2Stream) -> None:
        """Client: the peer's GOAWAY says that it will never process `stream`, which may go elsewhere."""

    def on_ping_ack(self, opaque: bytes) -> None:
        """The peer answered a PING."""

    def on_stream_closed(self, stream: Http2Stream) -> None:
        """`stream` has left the table, for whatever reason; called once for each."""

    def on_overflow(self, error: Exception) -> None:
        """Sending outside `receive` broke the limit on outbound frames: drop the connection without a flush."""
