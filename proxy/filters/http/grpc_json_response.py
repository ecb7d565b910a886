"""The response side of the grpc_json_transcoder filter: make JSON of what the gRPC server answers.

A response of one message waits until its status is known, which becomes the HTTP status; the messages of a stream
leave as they come.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError

from proxy.base.headers import HeaderMap
from proxy.base.messages import ResponseHead
from proxy.codec.grpc import grpc_status, http_of_status, is_grpc_response
from proxy.filters.api import FilterStatus, StreamCallbacks
from proxy.filters.http.grpc_json_config import TranscoderConfig
from proxy.filters.http.grpc_json_request import LATE, RequestPart, TranscoderStats
from proxy.transcoding.grpc_status_json import status_message
from proxy.transcoding.methods import Method, http_body_of
from proxy.transcoding.response import FrameReader
from proxy.transcoding.status import TranscodeError

_JSON: Final = "application/json"
_EVENTS: Final = "text/event-stream"


class GrpcJsonTranscoderFilter(RequestPart):
    """One stream."""

    def __init__(self, callbacks: StreamCallbacks, config: TranscoderConfig, stats: TranscoderStats) -> None:
        super().__init__(callbacks, config, stats)
        self._bodies = FrameReader()
        self._head: ResponseHead | None = None
        self._has_body = False
        self._made = b""
        self._body_type_told = False
        #: What the stream has in the gauge.
        self._response_bytes = 0

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> FilterStatus:
        """See `HttpFilter`."""
        method = self._method
        if method is None or self._failed:
            return FilterStatus.CONTINUE
        if not is_grpc_response(head, end_stream=end_stream):
            self._failed = True
            return FilterStatus.CONTINUE
        self._head = head
        events = method.server_streaming and self._config.delimited == "sse"
        if end_stream:
            if method.server_streaming:
                head.headers.set("content-type", _EVENTS if events else _JSON)
                head.headers.remove("content-length")
            self._end(head.headers)
            return FilterStatus.CONTINUE
        head.headers.set("content-type", _EVENTS if events else _JSON)
        # That of the frames, which Envoy keeps with a body of another length.
        head.headers.remove("content-length")
        if method.server_streaming and method.response_http_body is None:
            return FilterStatus.CONTINUE
        return FilterStatus.STOP

    def encode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:
        """See `HttpFilter`."""
        method, response = self._method, self._response
        if method is None or response is None or self._failed:
            return FilterStatus.CONTINUE, data
        self._has_body = True
        if method.response_http_body is not None:
            return self._unwrap(method, data)
        if self._response_too_long(response.kept + len(data) + len(self._made)):
            return FilterStatus.STOP, b""
        try:
            self._made += response.feed(data)
            if end_stream:
                self._made += response.finish()
        except TranscodeError as error:
            return self._fail_response(error), b""
        self._count_response(response.kept + len(self._made))
        if not method.server_streaming and not end_stream:
            return FilterStatus.STOP, b""
        return FilterStatus.CONTINUE, self._take_made()

    def _take_made(self) -> bytes:
        made, self._made = self._made, b""
        self._count_response(self._response.kept if self._response is not None else 0)
        return made

    def _unwrap(self, method: Method, data: bytes) -> tuple[FilterStatus, bytes]:
        """Bytes of a response that is a google.api.HttpBody, or a stream of these."""
        assert self._head is not None
        headers = self._head.headers
        path = method.response_http_body or ()
        made = []
        told = self._body_type_told
        try:
            for message in self._bodies.feed(data):
                if not message:
                    continue
                body = http_body_of(method.response.FromString(message), path)
                if not told:
                    told = True
                    headers.set("content-type", body.content_type)
                made.append(body.data)
                if not method.server_streaming:
                    headers.set("content-length", str(len(body.data)))
                    break
        except TranscodeError as error:
            return self._fail_response(error), b""
        except DecodeError:
            return self._fail_response(
                TranscodeError("Failed to parse the response message.", "INTERNAL")
            ), b""
        waits = not method.server_streaming or not told
        self._body_type_told = told
        return FilterStatus.STOP_AND_BUFFER if waits else FilterStatus.CONTINUE, b"".join(made)

    def encode_trailers(self, trailers: HeaderMap) -> FilterStatus:
        """See `HttpFilter`."""
        if self._method is not None and not self._failed:
            self._end(trailers)
        return FilterStatus.CONTINUE

    def _end(self, fields: HeaderMap) -> None:
        """The status has come, in trailers or in a head that is all there is."""
        method, response, head = self._method, self._response, self._head
        assert method is not None
        assert response is not None
        if head is None:
            return
        status = grpc_status(fields)
        trailers_only = fields is head.headers
        if status is not None and self._convert_status(status, fields, head):
            return
        if method.response_http_body is None:
            try:
                self._made += response.finish()
            except TranscodeError as error:
                self._fail_response(error)
                return
            size = len(self._made)
            if self._made:
                self.add_encoded_data(self._take_made())
        else:
            size = len(self.encoding_buffer() or b"")
        if method.server_streaming and not trailers_only:
            return
        if status is None or status < 0:
            head.status = 503
        else:
            head.status = http_of_status(status)
            if not trailers_only:
                head.headers.set("grpc-status", str(status))
        if not trailers_only and "grpc-message" in fields:
            head.headers.set("grpc-message", fields["grpc-message"])
        self._drop_trailer_field(head)
        if not method.server_streaming:
            head.headers.set("content-length", str(size))

    def _convert_status(self, status: int, fields: HeaderMap, head: ResponseHead) -> bool:
        """Answer with google.rpc.Status as JSON, where an error came without a body."""
        config = self._config
        if not config.convert_grpc_status or self._has_body or status <= 0:
            return False
        assert config.printer is not None
        try:
            text = config.printer.print(status_message(status, fields)).encode("utf-8")
        except (ValueError, TypeError, RecursionError):
            return False
        head.status = http_of_status(status)
        if fields is head.headers:
            for name in ("grpc-status", "grpc-message", "grpc-status-details-bin"):
                head.headers.remove(name)
        self._drop_trailer_field(head)
        head.headers.set("content-type", _JSON)
        head.headers.set("content-length", str(len(text)))
        self.add_encoded_data(text)
        return True

    def _drop_trailer_field(self, head: ResponseHead) -> None:
        if (self.callbacks.info.protocol or "").startswith("HTTP/1"):
            head.headers.remove("trailer")

    def _response_too_long(self, size: int) -> bool:
        limit = self._config.max_response_bytes
        if limit is None:
            limit = self.callbacks.info.connection.buffer_limit
        if size <= limit:
            return False
        self._failed = True
        self.callbacks.local_reply(
            500,
            "Response not transcoded because the transcoder's internal buffer size exceeds the configured limit.",
            f"{LATE}{{response_buffer_size_limit_reached}}",
        )
        return True

    def _fail_response(self, error: TranscodeError) -> FilterStatus:
        self._failed = True
        self.callbacks.local_reply(
            502, error.message.encode("utf-8", "replace").decode("latin-1"), f"{LATE}{{{error.code}}}"
        )
        return FilterStatus.STOP

    def _count_response(self, size: int) -> None:
        self._stats.transcoder_response_buffer_bytes += size - self._response_bytes
        self._response_bytes = size

    def on_destroy(self) -> None:
        """See `HttpFilter`."""
        self._count_request(0)
        self._count_response(0)
