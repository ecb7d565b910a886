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
from proxy.router.upstream_request import PoolLookup, UpstreamRequest

_HTTP_OK: Final = 200
_TIMED_OUT: Final = 504


class CallUser(Protocol):
    """Who wants to know the outcome of a call: exactly one of the two."""

    def on_grpc_success(self, message: bytes) -> None:
        """The call ended with OK and this (last) message."""

    def on_grpc_failure(self, status: int, message: str) -> None:
        """The call ended with another status, in the words of whoever gave it; "" for none."""


class UnaryCall:
    """See module. It is the stream of an `UpstreamRequest`; when `over`, the user has heard or does not want to."""

    def __init__(self, user: CallUser, info: StreamInfo, config: GrpcServiceConfig, timers: Timers) -> None:
        self._user = user
        self._config = config
        self._timers = timers
        self._timer: Any = None
        self._buffer = b""
        self._message: bytes | None = None
        self.info = info
        self.over = False
        self.request: UpstreamRequest | None = None

    def send(self, message: bytes, pools: PoolLookup) -> None:
        """Start: the request is complete with `message`."""
        request = self.request
        assert request is not None
        if self._config.timeout:
            self._timer = self._timers.wake(self.info.start_time + self._config.timeout, self)
        request.hold(prefix(len(message)) + message)
        request.start(pools, end_stream=True)

    def cancel(self) -> None:
        """The user does not want to know any more."""
        if not self.over:
            self._finish()
            self._give_up()

    def on_wake(self, now: float) -> None:
        """The time is over; see `Timers`."""
        del now
        self._timer = None
        request = self.request
        if self.over or request is None:
            return
        request.cluster.stats.upstream_rq_timeout += 1
        request.host.stats.rq_timeout += 1
        request.time_out()
        request.count_own(_TIMED_OUT)
        self._fail(status_of_http(_TIMED_OUT), "upstream request timeout")

    def _finish(self) -> None:
        self.over = True
        if self._timer is not None:
            self._timers.cancel(self._timer)
            self._timer = None

    def _give_up(self) -> None:
        request, self.request = self.request, None
        if request is not None:
            request.abandon()

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

    def on_upstream_informational(self, response: ParsedResponse) -> None:
        """See `ResponseSink`."""

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

    def on_upstream_write_paused(self) -> None:
        """See `ResponseSink`: there is nothing more to send."""

    def on_upstream_write_resumed(self) -> None:
        """See `ResponseSink`."""
