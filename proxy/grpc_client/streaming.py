"""One gRPC call whose client sends messages for as long as it likes; what the server sends is read and dropped."""

from __future__ import annotations

from typing import Any, Final, Protocol
from urllib.parse import unquote

from proxy.base.headers import HeaderMap
from proxy.base.stream_info import StreamInfo
from proxy.codec.grpc import GrpcStatus, grpc_status, prefix, status_of_http
from proxy.codec.messages import ParsedResponse
from proxy.router.upstream_request import PoolLookup, UpstreamRequest

_HTTP_OK: Final = 200


class StreamUser(Protocol):
    """Who sends the messages."""

    def on_grpc_closed(self, status: int, message: str) -> None:
        """The call has ended, whoever ended it but the user; what was sent last may not have arrived."""


class StreamingCall:
    """See module. It is the stream of an `UpstreamRequest`.

    `blocked` while the server does not read as fast as it is sent to.
    """

    def __init__(self, user: StreamUser, info: StreamInfo) -> None:
        self._user = user
        self.info = info
        self.over = False
        self.blocked = False
        self.request: UpstreamRequest | None = None

    def start(self, pools: PoolLookup) -> None:
        """Send the head as soon as there is a connection."""
        request = self.request
        assert request is not None
        request.start(pools, end_stream=False)

    def send(self, message: bytes) -> None:
        """Send one message, or hold it until there is a connection."""
        request = self.request
        if not self.over and request is not None:
            request.send_data(prefix(len(message)) + message, end_stream=False)

    def cancel(self) -> None:
        """The user has no more to say and does not want to know any more."""
        if not self.over:
            self._finish()

    def _finish(self) -> None:
        self.over = True
        request, self.request = self.request, None
        if request is not None:
            request.abandon()

    def _close(self, status: int, message: str) -> None:
        if not self.over:
            self._finish()
            self._user.on_grpc_closed(status, message)

    def _end(self, fields: HeaderMap) -> None:
        status = grpc_status(fields)
        self._close(
            GrpcStatus.UNKNOWN if status is None else status, unquote(fields.get("grpc-message", "") or "")
        )

    # -- the stream of the request (`ResponseSink`)

    def on_upstream_informational(self, response: ParsedResponse) -> None:
        """See `ResponseSink`."""

    def on_upstream_response(self, response: ParsedResponse, body: bytes, end_stream: bool) -> None:
        """See `ResponseSink`."""
        del body
        head = response.head
        if end_stream and "grpc-status" in head.headers:
            self._end(head.headers)
        elif head.status != _HTTP_OK:
            self._close(status_of_http(head.status), "")
        elif end_stream:
            self._close(GrpcStatus.UNKNOWN, "")

    def on_upstream_data(self, data: bytes, end_stream: bool) -> None:
        """See `ResponseSink`."""
        del data
        if end_stream:
            self._close(GrpcStatus.UNKNOWN, "")

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
        self._close(status_of_http(status), body)

    def on_upstream_reset_after_response(self, details: str, flags: int) -> None:  # noqa: ARG002
        """See `ResponseSink`."""
        self._close(GrpcStatus.INTERNAL, "")

    def on_upstream_write_paused(self) -> None:
        """See `ResponseSink`."""
        self.blocked = True

    def on_upstream_write_resumed(self) -> None:
        """See `ResponseSink`."""
        self.blocked = False
