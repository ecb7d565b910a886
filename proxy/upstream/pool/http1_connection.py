"""One HTTP/1.1 connection to a host: carries one request at a time, parses what comes back."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from proxy.base.errors import ProtocolError
from proxy.base.headers import HeaderMap
from proxy.codec.http1_body import BodyDecoder, ChunkedDecoder, LengthDecoder, UntilCloseDecoder
from proxy.codec.http1_fields import CODEC_ERROR, find_head_end
from proxy.codec.http1_render import LAST_CHUNK, fields_size, render_chunk, render_trailers
from proxy.codec.http1_response import Http1Response
from proxy.upstream.pool.api import MAX_INFORMATIONAL, PoolRequest, ResetReason
from proxy.upstream.pool.host_connection import SingleRequestConnection
from proxy.upstream.pool.stale import REPEATABLE

if TYPE_CHECKING:
    from proxy.upstream.pool.http1 import Http1Pool

#: Parsed response heads kept by the pool's cluster; peers choose them, so there is an end to their number and size.
MAX_KNOWN_HEADS: Final = 512
MAX_KNOWN_HEAD_BYTES: Final = 2048
#: Methods whose responses are framed differently.
_UNUSUAL_METHODS: Final = frozenset({"HEAD", "CONNECT"})


class Http1UpstreamConnection(SingleRequestConnection):
    """See module. The pool sets `request`; `request_sent` tells that it is complete."""

    protocol = "HTTP/1.1"
    #: Whether the request is a tunnel of the TCP proxy's, whatever its method.
    carries_bytes = False
    pool: Http1Pool

    def __init__(self, pool: Http1Pool, connection_id: int) -> None:
        self.pool = pool
        self.connection_id = connection_id
        self.request_sent = True
        self._keep_alive = True
        #: After how many seconds without a request the peer is likely to close.
        self.idle_limit = float("inf")
        self._decoder: BodyDecoder | None = None
        self._buffer = b""
        self._informational = 0
        self._abandoned = False
        self._tunnel = False
        self._chunked = False

    # -- asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        stats = self.pool.stats
        stats.upstream_cx_rx_bytes_total += len(data)
        if self.closed:
            return
        request = self.request
        if request is None:
            # A reply to nothing: the peer is confused, or closing with a 408.
            stats.upstream_cx_protocol_error += 1
            self.close()
            return
        request.wire_bytes_received += len(data)
        try:
            if self._decoder is None and not self._buffer:
                end = data.find(b"\r\n\r\n") + 4
                # A block that was kept has no earlier blank line of another kind.
                response = self.pool.known_heads.get(data[:end])
                if (
                    response is not None
                    and response.content_length == len(data) - end
                    and not response.bodyless
                    and request.method not in _UNUSUAL_METHODS
                ):
                    # The whole response at once, and its head was seen before.
                    self._keep_alive = response.keep_alive
                    self.idle_limit = response.idle_limit
                    self._complete(b"")
                    request.on_response(response, data[end:], end_stream=True)
                    return
            self._receive(data)
        except ProtocolError as error:
            stats.upstream_cx_protocol_error += 1
            self._fail(ResetReason.PROTOCOL_ERROR, error.details)

    def eof_received(self) -> bool:
        """See `asyncio.Protocol`: the peer will send no more, so the connection ends.

        The loop tells of the end a little later; nobody may take the connection until then.
        """
        self.closed = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        local = self._closing_locally
        self.closed = True
        decoder = self._decoder
        request = self.request
        ended = isinstance(decoder, UntilCloseDecoder) and exc is None and request is not None and not local
        active = self._abandoned or (
            request is not None and (self._tunnel or not ended or not self.request_sent)
        )
        # When the peer ends what follows CONNECT, Envoy's codec is quicker to close.
        left = ended and request is not None and request.method == "CONNECT"
        left = left or (self.carries_bytes and exc is None and decoder is None)
        self.pool.on_lost(self, local=local or left, active=active)
        if request is None:
            return
        self.request = None
        if ended:
            request.on_response_data(b"", end_stream=True)
            return
        if not local and (self._buffer or not (decoder is None or isinstance(decoder, UntilCloseDecoder))):
            # A message that was cut off is a protocol error, by FIN or by RST; silence before it is only a close.
            self.pool.stats.upstream_cx_protocol_error += 1
            request.on_reset(ResetReason.PROTOCOL_ERROR, CODEC_ERROR)
        elif local or not self._may_repeat(request) or not request.on_stale():
            request.on_reset(ResetReason.CONNECTION_TERMINATION, "")

    def _may_repeat(self, request: PoolRequest) -> bool:
        """Whether the peer has closed an idle connection just when it was used, and using another does no harm."""
        return (
            self.requests > 1
            and request.method in REPEATABLE
            and not (request.wire_bytes_received or request.upgrading or self._chunked)
            and self.request_sent
            # No byte of a body has gone.
            and request.wire_bytes_sent == len(request.head.http1_head(request.request_id))
        )

    # -- the request's side (`UpstreamConnection`)

    def send_head(self, body: bytes, end_stream: bool) -> None:
        """See `UpstreamConnection`."""
        request = self.request
        assert request is not None
        outgoing = request.head
        head = outgoing.http1_head(request.request_id)
        request.header_bytes_sent = fields_size(head)
        self._chunked = chunked = outgoing.chunked
        if body:
            head += render_chunk(body) if chunked else body
        if end_stream:
            if chunked:
                head += LAST_CHUNK
            self.request_sent = True
        request.wire_bytes_sent = size = len(head)
        self.pool.stats.upstream_cx_tx_bytes_total += size
        self.transport.write(head)

    def send_data(self, data: bytes, end_stream: bool) -> None:
        """See `UpstreamConnection`."""
        if self._chunked:
            if data:
                data = render_chunk(data)
            if end_stream:
                data += LAST_CHUNK
        if end_stream:
            self.request_sent = True
        if data:
            self._write(data)
        if not end_stream or self.request is None:
            return
        if self.carries_bytes or (self._tunnel and self.request.method == "CONNECT"):
            # All that Envoy has to say that one half of a tunnel is at its end. After an upgrade it says nothing.
            self._closing_locally = self.closed = True
            self.transport.close()

    def send_trailers(self, trailers: HeaderMap) -> None:
        """See `UpstreamConnection`."""
        self.request_sent = True
        if self._chunked:
            self._write(render_trailers(trailers) if self.pool.config.http.enable_trailers else LAST_CHUNK)

    def _write(self, data: bytes) -> None:
        if self.request is not None:
            self.request.wire_bytes_sent += len(data)
        self.pool.stats.upstream_cx_tx_bytes_total += len(data)
        self.transport.write(data)

    def release(self) -> None:
        """Give the connection back unused."""
        self.request = None
        self.request_sent = True
        self.requests -= 1
        self.pool.on_released(self)

    def abandon(self) -> None:
        """See `UpstreamConnection`: what was not sent yet of the request is dropped, not flushed."""
        self._abandoned = self.request is not None
        self.close()
        self.request = None

    def close(self) -> None:
        """Close from our side; what is in flight is lost."""
        if not self._closing_locally:
            self._closing_locally = self.closed = True
            if self.connected:
                self.transport.abort() if self.request is not None else self.transport.close()

    @property
    def busy(self) -> bool:
        """See `PooledConnection`."""
        return self.request is not None

    def drain(self) -> None:
        """See `PooledConnection`."""
        self.draining = True
        if self.request is None:
            self.close()

    def peer_has_closed(self) -> bool:
        """Whether an end of stream waits in the socket that the loop has not told of yet."""
        if self.transport.is_closing():
            return True
        # The first bytes on an encrypted connection may be session tickets.
        if self.socket is None or (self.tls is not None and not self.requests):
            return False
        try:
            self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        # Any byte at all is as bad as an end: nothing may come on an idle connection.
        return True

    # -- parsing

    def _receive(self, data: bytes) -> None:
        while data:
            decoder = self._decoder
            if decoder is not None:
                data = self._receive_body(decoder, data)
                continue
            if self._buffer:
                data = self._buffer + data
                self._buffer = b""
            end = find_head_end(data)
            if end < 0:
                self.pool.parser.check_start(data)
                self._buffer = data
                return
            block = data[:end]
            response = self.pool.known_heads.get(block)
            if response is None:
                response = self._parse(block)
            data = data[end:]
            if 100 <= response.head.status < 200 and response.head.status != 101:
                self._receive_informational(response)
                continue
            data = self._receive_head(response, data)

    def _parse(self, block: bytes) -> Http1Response:
        response = self.pool.parser.parse(block)
        if len(block) <= MAX_KNOWN_HEAD_BYTES:
            known = self.pool.known_heads
            if len(known) >= MAX_KNOWN_HEADS:
                known.clear()
            known[block] = response
        return response

    def _receive_informational(self, response: Http1Response) -> None:
        self._informational += 1
        if self._informational > MAX_INFORMATIONAL:
            raise ProtocolError(CODEC_ERROR, 502)
        if self.request is not None:
            self.request.on_informational(response)

    def _receive_head(self, response: Http1Response, rest: bytes) -> bytes:
        request = self.request
        assert request is not None
        self._keep_alive = response.keep_alive
        self.idle_limit = response.idle_limit
        if self._opens_tunnel(request, response):
            self._keep_alive = False
            self._tunnel = True
            self._decoder = UntilCloseDecoder()
            request.on_response(response, rest, end_stream=False)
            return b""
        if response.head.status == 101:
            raise ProtocolError(CODEC_ERROR, 502)
        length = response.content_length
        if request.method == "HEAD" or response.bodyless or length == 0:
            self._complete(rest)
            request.on_response(response, b"", end_stream=True)
            return b""
        if length == len(rest):
            self._complete(b"")
            request.on_response(response, rest, end_stream=True)
            return b""
        decoder: BodyDecoder
        if response.chunked:
            parser = self.pool.parser
            decoder = ChunkedDecoder(
                self.pool.config.http.enable_trailers, parser.max_headers_bytes, parser.max_headers_count
            )
        elif length > 0:
            decoder = LengthDecoder(length)
        else:
            self._keep_alive = False
            decoder = UntilCloseDecoder()
        self._decoder = decoder
        if not rest:
            request.on_response(response, b"", end_stream=False)
            return b""
        try:
            payload, rest = decoder.feed(rest)
        except ProtocolError:
            request.on_response(response, decoder.gained, end_stream=False)
            raise
        if decoder.done and decoder.trailers is None and payload:
            self._complete(rest)
            request.on_response(response, payload, end_stream=True)
            return b""
        # An empty chunked body is still a body, so that the client gets it chunked too.
        request.on_response(response, payload, end_stream=False)
        if self.request is not request or not decoder.done:
            return b""
        if decoder.trailers is None:
            self._complete(rest)
            request.on_response_data(b"", end_stream=True)
            return b""
        return self._finish_body(decoder, rest)

    @staticmethod
    def _opens_tunnel(request: PoolRequest, response: Http1Response) -> bool:
        status = response.head.status
        if request.method == "CONNECT":
            return 200 <= status < 300
        return status == 101 and bool(request.upgrading)

    def _receive_body(self, decoder: BodyDecoder, data: bytes) -> bytes:
        request = self.request
        assert request is not None
        try:
            payload, rest = decoder.feed(data)
        except ProtocolError:
            if decoder.gained:
                request.on_response_data(decoder.gained, end_stream=False)
            raise
        if not decoder.done:
            if payload:
                request.on_response_data(payload, end_stream=False)
            return b""
        if decoder.trailers is None:
            self._complete(rest)
            request.on_response_data(payload, end_stream=True)
            return b""
        if payload:
            request.on_response_data(payload, end_stream=False)
        return self._finish_body(decoder, rest)

    def _finish_body(self, decoder: BodyDecoder, rest: bytes) -> bytes:
        request = self.request
        self._complete(rest)
        if request is not None and decoder.trailers is not None:
            request.on_response_trailers(decoder.trailers)
        return b""

    def _complete(self, rest: bytes) -> None:
        """The response is whole: free the connection first, so that the next request may have it."""
        self.request = None
        self._decoder = None
        self._informational = 0
        if rest:
            self.pool.stats.upstream_cx_protocol_error += 1
            self._keep_alive = False
        if self._read_disabled:
            self._read_disabled = 0
            self.transport.resume_reading()
        self._abandoned = not self.request_sent
        self.pool.on_complete(self, self._keep_alive and self.request_sent)

    def _fail(self, reason: ResetReason, detail: str) -> None:
        request = self.request
        self.request = None
        self._abandoned = request is not None
        self._closing_locally = self.closed = True
        self.transport.abort()
        if request is not None:
            request.on_reset(reason, detail)
