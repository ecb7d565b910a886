"""What one side of an HTTP/2 connection sends: the queue of chunks, its limits, and the peer's windows."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from proxy.codec.http2_frames import (
    DEFAULT_MAX_FRAME_SIZE,
    DEFAULT_WINDOW,
    MAX_STREAM_ID,
    PREFACE,
    SETTINGS_ENABLE_CONNECT_PROTOCOL,
    SETTINGS_ENABLE_PUSH,
    SETTINGS_HEADER_TABLE_SIZE,
    SETTINGS_INITIAL_WINDOW_SIZE,
    SETTINGS_MAX_CONCURRENT_STREAMS,
    Http2ConnectionError,
    goaway_frame,
    ping_frame,
    settings_frame,
    window_update_frame,
)
from proxy.codec.http2_limits import flood
from proxy.codec.http2_options import Http2Options
from proxy.codec.http2_stats import Http2CodecStats

if TYPE_CHECKING:
    from proxy.codec.http2_stream import Http2Stream

#: A client counts on so many streams until the peer's SETTINGS have come.
_ASSUMED_STREAMS: Final = 100
_UNLIMITED: Final = 2**32
#: Bytes of one stream that may wait when the connection has too many already.
_CROWDED_BUFFER: Final = 64 * 1024
#: A dynamic table size update to 0: the encoder keeps no table, and a peer with a small one must be told.
NO_TABLE: Final = b"\x20"


class Writer(Protocol):
    """What of a transport takes bytes."""

    def write(self, data: bytes) -> None:
        """Take bytes."""

    def writelines(self, data: list[bytes | memoryview]) -> None:
        """Take pieces."""


class Http2Output:
    """See module. `out` is joined and written by the owner, once per turn of the loop (`take`)."""

    def __init__(self, options: Http2Options, *, client: bool, stats: Http2CodecStats) -> None:
        self.options = options
        self.client = client
        self.stats = stats
        stats.senders.add(self)
        self.out: list[bytes | memoryview] = []
        self.streams: dict[int, Http2Stream] = {}
        #: True after an error or `terminate`: whatever comes then is dropped.
        self.dead = False
        #: What the peer's SETTINGS say.
        self.peer_max_concurrent_streams = _ASSUMED_STREAMS if client else _UNLIMITED
        self.peer_initial_window = DEFAULT_WINDOW
        self.peer_max_frame_size = DEFAULT_MAX_FRAME_SIZE
        self.peer_allows_connect = False
        #: Bytes that the peer still takes on the whole connection.
        self.send_window = DEFAULT_WINDOW
        #: Whether the transport takes bytes.
        self.writable = True
        #: Inside `receive`, after which the owner writes anyway.
        self.receiving = False
        #: Put before the next header block.
        self.block_prefix = b""
        #: Body bytes that wait in all streams.
        self.pending_bytes = 0
        self.data_frames_sent = 0
        #: Chunks in `out` that are not the start of a frame, and control frames in it.
        self.split_frames = 0
        self.control_frames = 0
        #: Streams with a body that the connection's window or the transport holds up, in their order.
        self.waiting: dict[Http2Stream, None] = {}
        #: Streams with a body that their own window holds up.
        self.stalled: dict[Http2Stream, None] = {}
        self._taken_bytes = 0
        #: (offset of the end, frames, control frames) of what was taken and may not have left yet.
        self._taken: deque[tuple[int, int, int]] = deque()
        self._taken_frames = 0
        self._taken_control_frames = 0
        #: SETTINGS that the peer has not acknowledged.
        self.settings_due = 0
        self.goaway_sent = False
        self.final_goaway_sent = False
        #: The highest stream that the peer opened (server) or that was opened here (client; -1 before the first).
        self.last_stream_id = -1 if client else 0

    # -- hooks for the owner

    def wants_write(self) -> None:
        """`out` went from empty to not empty outside `receive`: schedule a flush."""

    def unsent_bytes(self) -> int:
        """How many of the bytes taken so far the transport still holds (`get_write_buffer_size`)."""
        return 0

    def on_overflow(self, error: Http2ConnectionError) -> None:
        """The limit on outbound frames was broken outside `receive`: drop the connection without a flush."""

    # -- for the owner

    def start(self) -> None:
        """Queue the preface (client), SETTINGS and the connection's WINDOW_UPDATE."""
        options = self.options
        settings = [(SETTINGS_ENABLE_PUSH, 0)] if self.client else []
        settings += options.custom_settings
        known = {identifier for identifier, _ in settings}
        settings += [
            setting
            for setting in (
                (SETTINGS_HEADER_TABLE_SIZE, options.hpack_table_size),
                (SETTINGS_ENABLE_CONNECT_PROTOCOL, int(options.allow_connect)),
                (SETTINGS_MAX_CONCURRENT_STREAMS, options.max_concurrent_streams),
                (SETTINGS_INITIAL_WINDOW_SIZE, options.initial_stream_window_size),
            )
            if setting[0] not in known
        ]
        if self.client:
            self.queue(PREFACE)
        self.settings_due += 1
        self.queue(settings_frame(settings))
        extra = options.initial_connection_window_size - DEFAULT_WINDOW
        if extra > 0:
            self.queue(window_update_frame(0, extra))

    def take(self) -> bytes:
        """Everything queued, joined; `out` is empty afterwards."""
        data = b"".join(self.out)
        self._note_taken(len(data))
        return data

    def write_to(self, transport: Writer, *, encrypted: bool) -> int:
        """Write everything queued; its size. Large bodies go in pieces, which saves a copy.

        Not so over TLS, where each piece would become a record of its own.
        """
        if not self.split_frames or encrypted:
            data = self.take()
            transport.write(data)
            return len(data)
        chunks = self.out.copy()
        size = sum(map(len, chunks))
        self._note_taken(size)
        transport.writelines(chunks)
        return size

    def outbound_frames(self) -> tuple[int, int]:
        """(frames, control frames among them) that wait for the peer, here and in the transport."""
        self._forget_sent()
        return (
            self._taken_frames + len(self.out) - self.split_frames,
            self._taken_control_frames + self.control_frames,
        )

    def _note_taken(self, size: int) -> None:
        out = self.out
        taken = self._taken
        if taken and not self.unsent_bytes():
            taken.clear()
            self._taken_frames = self._taken_control_frames = 0
        frames = len(out) - self.split_frames
        self._taken_bytes += size
        taken.append((self._taken_bytes, frames, self.control_frames))
        self._taken_frames += frames
        self._taken_control_frames += self.control_frames
        out.clear()
        self.split_frames = self.control_frames = 0
        if self._taken_frames > self.options.max_outbound_frames and not self.dead:
            try:
                self.check_outbound()
            except Http2ConnectionError as error:
                self.dead = True
                self.on_overflow(error)

    def pause_writing(self) -> None:
        """The transport is full: bodies wait in their streams (heads and control frames do not)."""
        self.writable = False

    def resume_writing(self) -> None:
        """The transport takes bytes again: waiting bodies go on."""
        self.writable = True
        self.pump()

    def graceful_goaway(self) -> None:
        """Announce the end (GOAWAY with id 2^31-1): streams that the peer opens meanwhile are still served."""
        if not self.goaway_sent:
            self.goaway_sent = True
            self.queue(goaway_frame(MAX_STREAM_ID, 0))

    def final_goaway(self, code: int = 0) -> None:
        """GOAWAY with the last stream seen: later streams are ignored. Once only."""
        if not self.final_goaway_sent:
            self.goaway_sent = self.final_goaway_sent = True
            self.stats.goaway_sent += 1
            self.queue(goaway_frame(self.last_peer_stream_id, code))

    def send_ping(self, opaque: bytes) -> None:
        """Send PING with 8 bytes; the answer calls `on_ping_ack`."""
        self.queue(ping_frame(opaque))

    @property
    def last_peer_stream_id(self) -> int:
        """What a GOAWAY names: the highest stream that the peer opened."""
        return 0 if self.client else self.last_stream_id

    # -- for the parts of the core

    def queue(self, frame: bytes) -> None:
        """Queue one frame."""
        out = self.out
        if not out and not self.receiving:
            self.wants_write()
        out.append(frame)

    def queue_control(self, frame: bytes) -> None:
        """Queue a frame that a peer can provoke without limit: an acknowledgement or a RST_STREAM."""
        self.control_frames += 1
        self.queue(frame)

    def check_outbound(self) -> None:
        """Raise `Http2ConnectionError` if more frames wait for the peer than allowed.

        Called when a count that never looks at the transport says so: this one does.
        """
        options = self.options
        frames, control = self.outbound_frames()
        if frames > options.max_outbound_frames:
            self.stats.outbound_flood += 1
            raise flood("Too many frames in the outbound queue.")
        if control > options.max_outbound_control_frames:
            self.stats.outbound_control_flood += 1
            raise flood("Too many control frames in the outbound queue.")

    def _forget_sent(self) -> None:
        """No longer count what has left."""
        taken = self._taken
        if taken:
            sent = self._taken_bytes - self.unsent_bytes()
            while taken and taken[0][0] <= sent:
                _, frames, control = taken.popleft()
                self._taken_frames -= frames
                self._taken_control_frames -= control

    def outbound_suspect(self) -> bool:
        """Whether `check_outbound` should look."""
        options = self.options
        return (
            self._taken_control_frames + self.control_frames > options.max_outbound_control_frames
            or self._taken_frames + len(self.out) > options.max_outbound_frames
        )

    def add_pending(self, size: int) -> None:
        """So many more body bytes wait (or fewer)."""
        self.pending_bytes += size
        self.stats.pending_send_bytes += size

    def buffer_limit(self) -> int:
        """How many bytes of one stream may wait before its sender is held up."""
        options = self.options
        limit = options.stream_buffer_bytes
        return limit if self.pending_bytes <= options.connection_buffer_bytes else min(limit, _CROWDED_BUFFER)

    def pump(self) -> None:
        """Send what waits for the connection, a frame of each stream in turn."""
        waiting = self.waiting
        while waiting and self.writable and self.send_window > 0:
            stream = next(iter(waiting))
            del waiting[stream]
            stream.drain(self.peer_max_frame_size if waiting else _UNLIMITED)
