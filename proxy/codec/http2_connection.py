"""The sans-IO core of HTTP/2 (RFC 9113): one side of one connection; bytes in, hooks out, chunks to write.

The owner subclasses `Http2Connection` together with `asyncio.Protocol`, and `Http2Stream` for its streams.
Frames are read straight from what arrives; DATA is handed on as it arrives, frames of one stream that come
together as one piece.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.base.own_methods import copy_inherited_methods
from proxy.codec.http2_control import REMOTE_RESET, malformed, refused
from proxy.codec.http2_field_sections import Http2FieldSections
from proxy.codec.http2_frames import (
    CONTINUATION,
    DATA,
    DEFAULT_MAX_FRAME_SIZE,
    END_HEADERS,
    END_STREAM,
    FRAME,
    FRAME_HEADER_SIZE,
    HEADERS,
    MAX_STREAM_ID,
    PADDED,
    PREFACE,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    WORD,
    ErrorCode,
    Http2ConnectionError,
    goaway_frame,
)
from proxy.codec.http2_options import Http2Options
from proxy.codec.http2_stats import Http2CodecStats
from proxy.codec.http2_stream import Http2Stream

_unpack: Final = FRAME.unpack_from
#: What begins a WINDOW_UPDATE, and its size as a whole.
_UPDATE: Final = 4 << 8 | WINDOW_UPDATE
_UPDATE_SIZE: Final = FRAME_HEADER_SIZE + 4
#: Frames from this size on are handed on together. Small ones stay what they are: their number counts in the limits
#: on what a peer leaves unread.
_LARGE: Final = 4096
#: By the type of the frame; DATA has its own way.
_HANDLERS: Final[tuple[Callable[[Http2FieldSections, int, int, bytes], None], ...]] = (
    Http2FieldSections.on_headers_frame,
    Http2FieldSections.on_headers_frame,
    Http2FieldSections.on_priority_frame,
    Http2FieldSections.on_reset_frame,
    Http2FieldSections.on_settings_frame,
    Http2FieldSections.on_push_promise,
    Http2FieldSections.on_ping_frame,
    Http2FieldSections.on_goaway_frame,
    Http2FieldSections.on_window_update,
    Http2FieldSections.on_continuation,
)
#: Flags that say how HEADERS are to be read.
_SHAPE: Final = END_HEADERS | PADDED | WITH_PRIORITY
_UNEXPECTED: Final = "unexpected non-CONTINUATION frame or stream_id is invalid"


class Http2Connection(Http2FieldSections):
    """See module; its bases hold the rest of the interface.

    `streams` holds the open streams by id. `dead` is True after an error or `terminate`: whatever comes then is
    dropped.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        copy_inherited_methods(cls, Http2Connection)

    def __init__(self, options: Http2Options, *, client: bool, stats: Http2CodecStats) -> None:
        super().__init__(options, client=client, stats=stats)
        self._preface = b"" if client else PREFACE
        #: The beginning of a frame whose rest has not come, and how many bytes it takes to go on.
        self._partial = bytearray()
        self._needed = 0
        #: Of a DATA frame that has not come whole: its stream (None: nobody wants it), payload and padding.
        self._data_stream: Http2Stream | None = None
        self._data_left = 0
        self._padding_left = 0
        self._data_ends = False
        #: Bytes of frame headers that came with the body bytes which are being handed on.
        self.data_framing = FRAME_HEADER_SIZE

    # -- driving it

    def receive(self, data: bytes) -> None:
        """Take bytes from the peer.

        Raises nothing but `Http2ConnectionError`, after which the core is dead: the owner writes `take()` (a
        GOAWAY is in it if Envoy would send one), calls `terminate` and closes. The owner flushes after this
        returns or raises: `wants_write` is not called from within.
        """
        if self.dead:
            return
        if self._needed:
            partial = self._partial
            partial += data
            if len(partial) < self._needed:
                return
            data = bytes(partial)
            self._partial = bytearray()
            self._needed = 0
        queued = len(self.out)
        self.receiving = True
        try:
            self._parse(data)
            if self.window_grew:
                self.wake_stalled()
            if self.outbound_suspect():
                self.check_outbound()
        except Http2ConnectionError as error:
            self.dead = True
            # What this read made us say is not sent, as in Envoy, which sends after it has read.
            del self.out[queued:]
            self.split_frames = min(self.split_frames, queued)
            if error.goaway:
                self.out.append(goaway_frame(self.last_peer_stream_id, error.code, error.debug))
            raise
        finally:
            self.receiving = False

    def terminate(self, details: str, code: int = ErrorCode.INTERNAL_ERROR) -> None:
        """The connection is gone or about to be closed: every stream gets `on_reset(code, details, True)`.

        The stream that made `receive` raise gets the detail of its own that Envoy gives it.
        """
        self.dead = self.special = True
        failed = self.failed_stream
        for stream in list(self.streams.values()):
            if not stream.closed:
                self.forget(stream)
                stream.on_reset(code, self.failed_details if stream is failed else details, True)
                self.on_stream_closed(stream)

    # -- streams of a client

    @property
    def can_open(self) -> bool:
        """Whether `open_stream` may be called: no GOAWAY, ids left, and the peer allows one more stream."""
        return (
            len(self.streams) < self.peer_max_concurrent_streams
            and not self.goaway_received
            and not self.dead
            and self.last_stream_id < MAX_STREAM_ID
        )

    def open_stream(self, stream: Http2Stream) -> None:
        """Give `stream` (of this connection, unopened) the next id and put it in the table."""
        self.last_stream_id += 2
        stream.id = self.last_stream_id
        self.streams[stream.id] = stream
        self.stats.streams_active += 1

    # -- frames

    def _parse(self, data: bytes) -> None:
        size = len(data)
        position = 0
        if self._preface:
            position = self._read_preface(data)
        if self._data_left or self._padding_left:
            position = self._go_on_with_data(data, position)
        find = self.streams.get
        last = size - FRAME_HEADER_SIZE
        while position <= last:
            word, flags, stream_id = _unpack(data, position)
            length = word >> 8
            kind = word & 0xFF
            stream_id &= MAX_STREAM_ID
            if self.special and self._stops(kind, flags, stream_id, length):
                return
            if length > DEFAULT_MAX_FRAME_SIZE:
                raise malformed(ErrorCode.FRAME_SIZE_ERROR, "too large frame size")
            start = position + FRAME_HEADER_SIZE
            end = start + length
            if kind == DATA:
                stream = find(stream_id)
                if (
                    flags <= END_STREAM
                    and length
                    and end <= size
                    and stream
                    and stream.head_received
                    and not stream.remote_closed
                ):
                    if end <= last and not flags and length >= _LARGE:
                        position = self._receive_run(stream, data, start, end, length, 1)
                        continue
                    position = end
                    window = self.recv_window = self.recv_window - length
                    if window < self.recv_low:
                        self._lower_window()
                    self.data_framing = FRAME_HEADER_SIZE
                    self._receive_data(stream, data[start:end], length, flags)
                else:
                    if flags & PADDED and length and start == size:
                        # The length of the padding decides what is payload.
                        break
                    position = self._begin_data(data, start, length, flags, stream_id, stream)
            elif end > size:
                break
            else:
                position = end
                if kind == HEADERS and flags & _SHAPE == END_HEADERS and length:
                    stream = find(stream_id)
                    if stream is None:
                        stream = self.admit(stream_id)
                    elif stream.remote_closed:
                        raise self.blame(stream, refused(ErrorCode.STREAM_CLOSED))
                    self.limits.empty_frames = 0
                    block = data[start:end]
                    if flags == END_HEADERS and stream is not None and end < last:
                        position = self._receive_with_body(stream, block, data, end)
                    else:
                        self.receive_block(stream, block, bool(flags & END_STREAM))
                elif kind <= CONTINUATION:
                    _HANDLERS[kind](self, flags, stream_id, data[start:end])
        if self.dead:
            return
        if position < size:
            self._partial = bytearray(data[position:] if position else data)
            left = size - position
            self._needed = FRAME_HEADER_SIZE
            if left >= FRAME_HEADER_SIZE:
                word = WORD.unpack_from(data, position)[0]
                self._needed += 1 if word & 0xFF == DATA else word >> 8

    def _receive_with_body(self, stream: Http2Stream, block: bytes, data: bytes, position: int) -> int:
        """A head without END_STREAM, and more bytes from `position` on; the position behind what was taken.

        If a whole DATA frame of the stream follows a known head, the two are handed on together; a WINDOW_UPDATE of
        the stream may stand between them.
        """
        update = 0
        body = position
        word, flags, stream_id = _unpack(data, body)
        if (
            word == _UPDATE
            and stream_id == stream.id
            and body + _UPDATE_SIZE + FRAME_HEADER_SIZE <= len(data)
        ):
            # gRPC's clients open the window of each new stream in between.
            update = body + FRAME_HEADER_SIZE
            body += _UPDATE_SIZE
            word, flags, stream_id = _unpack(data, body)
        size = word >> 8
        start = body + FRAME_HEADER_SIZE
        end: int = start + size
        parsed = self.heads.get(block)
        if (
            parsed is None
            or stream_id != stream.id
            or word & 0xFF != DATA
            or flags > END_STREAM
            or not 0 < size <= DEFAULT_MAX_FRAME_SIZE
            or end > len(data)
            or parsed.bodyless
            or stream.head_received
            or stream.closed
            or stream.ignore_length
            or parsed.content_length not in (-1, size)
        ):
            self.receive_block(stream, block, False)
            return position
        window = self.recv_window = self.recv_window - size
        if window < self.recv_low:
            self._lower_window()
        window = stream.recv_window = stream.recv_window - size
        if stream.pauses:
            self.held += size
        stream.head_received = True
        if parsed.content_length > 0:
            stream.body_left = 0
        if window < self.stream_recv_low and not self._lower_stream_window(stream):
            return end
        if flags:
            stream.remote_closed = True
        local_closed = stream.local_closed
        self.data_framing = FRAME_HEADER_SIZE
        stream.on_message(parsed, data[start:end], bool(flags))
        if flags and local_closed and not stream.closed:
            self.forget(stream)
            self.on_stream_closed(stream)
        if update and not self.dead:
            self.on_window_update(0, stream_id, data[update : update + 4])
        return end

    def _stops(self, kind: int, flags: int, stream_id: int, length: int) -> bool:
        """What is special about the next frame; True if there is none."""
        if self.dead:
            return True
        if not self.settings_received:
            if kind != SETTINGS or flags & END_STREAM:
                raise malformed(ErrorCode.PROTOCOL_ERROR, "SETTINGS expected")
            self.special = False
        elif self.block is not None and (kind != CONTINUATION or stream_id != self.block_stream_id):
            if length > DEFAULT_MAX_FRAME_SIZE:
                raise malformed(ErrorCode.FRAME_SIZE_ERROR, "too large frame size")
            raise malformed(ErrorCode.PROTOCOL_ERROR, _UNEXPECTED)
        return False

    def _read_preface(self, data: bytes) -> int:
        """Take the client's preface; the position behind it."""
        expected = self._preface
        size = min(len(data), len(expected))
        if data[:size] != expected[:size]:
            raise refused()
        self._preface = expected[size:]
        return size

    # -- DATA

    def _begin_data(
        self, data: bytes, position: int, length: int, flags: int, stream_id: int, stream: Http2Stream | None
    ) -> int:
        """A DATA frame that is padded, empty, not whole, or on no open stream; the position behind what came."""
        padding = 0
        if not stream_id:
            raise malformed(ErrorCode.PROTOCOL_ERROR, "DATA: stream_id == 0")
        if stream is None and self.is_idle(stream_id):
            raise malformed(ErrorCode.PROTOCOL_ERROR, "DATA: stream in idle")
        if stream is not None and stream.remote_closed:
            raise malformed(ErrorCode.STREAM_CLOSED, "DATA: stream in half-closed(remote)")
        if stream is not None and not stream.head_received:
            raise malformed(ErrorCode.PROTOCOL_ERROR, "DATA: stream not opened")
        if flags & PADDED:
            if not length:
                raise malformed(ErrorCode.PROTOCOL_ERROR, "DATA: insufficient padding space")
            padding = data[position]
            position += 1
            if padding >= length:
                raise malformed(ErrorCode.PROTOCOL_ERROR, "DATA: invalid padding")
            # The length byte counts as padding against the windows.
            payload = length - padding - 1
        else:
            payload = length
        self.recv_window -= length
        if self.recv_window < self.recv_low:
            self._lower_window()
        ends = bool(flags & END_STREAM)
        if stream is not None:
            if payload or ends:
                self.limits.empty_frames = 0
            else:
                self.limits.on_empty_frame()
            stream.recv_window -= length - payload
            if stream.pauses:
                self.held += length - payload
            if not payload:
                if ends:
                    self.data_framing = FRAME_HEADER_SIZE
                    self._receive_data(stream, b"", 0, 1)
                elif stream.recv_window < self.stream_recv_low:
                    self._lower_stream_window(stream)
        self._data_stream = stream
        self._data_left = payload
        self._padding_left = padding
        self._data_ends = ends
        return self._go_on_with_data(data, position, FRAME_HEADER_SIZE)

    def _go_on_with_data(self, data: bytes, position: int, framing: int = 0) -> int:
        """Hand on what came of the present DATA frame; the position behind it."""
        left = self._data_left
        if left:
            stream = self._data_stream
            if (
                stream is not None
                and not self._padding_left
                and not self._data_ends
                and position + left + FRAME_HEADER_SIZE <= len(data)
                and not stream.closed
            ):
                self._data_left = 0
                self._data_stream = None
                return self._receive_run(
                    stream, data, position, position + left, 0, framing // FRAME_HEADER_SIZE
                )
            piece = data[position : position + left]
            size = len(piece)
            if not size:
                return position
            position += size
            self._data_left = left = left - size
            self.data_framing = framing
            if stream is not None and not stream.closed:
                self._receive_data(stream, piece, size, not left and self._data_ends)
            if left:
                return position
            self._data_stream = None
        padding = min(self._padding_left, len(data) - position)
        self._padding_left -= padding
        return position + padding

    def _receive_run(
        self, stream: Http2Stream, data: bytes, start: int, end: int, charge: int, frames: int
    ) -> int:
        """A DATA frame of `stream` (payload from `start` to `end`) and those that follow it, handed on together.

        `charge` is what the first takes of the connection's window, `frames` is 0 if its header came before. The
        last may come in part. The position behind what was taken. Handing on costs more than reading: 1 MB in
        frames of 16 KB costs a fifth less this way.
        """
        size = len(data)
        last = size - FRAME_HEADER_SIZE
        stream_id = stream.id
        pieces: list[memoryview] = []
        total = end - start
        first = start, end, total, charge, frames
        flags = left = 0
        left_ends = False
        while not flags and end <= last:
            word, next_flags, next_id = _unpack(data, end)
            length = word >> 8
            if (
                word & 0xFF != DATA
                or next_id != stream_id
                or next_flags > END_STREAM
                or not (_LARGE <= length <= DEFAULT_MAX_FRAME_SIZE or (0 < length < _LARGE and next_flags))
            ):
                break
            if not pieces:
                view = memoryview(data)
                pieces.append(view[start:end])
            start = end + FRAME_HEADER_SIZE
            end = start + length
            charge += length
            frames += 1
            if end > size:
                left = end - size
                end = size
                left_ends = next_flags == END_STREAM
            else:
                flags = next_flags
            total += end - start
            pieces.append(view[start:end])
        body_left = stream.body_left
        if pieces and (
            self.recv_window < charge
            or stream.recv_window < total
            or 0 <= body_left < total
            or (flags and 0 <= body_left != total)
        ):
            # One of them breaks a rule: those before it count.
            start, end, total, charge, frames = first
            pieces = []
            flags = left = 0
        if left:
            self._data_stream = stream
            self._data_left = left
            self._data_ends = left_ends
        window = self.recv_window = self.recv_window - charge
        if window < self.recv_low:
            self._lower_window()
        self.data_framing = frames * FRAME_HEADER_SIZE
        self._receive_data(stream, b"".join(pieces) if pieces else data[start:end], total, flags)
        return end

    def _receive_data(self, stream: Http2Stream, payload: bytes, size: int, ends: int) -> None:
        """Body bytes of an open stream; the connection's window has been seen to."""
        window = stream.recv_window = stream.recv_window - size
        if stream.pauses:
            self.held += size
        if window < self.stream_recv_low and not self._lower_stream_window(stream):
            return
        if self.limits.empty_frames:
            self.limits.empty_frames = 0
        if stream.body_left >= 0:
            stream.body_left -= size
            if stream.body_left < 0 or (ends and stream.body_left):
                self.fail_stream(stream, ErrorCode.PROTOCOL_ERROR, REMOTE_RESET)
                return
        if ends:
            stream.remote_closed = True
            local_closed = stream.local_closed
            stream.on_data(payload, True)
            if local_closed and not stream.closed:
                self.forget(stream)
                self.on_stream_closed(stream)
        else:
            stream.on_data(payload, False)

    def _lower_window(self) -> None:
        if self.recv_window < 0:
            raise malformed(ErrorCode.FLOW_CONTROL_ERROR)
        self.credit()

    def _lower_stream_window(self, stream: Http2Stream) -> bool:
        """False if the peer has sent more than the window of `stream` took."""
        if stream.recv_window < 0:
            self.fail_stream(stream, ErrorCode.FLOW_CONTROL_ERROR, REMOTE_RESET)
            return False
        self.credit_stream(stream)
        return True
