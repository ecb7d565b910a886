"""The request side of the grpc_json_transcoder filter: find the method, make a gRPC call of the request."""

from __future__ import annotations

from typing import Any, Final

from envoy.extensions.filters.http.grpc_json_transcoder.v3 import transcoder_pb2

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead
from proxy.base.stats import StatGroup
from proxy.codec.grpc import CONTENT_TYPE, is_grpc, prefix
from proxy.filters.api import FilterStatus, HttpFilter, StreamCallbacks
from proxy.filters.http.grpc_json_config import TranscoderConfig
from proxy.transcoding.methods import Method, resolve, wrapped_http_body
from proxy.transcoding.path_matcher import Binding
from proxy.transcoding.request import RequestTranslator, bound_message
from proxy.transcoding.response import ResponseTranslator
from proxy.transcoding.status import TranscodeError
from proxy.transcoding.weaver import FieldPath

_EARLY: Final = "early_grpc_json_transcode_failure"
LATE: Final = "grpc_json_transcode_failure"
#: A streamed HttpBody goes in pieces of this size, as gRPC servers take 4 MiB by default.
_PIECE_BYTES: Final = 1 << 20


class TranscoderStats(StatGroup):
    """`http.<stat_prefix>.*`: bytes that wait to be translated. Envoy's gauge of responses never goes down."""

    GAUGES = ("transcoder_request_buffer_bytes", "transcoder_response_buffer_bytes")

    transcoder_request_buffer_bytes: int
    transcoder_response_buffer_bytes: int


class RequestPart(HttpFilter):
    """One stream. `_method` is None while nothing is to be translated; `_failed` ends all translation."""

    def __init__(self, callbacks: StreamCallbacks, config: TranscoderConfig, stats: TranscoderStats) -> None:
        super().__init__(callbacks)
        self._config = config
        self._stats = stats
        self._method: Method | None = None
        self._failed = False
        self._request: RequestTranslator | None = None
        self._response: ResponseTranslator | None = None
        # Of a request that is a google.api.HttpBody:
        self._first_part: bytes | None = None
        self._content_type = ""
        self._collected: list[bytes] = []
        self._parameters: Any = None
        #: What the stream has in the gauge.
        self._request_bytes = 0

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:
        """See `HttpFilter`."""
        self._config = config = self.callbacks.route_config(self.name) or self._config
        if config.matcher is None or is_grpc(head.headers.get("content-type", "")):
            return FilterStatus.CONTINUE
        path, _, query = head.path.partition("?")
        match = config.matcher.match(head.method, path, query)
        if match is None:
            if not config.reject_unknown_method:
                return FilterStatus.CONTINUE
            return self._refuse(404, f"Could not resolve {path} to a method.", f"{_EARLY}{{NOT_FOUND}}")
        method = match.method
        try:
            bindings = self._resolve(method, match.bindings)
        except TranscodeError as error:
            if not config.reject_unknown_query_parameters:
                return FilterStatus.CONTINUE
            return self._refuse(400, error.message, f"{_EARLY}{{{error.code}}}")
        assert config.writer is not None
        assert config.printer is not None
        self._widen_limits()
        if method.request_http_body is not None:
            self._content_type = head.headers.get("content-type", "")
            try:
                self._first_part = bound_message(method, config.writer, bindings)
            except TranscodeError as error:
                return self._refuse(400, error.message, f"{LATE}{{{error.code}}}")
        else:
            self._request = RequestTranslator(
                method, config.writer, match.body, bindings, refuse_collisions=config.reject_collisions
            )
        self._method = method
        self._response = ResponseTranslator(method, config.printer, config.delimited)
        self._turn(head, method)
        return self._without_body() if end_stream else FilterStatus.CONTINUE

    def _resolve(self, method: Method, bindings: list[Binding]) -> list[tuple[FieldPath, str]]:
        config = self._config
        descriptor = method.request.DESCRIPTOR
        body = method.request_http_body
        found = []
        for binding in bindings:
            try:
                path = resolve(descriptor, binding.field_path)
            except TranscodeError:
                if config.capture_unknown_query_parameters:
                    if self._parameters is None:
                        self._parameters = transcoder_pb2.UnknownQueryParams()
                    self._parameters.key[".".join(binding.field_path)].values.append(binding.value)
                    continue
                if config.ignore_unknown_query_parameters:
                    continue
                raise
            # What lies in the HttpBody is not JSON, and made of the request itself.
            if body is None or path[: len(body)] != body:
                found.append((path, binding.value))
        return found

    def _widen_limits(self) -> None:
        config = self._config
        limit = self.callbacks.info.connection.buffer_limit
        if config.max_request_bytes is not None and config.max_request_bytes > limit:
            self.set_decoding_limit(config.max_request_bytes)
        if config.max_response_bytes is not None and config.max_response_bytes > limit:
            self.set_encoding_limit(config.max_response_bytes)

    def _turn(self, head: RequestHead, method: Method) -> None:
        """Make a gRPC call of the request."""
        headers = head.headers
        headers.remove("content-length")
        headers.set("content-type", CONTENT_TYPE)
        headers.set("x-envoy-original-path", head.path)
        headers.add("x-envoy-original-method", head.method)
        head.path = method.path
        head.method = "POST"
        headers.set("te", "trailers")
        if not self._config.match_incoming_request_route:
            self.callbacks.clear_route_cache()

    def _without_body(self) -> FilterStatus:
        if self._request is None:
            self.add_decoded_data(self._http_body())
            return FilterStatus.CONTINUE
        try:
            data = self._request.finish()
        except TranscodeError as error:
            return self._refuse(400, error.message, f"{_EARLY}{{{error.code}}}")
        if data:
            self.add_decoded_data(data)
        return FilterStatus.CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:
        """See `HttpFilter`."""
        method, request = self._method, self._request
        if method is None or self._failed:
            return FilterStatus.CONTINUE, data
        if request is None:
            return self._collect(method, data, end_stream)
        if self._too_long(request.waiting + len(data)):
            return FilterStatus.STOP, b""
        try:
            made = request.feed(data)
            if end_stream:
                made += request.finish()
        except TranscodeError as error:
            return self._refuse(400, error.message, f"{LATE}{{{error.code}}}"), b""
        self._count_request(request.waiting)
        return FilterStatus.CONTINUE, made

    def _collect(self, method: Method, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:
        """Bytes of a body that is no JSON."""
        self._collected.append(data)
        if method.client_streaming:
            made = []
            while True:
                data = b"".join(self._collected)
                self._collected = [data[_PIECE_BYTES:]] if len(data) > _PIECE_BYTES else []
                if not data and self._first_part is None:
                    break
                made.append(self._http_body(data[:_PIECE_BYTES]))
            return FilterStatus.CONTINUE, b"".join(made)
        size = self._request_bytes + len(data)
        self._count_request(size)
        if self._too_long(size):
            return FilterStatus.STOP, b""
        if not end_stream:
            return FilterStatus.STOP, b""
        self._count_request(0)
        return FilterStatus.CONTINUE, self._http_body(self._take_collected())

    def _take_collected(self) -> bytes:
        data = b"".join(self._collected)
        self._collected.clear()
        return data

    def _http_body(self, data: bytes = b"") -> bytes:
        """One message with these bytes; the first also has what path and query bind."""
        assert self._method is not None
        assert self._method.request_http_body is not None
        first = self._first_part or b""
        message = first + wrapped_http_body(
            self._method.request_http_body, self._content_type, data, self._parameters
        )
        self._first_part = None
        self._content_type = ""
        return prefix(len(message)) + message

    def decode_trailers(self, trailers: HeaderMap) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        method, request = self._method, self._request
        if method is None or self._failed:
            return FilterStatus.CONTINUE
        if request is None:
            if self._first_part is not None or self._collected:
                self._count_request(0)
                self.add_decoded_data(self._http_body(self._take_collected()))
            return FilterStatus.CONTINUE
        try:
            data = request.finish()
        except TranscodeError as error:
            return self._refuse(400, error.message, f"{LATE}{{{error.code}}}")
        self._count_request(0)
        if data:
            self.add_decoded_data(data)
        return FilterStatus.CONTINUE

    def _too_long(self, size: int) -> bool:
        limit = self._config.max_request_bytes
        if limit is None:
            limit = self.callbacks.info.connection.buffer_limit
        if size <= limit:
            return False
        self._refuse(
            413,
            "Request rejected because the transcoder's internal buffer size exceeds the configured limit.",
            f"{LATE}{{request_buffer_size_limit_reached}}",
        )
        return True

    def _refuse(self, status: int, body: str, details: str) -> FilterStatus:
        self._failed = True
        # Bodies of replies are bytes in the form of text.
        self.callbacks.local_reply(status, body.encode("utf-8", "surrogateescape").decode("latin-1"), details)
        return FilterStatus.STOP

    def _count_request(self, size: int) -> None:
        self._stats.transcoder_request_buffer_bytes += size - self._request_bytes
        self._request_bytes = size
