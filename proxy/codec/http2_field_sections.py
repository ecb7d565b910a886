"""Field sections of an HTTP/2 connection (RFC 9113 sections 6.2, 6.10 and 8): whose they are and what they say."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from proxy.codec.hpack_path import decode_string, split_path
from proxy.codec.hpack_tables import HeaderListTooLarge, HpackError
from proxy.codec.http2_control import Http2Control, malformed, refused
from proxy.codec.http2_fields import TOO_MANY_HEADERS, UNEXPECTED_UNDERSCORE
from proxy.codec.http2_frames import (
    END_HEADERS,
    END_STREAM,
    MAX_STREAM_ID,
    PADDED,
    WITH_PRIORITY,
    WORD,
    ErrorCode,
    Http2MessageError,
    reset_frame,
)
from proxy.codec.http2_options import Http2Options
from proxy.codec.http2_stats import Http2CodecStats
from proxy.codec.http2_stream import Http2Stream, ParsedHead

#: Peers choose the blocks, so the memos have an end.
_MAX_KNOWN_BLOCKS: Final = 64
_MAX_KNOWN_BLOCK_BYTES: Final = 2048
#: After so many new blocks in a row only one in eight is looked for.
_PATIENCE: Final = 64
_SAMPLING: Final = 7
#: A block this many times as large as what it may hold closes the connection before it is decoded.
_BLOCK_LIMIT_FACTOR: Final = 4
_LIST_TOO_LARGE: Final = "http2.header_list_size_too_large"
_BAD_MESSAGE: Final = "http2.violation.of.messaging.rule"
_PRIORITY_SIZE: Final = 5


class Http2FieldSections(Http2Control):
    """See module. What a block means is remembered by its bytes for as long as the HPACK table stands.

    What the block of a request means without its path is remembered too, for the same one with other paths.
    """

    def __init__(self, options: Http2Options, *, client: bool, stats: Http2CodecStats) -> None:
        super().__init__(options, client=client, stats=stats)
        #: The next frame must be a certain one, or none must follow.
        self.special = True
        #: Of a header block that CONTINUATION frames go on with.
        self.block: bytearray | None = None
        self.block_stream_id = 0
        self._block_stream: Http2Stream | None = None
        self._block_ends = False
        self._max_list_bytes = options.max_headers_kb * 1024
        self.heads: dict[bytes, ParsedHead] = {}
        self._trailers: dict[bytes, Any] = {}
        #: By the block of a request without its path; see `split_path`.
        self._rests: dict[bytes, Any] = {}
        #: Hashes of blocks, and of blocks without a path, that have come.
        self._seen: set[int] = set()
        #: How many blocks in a row were new.
        self._new_blocks = 0
        self._generation = self.decoder.generation

    # -- hooks for the owner

    def new_stream(self, stream_id: int) -> Http2Stream:
        """Server: make the stream object for a new request. Called before its field section is looked at."""
        raise NotImplementedError

    def parse_head(self, fields: list[tuple[str, str]], block_size: int) -> ParsedHead:
        """Parse a decoded field section of `block_size` encoded bytes. Raises `Http2MessageError`.

        The result is remembered for equal blocks, so nobody may change it.
        """
        raise NotImplementedError

    def parse_new_head(self, fields: list[tuple[str, str]], block_size: int) -> ParsedHead:
        """Server: as `parse_head`, for a block that comes for the first time. The result may be `owned`."""
        return self.parse_head(fields, block_size)

    def other_fields(self, parsed: Any) -> Any:
        """Server: what makes heads like `parsed` of other paths (`with_any_path`), None if nothing does."""
        del parsed

    def parse_trailers(self, fields: list[tuple[str, str]], block_size: int) -> Any:
        """As `parse_head`, for trailers."""
        raise NotImplementedError

    def forget_heads(self) -> None:
        """Forget what was made of the blocks of heads that have come."""
        self.heads.clear()
        self._rests.clear()

    # -- frames

    def on_headers_frame(self, flags: int, stream_id: int, payload: bytes) -> None:
        """HEADERS that is padded, empty, carries a priority or does not end its block."""
        block = payload
        if flags & PADDED:
            if not payload or payload[0] >= len(payload):
                raise malformed(ErrorCode.PROTOCOL_ERROR, "HEADERS: invalid padding")
            block = payload[1 : len(payload) - payload[0]]
        priority = 0
        if flags & WITH_PRIORITY:
            if len(block) < _PRIORITY_SIZE:
                raise malformed(ErrorCode.FRAME_SIZE_ERROR)
            priority = WORD.unpack_from(block)[0] & MAX_STREAM_ID
            block = block[_PRIORITY_SIZE:]
        ends = bool(flags & END_STREAM)
        stream = self.streams.get(stream_id)
        if stream is None:
            stream = self.admit(stream_id, depends_on=priority if flags & WITH_PRIORITY else -1)
        elif stream.remote_closed:
            raise self.blame(stream, refused(ErrorCode.STREAM_CLOSED))
        if payload or ends:
            self.limits.empty_frames = 0
        else:
            self.limits.on_empty_frame()
        if flags & END_HEADERS:
            self.receive_block(stream, block, ends)
        else:
            self.special = True
            self.block = bytearray(block)
            self.block_stream_id = stream_id
            self._block_stream = stream
            self._block_ends = ends

    def on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        """CONTINUATION."""
        del stream_id
        block = self.block
        if block is None:
            raise malformed(ErrorCode.PROTOCOL_ERROR, "CONTINUATION: unexpected")
        if payload:
            self.limits.empty_frames = 0
        else:
            self.limits.on_empty_frame()
        block += payload
        if len(block) > _BLOCK_LIMIT_FACTOR * self._max_list_bytes:
            self.stats.header_overflow += 1
            raise refused(ErrorCode.ENHANCE_YOUR_CALM)
        if flags & END_HEADERS:
            stream = self._block_stream
            self.block = self._block_stream = None
            self.special = False
            self.receive_block(stream, bytes(block), self._block_ends)

    def admit(self, stream_id: int, depends_on: int = -1) -> Http2Stream | None:
        """The stream that HEADERS opens; None if its block is of no interest (but must be decoded)."""
        if not stream_id & 1 or (self.client and stream_id > self.last_stream_id):
            raise refused()
        if stream_id <= self.last_stream_id:
            return None
        self.last_stream_id = stream_id
        crowded = len(self.streams) >= self.options.max_concurrent_streams
        if crowded and self.settings_acknowledged:
            raise refused()
        if self.final_goaway_sent:
            return None
        if depends_on == stream_id:
            raise refused()
        if crowded:
            self.stats.stream_refused_errors += 1
            self.stats.tx_reset += 1
            self.queue_control(reset_frame(stream_id, ErrorCode.REFUSED_STREAM))
            return None
        self.stats.streams_active += 1
        stream = self.streams[stream_id] = self.new_stream(stream_id)
        return stream

    def receive_block(self, stream: Http2Stream | None, block: bytes, ends: bool) -> None:
        """A whole header block. `stream` is None, or closed meanwhile, if nobody wants it."""
        if stream is None or stream.closed:
            self._decode_unwanted(block)
            return
        try:
            if stream.head_received:
                self._receive_trailers(stream, block, ends)
                return
            parsed = self.heads.get(block)
            if parsed is None:
                if self.client:
                    parsed = self._parse_block(block, self.heads, self.parse_head)
                else:
                    parsed = self._parse_request(block)
            if parsed.informational:
                if ends:
                    raise Http2MessageError(_BAD_MESSAGE)
            else:
                if parsed.content_length >= 0 or stream.ignore_length:
                    self._expect_body(stream, parsed, ends)
                stream.head_received = True
        except Http2MessageError as error:
            self._on_message_error(stream, error)
            return
        if not ends:
            stream.on_head(parsed, False)
            return
        stream.remote_closed = True
        local_closed = stream.local_closed
        stream.on_head(parsed, True)
        if local_closed and not stream.closed:
            self.forget(stream)
            self.on_stream_closed(stream)

    def _receive_trailers(self, stream: Http2Stream, block: bytes, ends: bool) -> None:
        if not self.client:
            self.stats.trailers += 1
        trailers = self._trailers.get(block)
        if trailers is None:
            trailers = self._parse_block(block, self._trailers, self.parse_trailers)
        if not ends or stream.body_left > 0:
            raise Http2MessageError(_BAD_MESSAGE)
        if not self.client:
            stream.check_trailers(trailers)
        stream.remote_closed = True
        local_closed = stream.local_closed
        stream.on_trailers(trailers)
        if local_closed and not stream.closed:
            self.forget(stream)
            self.on_stream_closed(stream)

    def _expect_body(self, stream: Http2Stream, parsed: Any, ends: bool) -> None:
        """Hold the body to come against the declared length."""
        if stream.ignore_length or parsed.bodyless:
            stream.body_left = 0
        else:
            stream.body_left = parsed.content_length
            if ends and stream.body_left:
                raise Http2MessageError(_BAD_MESSAGE)

    def _parse_request(self, block: bytes) -> Any:
        """What a block means that is not in `heads`."""
        if self._new_blocks > _PATIENCE and self._new_blocks & _SAMPLING:
            # Not looked for: the blocks before this were all new.
            self._new_blocks += 1
            return self._parse_block(block, self.heads, self.parse_new_head)
        again = self._has_come(block)
        rest, path = split_path(block)
        known = self._rests.get(rest)
        if known is None and not again:
            self._new_blocks += 1
        else:
            self._new_blocks = 0
            if known is not None and not again:
                try:
                    parsed = known.with_any_path(decode_string(path), len(block))
                except HpackError:
                    parsed = None
                if parsed is not None:
                    return parsed
        parse = self.parse_head if again or (rest and self._has_come(rest)) else self.parse_new_head
        parsed = self._parse_block(block, self.heads, parse)
        others = self.other_fields(parsed) if rest and self.decoder.memoisable else None
        if others is not None:
            if len(self._rests) >= _MAX_KNOWN_BLOCKS:
                self._rests.clear()
            self._rests[rest] = others
        return parsed

    def _has_come(self, block: bytes) -> bool:
        seen = self._seen
        number = hash(block)
        if number in seen:
            return True
        if len(seen) >= _MAX_KNOWN_BLOCKS:
            seen.clear()
        seen.add(number)
        return False

    def _parse_block(
        self, block: bytes, known: dict[bytes, Any], parse: Callable[[list[tuple[str, str]], int], Any]
    ) -> Any:
        """Decode a block that is not in `known`, parse its fields, and remember the result if that is safe."""
        decoder = self.decoder
        too_large = False
        fields: list[tuple[str, str]] = []
        try:
            fields = decoder.decode(block, self._max_list_bytes)
        except HeaderListTooLarge:
            too_large = True
        except HpackError as error:
            raise malformed(ErrorCode.COMPRESSION_ERROR) from error
        if decoder.generation != self._generation:
            self._generation = decoder.generation
            self.heads.clear()
            self._trailers.clear()
            self._rests.clear()
        if too_large:
            self.stats.header_list_size_too_large += 1
            raise Http2MessageError(_LIST_TOO_LARGE, ErrorCode.INTERNAL_ERROR, stream_only=True)
        parsed = parse(fields, len(block))
        if (
            decoder.memoisable
            and len(block) <= _MAX_KNOWN_BLOCK_BYTES
            and not getattr(parsed, "owned", False)
        ):
            if len(known) >= _MAX_KNOWN_BLOCKS:
                known.clear()
            known[block] = parsed
        return parsed

    def _decode_unwanted(self, block: bytes) -> None:
        """Let a block that nobody wants have its effect on the table."""
        if block not in self.heads and block not in self._trailers:
            with suppress(Http2MessageError):
                self._parse_block(block, {}, lambda _fields, _size: None)

    def _on_message_error(self, stream: Http2Stream, error: Http2MessageError) -> None:
        if error.details == TOO_MANY_HEADERS:
            self.stats.header_overflow += 1
        elif error.details == UNEXPECTED_UNDERSCORE:
            self.stats.requests_rejected_with_underscores_in_headers += 1
        if not error.stream_only:
            self.stats.rx_messaging_error += 1
            if not self.options.override_stream_error_on_invalid_http_message:
                self.failed_stream = stream
                self.failed_details = error.details
                raise refused() from error
        self.fail_stream(stream, error.code, error.details)
