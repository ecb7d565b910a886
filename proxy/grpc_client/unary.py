"""One gRPC call with one message each way. Statuses are those that Envoy's gRPC client gives."""

from __future__ import annotations

from typing import Any, Final, Protocol
from urllib.parse import unquote

from proxy.base.headers import HeaderMap
from proxy.base.services import Timers
from proxy.base.stream_info import StreamInfo
from proxy.codec.grpc import PREFIX_BYTES, GrpcStatus, grpc_status, prefix, status_of_http
from proxy.codec.messages import ParsedResponse
from proxy.grpc_client.config import GrpcServiceConfig
from proxy.router.own_request import OwnRequest
from proxy.router.upstream_request import PoolLookup

_HTTP_OK: Final = 200


class CallUser(Protocol):
    """Who wants to know the outcome of a call: exactly one of the two."""

    def on_grpc_success(self, message: bytes) -> None:
        """The call ended with OK and this (last) message."""

    def on_grpc_failure(self, status: int, message: str) -> None:
        """The call ended with another status, in the words of whoever gave it; "" for none."""


class UnaryCall(OwnRequest):
    """See module."""

    def __init__(self, user: CallUser, info: StreamInfo, config: GrpcServiceConfig, timers: Timers) -> None:
        super().__init__(info, config.timeout, timers)
        self._user = user
        self._config = config
        self._buffer = b""
        self._message: bytes | None = None

    def send(self, body: bytes, pools: PoolLookup) -> None:
        """Start: the request is complete with the message `body`."""
        super().send(prefix(len(body)) + body, pools)

    def _time_out(self, status: int, body: str) -> None:
        self._fail(status_of_http(status), body)

    def _fail(self, status: int, message: str) -> None:
        if not self.over:
            self._finish()
            self._give_up()
            self._user.on_grpc_failure(status, message)

    def _end(self, fields: HeaderMap) -> None:
        """The service has said how the call ended, in `fields`."""
        if self.over:
            return
        status = grpc_status(fields)
        if status is None:
            status = GrpcStatus.UNKNOWN
        if status != GrpcStatus.OK:
            self._fail(status, unquote(fields.get("grpc-message", "")))
        elif self._message is None:
            self._fail(GrpcStatus.INTERNAL, "")
        else:
            self._finish()
            self.request = None
            self._user.on_grpc_success(self._message)

    # -- the stream of the request (`ResponseSink`)

    def on_upstream_response(self, response: ParsedResponse, body: bytes, end_stream: bool) -> None:
        """See `ResponseSink`."""
        head = response.head
        if end_stream and (head.status == _HTTP_OK or "grpc-status" in head.headers) and not body:
            self._end(head.headers)
        elif head.status != _HTTP_OK:
            self._fail(status_of_http(head.status), "")
        elif body or end_stream:
            self.on_upstream_data(body, end_stream)

    def on_upstream_data(self, data: bytes, end_stream: bool) -> None:
        """See `ResponseSink`."""
        if self.over:
            return
        self._buffer += data
        if self._take_messages() and end_stream:
            self._fail(GrpcStatus.UNKNOWN, "")

    def _take_messages(self) -> bool:
        """Keep the last whole message; False if there is one that cannot be."""
        limit = self._config.max_message_bytes
        while len(self._buffer) >= PREFIX_BYTES:
            flags, size = self._buffer[0], int.from_bytes(self._buffer[1:PREFIX_BYTES])
            if flags:
                # Nothing was said of compression, so the service cannot use it.
                self._fail(GrpcStatus.INTERNAL, "")
                return False
            if limit is not None and size > limit:
                self._fail(GrpcStatus.RESOURCE_EXHAUSTED, "")
                return False
            end = PREFIX_BYTES + size
            if len(self._buffer) < end:
                break
            self._message = self._buffer[PREFIX_BYTES:end]
            self._buffer = self._buffer[end:]
        return True

    def on_upstream_trailers(self, trailers: HeaderMap) -> None:
        """See `ResponseSink`."""
        self._end(trailers)

    def on_upstream_failure(
        self,
        status: int,
        body: str,
        details: str,  # noqa: ARG002
        flags: int,  # noqa: ARG002
        host: Any,  # noqa: ARG002
        *,
        overloaded: bool = False,  # noqa: ARG002
    ) -> None:
        """See `ResponseSink`."""
        if self.request is not None:
            self.request.count_own(status)
        self._fail(status_of_http(status), body)

    def on_upstream_reset_after_response(self, details: str, flags: int) -> None:  # noqa: ARG002
        """See `ResponseSink`."""
        self._fail(GrpcStatus.INTERNAL, "")
