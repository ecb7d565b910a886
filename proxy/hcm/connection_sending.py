"""The response leaves: heads, bodies and trailers on the wire."""

from __future__ import annotations

from proxy.base.headers import HeaderMap
from proxy.base.messages import ResponseHead
from proxy.codec.http1_render import (
    LAST_CHUNK,
    fields_size,
    render_chunk,
    render_response_head,
    render_trailers,
)
from proxy.hcm.connection_state import ConnectionState
from proxy.hcm.stream import Stream


class SendingPart(ConnectionState):
    """See module."""

    def write_interim(self, head: ResponseHead) -> None:
        """Pass on a 1xx response."""
        stats = self.manager.stats
        stats.by_class[1] += 1
        self.manager.listener_stats.by_class[1] += 1
        self._write(render_response_head(head, self.manager.downstream_formatter(self._stream)))

    def write_rendered(self, head: bytes, body: bytes, end_stream: bool, chunked: bool) -> None:
        """Write a rendered head, with what there is of the body, in one piece."""
        if self._closed:
            return
        stream = self._stream
        if (
            (stream is not None and not stream.request_complete)
            or self.info.drain.draining
            or self.manager.drain.draining
        ):
            self._start_closing(stream)
        if self._closing:
            head = head[:-2] + b"connection: close\r\n\r\n"
        if body:
            data = head + (self._frame(body, end_stream) if chunked else body)
        elif end_stream and chunked:
            data = head + LAST_CHUNK
        else:
            data = head
        if stream is not None and self.manager.counts_bytes:
            info = stream.info
            info.downstream_header_bytes_sent = fields_size(head)
            info.downstream_wire_bytes_sent += len(data)
        self.manager.stats.downstream_cx_tx_bytes_total += len(data)
        self.transport.write(data)

    @staticmethod
    def _frame(body: bytes, end_stream: bool) -> bytes:
        return render_chunk(body) + LAST_CHUNK if end_stream else render_chunk(body)

    def _start_closing(self, stream: Stream | None) -> None:
        if stream is not None and stream.upgraded:
            return
        stats = self.manager.stats
        if stream is not None and not stream.request_complete:
            stats.downstream_rq_response_before_rq_complete += 1
        elif not self._closing:
            stats.downstream_cx_drain_close += 1
        self._closing = True

    def write_head(self, head: ResponseHead, body: bytes, end_stream: bool, chunked: bool) -> None:
        """Render and write a head, with what there is of the body."""
        manager = self.manager
        stream = self._stream
        is_http10 = stream is not None and stream.info.protocol == "HTTP/1.0"
        protocol = "HTTP/1.0" if is_http10 else "HTTP/1.1"
        if stream is not None and stream.upgraded:
            if not stream.request_complete:
                manager.stats.downstream_rq_response_before_rq_complete += 1
            rendered = render_response_head(head, manager.downstream_formatter(stream), protocol)
            self._write(rendered + body)
            return
        if is_http10:
            if "content-length" not in head.headers:
                # Its end is the end of the connection, so there is nothing to wait for.
                self._closing = self._client_closes = True
            elif not self._closing:
                head.headers.set("connection", "keep-alive")
        rendered = render_response_head(head, manager.downstream_formatter(stream), protocol)
        self.write_rendered(rendered, body, end_stream, chunked)

    def write_body(self, data: bytes, end_stream: bool, *, chunked: bool) -> None:
        """Write body bytes."""
        if self._closed:
            return
        if chunked:
            if data:
                data = self._frame(data, end_stream)
            elif end_stream:
                data = LAST_CHUNK
        if data:
            if self._stream is not None:
                self._stream.info.downstream_wire_bytes_sent += len(data)
            self._write(data)

    def write_trailers(self, trailers: HeaderMap | None, *, chunked: bool) -> None:
        """End the response, with trailers if the client may have them."""
        if chunked and not self._closed:
            self._write(LAST_CHUNK if trailers is None else render_trailers(trailers))
