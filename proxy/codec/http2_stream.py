"""One stream of an HTTP/2 connection: its state, its windows, and what waits to be sent."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

from proxy.base.own_methods import copy_inherited_methods
from proxy.codec.http2_frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME,
    HEADERS,
    headers_frames,
    reset_frame,
)

if TYPE_CHECKING:
    from proxy.codec.http2_connection import Http2Connection

_pack: Final = FRAME.pack
_END_OF_MESSAGE: Final = END_HEADERS | END_STREAM
_UNLIMITED: Final = 2**32
#: Up to this size a copy is cheaper than another chunk in the queue.
_SMALL: Final = 4096


class ParsedHead(Protocol):
    """What the core reads of a parsed request or response head."""

    @property
    def content_length(self) -> int:
        """Bytes, -1 if none was declared (or if none may be held against the body)."""

    @property
    def informational(self) -> bool:
        """A 1xx response: another head follows."""

    @property
    def bodyless(self) -> bool:
        """A head that no body may follow: 1xx, 204 and 304."""


class PendingSend:
    """What one held-up stream has yet to send."""

    __slots__ = ("chunks", "end", "end_sent", "offset", "reset_code", "size", "trailers")

    def __init__(self) -> None:
        self.chunks: deque[bytes] = deque()
        #: How much of the first chunk has been sent.
        self.offset = 0
        self.size = 0
        self.end = False
        self.end_sent = False
        self.trailers: bytes | None = None
        self.reset_code = -1


class Http2Stream:
    """See module; the owner of the connection subclasses it. One object per stream per side.

    The core calls the `on_*` hooks, none of which may raise, and `check_trailers`. `on_reset` or the end of both
    directions is followed by `Http2Connection.on_stream_closed`, once. After that every method is a no-op.
    """

    # Defaults on the class: few streams change them, and few read them.
    send_blocked = False
    #: The window that the peer has left us is `peer_initial_window` of the connection plus this, so that a change
    #: of the former costs nothing per stream.
    send_credit = 0

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        copy_inherited_methods(cls, Http2Stream)

    def __init__(self, connection: Http2Connection, stream_id: int = 0) -> None:
        self.set_up(connection, stream_id)

    def set_up(self, connection: Http2Connection, stream_id: int) -> None:
        """Set all that every stream reads; apart from `__init__` to have a copy in each subclass."""
        self.connection = connection
        #: 0 until a client's stream has been opened.
        self.id = stream_id
        self.recv_window = connection.initial_recv_window
        #: Whether the stream has left the table.
        self.closed = False
        self.head_received = False
        #: Bytes of the declared content-length still to come, -1 if there is none.
        self.body_left = -1
        #: Set by a client for HEAD: the declared length says nothing about this body.
        self.ignore_length = False
        self.remote_closed = False
        self.local_closed = False
        self.pending: PendingSend | None = None
        #: How often reading was stopped and not resumed.
        self.pauses = 0

    # -- called by the core; the owner overrides

    def on_head(self, parsed: Any, end_stream: bool) -> None:
        """A head came (a client gets one call for each 1xx first). `parsed` is what `parse_head` made."""
        raise NotImplementedError

    def on_data(self, data: bytes, end_stream: bool) -> None:
        """Body bytes came, all that arrived at once; `data` is empty only with `end_stream`."""
        raise NotImplementedError

    def on_message(self, parsed: Any, data: bytes, end_stream: bool) -> None:
        """A final head came together with the first bytes of its body, which are not empty."""
        self.on_head(parsed, False)
        if not self.closed:
            self.on_data(data, end_stream)

    def check_trailers(self, trailers: Any) -> None:
        """The trailers of a request came: raise `Http2MessageError` if they do not fit what came before."""

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
        if self.local_closed:
            return
        connection = self.connection
        if connection.block_prefix:
            block = connection.block_prefix + block
            connection.block_prefix = b""
        size = len(block)
        out = connection.out
        if not out and not connection.receiving:
            connection.wants_write()
        if size <= connection.peer_max_frame_size:
            flags = _END_OF_MESSAGE if end_stream else END_HEADERS
            out.append(_pack(size << 8 | HEADERS, flags, self.id) + block)
        else:
            out.append(headers_frames(self.id, block, end_stream, connection.peer_max_frame_size))
        if end_stream:
            self._end()

    def send_message(self, block: bytes, data: bytes) -> None:
        """A head, a whole body and the end of the stream, as one chunk where the windows allow."""
        connection = self.connection
        head_size = len(block)
        size = len(data)
        if (
            self.local_closed
            or not size
            or size > _SMALL
            or size > connection.send_window
            or size > connection.peer_initial_window + self.send_credit
            or head_size > connection.peer_max_frame_size
            or connection.block_prefix
            or not connection.writable
        ):
            # By class: an owner may have methods of these names that take a request apart.
            Http2Stream.send_head(self, block, not size)
            if size:
                Http2Stream.send_data(self, data, True)
            return
        out = connection.out
        if not out and not connection.receiving:
            connection.wants_write()
        stream_id = self.id
        connection.send_window -= size
        self.send_credit -= size
        connection.data_frames_sent += 1
        out.append(
            _pack(head_size << 8 | HEADERS, END_HEADERS, stream_id)
            + block
            + _pack(size << 8 | DATA, END_STREAM, stream_id)
            + data
        )
        self.local_closed = True
        if self.remote_closed:
            connection.forget(self)
            connection.on_stream_closed(self)

    def send_data(self, data: bytes, end_stream: bool) -> None:
        """Send body bytes. What the windows do not take now is kept and sent later, in order."""
        if self.local_closed:
            return
        connection = self.connection
        size = len(data)
        if (
            self.pending is None
            and size <= connection.send_window
            and size <= connection.peer_initial_window + self.send_credit
            and connection.writable
            and (size or end_stream)
        ):
            out = connection.out
            if not out and not connection.receiving:
                connection.wants_write()
            connection.send_window -= size
            self.send_credit -= size
            if size <= _SMALL:
                out.append(_pack(size << 8 | DATA, end_stream, self.id) + data)
                connection.data_frames_sent += 1
            else:
                self._frame(data, size, end_stream)
            if end_stream:
                self._end()
            return
        pending = self.pending
        if pending is None:
            pending = self.pending = PendingSend()
        elif pending.end or pending.trailers is not None:
            return
        if size:
            pending.chunks.append(data)
            pending.size += size
            connection.add_pending(size)
        pending.end = end_stream
        if self in connection.waiting or self in connection.stalled:
            self._mark_blocked(pending)
        else:
            self.drain()

    def _frame(self, data: bytes, size: int, end_stream: bool) -> None:
        """Queue large body bytes, of which nothing need be kept."""
        connection = self.connection
        out = connection.out
        largest = connection.peer_max_frame_size
        stream_id = self.id
        frames = 1
        if size > largest:
            # Views: a copy would be as dear as all the rest.
            view = memoryview(data)
            position = 0
            header = _pack(largest << 8 | DATA, 0, stream_id)
            while size - position > largest:
                out.append(header)
                out.append(view[position : position + largest])
                position += largest
                frames += 1
            out.append(_pack(size - position << 8 | DATA, end_stream, stream_id))
            out.append(view[position:])
        else:
            out.append(_pack(size << 8 | DATA, end_stream, stream_id))
            out.append(data)
        connection.split_frames += frames
        connection.data_frames_sent += frames

    def send_trailers(self, block: bytes) -> None:
        """Send trailers, behind whatever body still waits, and end the stream."""
        pending = self.pending
        if pending is None:
            Http2Stream.send_head(self, block, True)
        elif not pending.end and pending.trailers is None:
            pending.trailers = block

    def reset(self, code: int) -> None:
        """Send RST_STREAM and forget the stream and what it had to send. `on_reset` is not called."""
        if self.closed:
            return
        if not self.id:
            self.closed = self.local_closed = True
            return
        connection = self.connection
        connection.stats.tx_reset += 1
        connection.queue_control(reset_frame(self.id, code))
        connection.forget(self)
        connection.on_stream_closed(self)

    def reset_after_sending(self, code: int) -> None:
        """As `reset`, once what waits has been sent; for a reply to a request that is still coming."""
        if self.pending is None:
            self.reset(code)
        else:
            self.pending.reset_code = code

    def pause_reading(self) -> None:
        """Stop crediting the peer for this stream's bytes; counted, undone by as many `resume_reading`."""
        self.pauses += 1
        if self.pauses == 1 and not self.closed:
            connection = self.connection
            connection.held += connection.initial_recv_window - self.recv_window

    def resume_reading(self) -> None:
        """Undo one `pause_reading`; the last credits what came meanwhile."""
        self.pauses -= 1
        if not self.pauses and not self.closed:
            connection = self.connection
            full = connection.initial_recv_window
            connection.held -= full - self.recv_window
            connection.credit_stream(self)
            connection.credit()

    @property
    def send_window(self) -> int:
        """Bytes that the peer still takes on this stream; negative after it shrank the window."""
        return self.connection.peer_initial_window + self.send_credit

    @property
    def pending_bytes(self) -> int:
        """Body bytes that wait for the peer."""
        return self.pending.size if self.pending is not None else 0

    # -- for the core

    def drain(self, quantum: int = _UNLIMITED) -> None:
        """Send what the windows take of what waits, up to `quantum` bytes, and note what holds up the rest."""
        pending = self.pending
        assert pending is not None
        connection = self.connection
        if pending.size and connection.writable:
            window = connection.peer_initial_window + self.send_credit
            room = min(window, connection.send_window, quantum)
            if room > 0:
                self._send_pending(pending, room)
        if pending.size:
            if connection.peer_initial_window + self.send_credit > 0:
                connection.waiting[self] = None
            else:
                connection.stalled[self] = None
            self._mark_blocked(pending)
            self._mark_drained(pending)
            return
        if not pending.end and pending.trailers is None:
            self.pending = None
            self._mark_drained(pending)
        else:
            # Whoever was told to stop is told to go on even so, before the end, while nothing can be added.
            self._mark_drained(pending)
            if self.closed:
                return
            self.pending = None
            if pending.trailers is not None:
                Http2Stream.send_head(self, pending.trailers, True)
            elif pending.end_sent:
                self._end()
            else:
                Http2Stream.send_data(self, b"", True)
        if pending.reset_code >= 0:
            self.reset(pending.reset_code)

    def _send_pending(self, pending: PendingSend, room: int) -> None:
        """Frame up to `room` bytes of what waits."""
        connection = self.connection
        largest = connection.peer_max_frame_size
        chunks = pending.chunks
        offset = pending.offset
        out = connection.out
        if not out and not connection.receiving:
            connection.wants_write()
        room = left = min(room, pending.size)
        while left:
            chunk = chunks[0]
            size = min(len(chunk) - offset, largest, left)
            left -= size
            last = pending.end and pending.size == room - left
            out.append(_pack(size << 8 | DATA, last, self.id))
            # Views: a copy would be as dear as all the rest.
            out.append(chunk if size == len(chunk) else memoryview(chunk)[offset : offset + size])
            offset += size
            if offset == len(chunk):
                chunks.popleft()
                offset = 0
            connection.split_frames += 1
            connection.data_frames_sent += 1
        pending.offset = offset
        pending.size -= room
        pending.end_sent = pending.end and not pending.size
        connection.send_window -= room
        self.send_credit -= room
        connection.add_pending(-room)

    def _mark_blocked(self, pending: PendingSend) -> None:
        connection = self.connection
        if not self.send_blocked and (not connection.writable or pending.size > connection.buffer_limit()):
            self.send_blocked = True
            self.on_send_blocked()

    def _mark_drained(self, pending: PendingSend) -> None:
        connection = self.connection
        if self.send_blocked and connection.writable and pending.size <= connection.buffer_limit() // 2:
            self.send_blocked = False
            self.on_send_drained()

    def _end(self) -> None:
        self.local_closed = True
        if self.remote_closed:
            connection = self.connection
            connection.forget(self)
            connection.on_stream_closed(self)
