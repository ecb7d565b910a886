"""What an upstream request and a pool say to each other."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from proxy.base.headers import HeaderMap
from proxy.base.stream_info import StreamInfo
from proxy.codec.messages import ParsedResponse


class PoolFailure(Enum):
    """Why a request got no connection; the value is Envoy's word in details and bodies."""

    OVERFLOW = "overflow"
    LOCAL_CONNECT = "local connection failure"
    REMOTE_CONNECT = "remote connection failure"
    TIMEOUT = "connection timeout"


class ResetReason(Enum):
    """Why a stream that had a connection ended early; the value is Envoy's word in details and bodies."""

    CONNECTION_TERMINATION = "connection termination"
    PROTOCOL_ERROR = "protocol error"
    LOCAL_RESET = "local reset"


class UpstreamConnection(Protocol):
    """A connection that carries one request of ours."""

    @property
    def connection_id(self) -> int:
        """Unique in the worker."""

    def describe(self, info: StreamInfo) -> None:
        """Note in `info` which connection carried the stream."""

    def release(self) -> None:
        """Give the connection back unused."""

    def send(self, data: bytes) -> None:
        """Write bytes of the request."""

    def request_complete(self) -> None:
        """Nothing more will be sent for this request."""

    def pause_reading(self) -> None:
        """Stop the response; counted, each call needs its `resume_reading`."""

    def resume_reading(self) -> None:
        """Undo one `pause_reading`."""

    def abandon(self) -> None:
        """Give up the request; the connection closes unless the response was complete."""


class PoolRequest(Protocol):
    """One try of one request, as the pool sees it."""

    #: HEAD has no response body, CONNECT turns into a tunnel; "" is anything else.
    method: str
    #: Whether the request asked for an upgrade (so 101 opens a tunnel).
    upgrading: bool
    #: Raised by the connection with every byte of the response, heads and framing included.
    wire_bytes_received: int

    def on_pool_ready(self, connection: UpstreamConnection) -> None:
        """A connection is ours now."""

    def on_pool_failure(self, failure: PoolFailure, detail: str) -> None:
        """There will be none. `detail` is the transport's reason, "" if there is none."""

    def on_informational(self, response: ParsedResponse) -> None:
        """A 1xx response other than 101."""

    def on_response(self, response: ParsedResponse, body: bytes, end_stream: bool) -> None:
        """The response head with what has come of the body."""

    def on_response_data(self, data: bytes, end_stream: bool) -> None:
        """More of the body."""

    def on_response_trailers(self, trailers: HeaderMap) -> None:
        """Trailers, which end the response."""

    def on_reset(self, reason: ResetReason, detail: str) -> None:
        """The connection broke before the response was complete."""

    def on_write_paused(self) -> None:
        """The connection's write buffer is above its high mark."""

    def on_write_resumed(self) -> None:
        """The write buffer is below its low mark again."""
