"""What an upstream request and a pool say to each other."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple, Protocol

from proxy.base.headers import HeaderMap
from proxy.base.stream_info import StreamInfo
from proxy.codec.messages import ParsedResponse
from proxy.codec.proxy_protocol import ProxyData

#: Added to the priority, this is the key in `Host.pools` for clients of HTTP/2 where theirs is spoken upstream.
FOR_HTTP2_CLIENTS: Final = 2
#: The same for connections that carry bytes as they are.
FOR_RAW_BYTES: Final = 4
#: What stands there for the UDP sessions with a host, which no priority divides.
FOR_DATAGRAMS: Final = 8
#: Interim responses to one request: one after another for ever would hold it hostage (Envoy has no limit here; its
#: stream idle timeout is not reset by 1xx).
MAX_INFORMATIONAL: Final = 100


class ServerName(NamedTuple):
    """The name that a request wants its TLS connection to be for; connections with different ones are not shared.

    `sni` is sent to the host, "" for what the cluster says; the host's certificate must be for `san`, if any.
    `alpn` is offered, empty for what the cluster says.
    """

    sni: str
    san: str
    alpn: tuple[str, ...] = ()


#: See `Host.pools`.
PoolKey = int | tuple[int, ServerName]


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
    REMOTE_RESET = "remote reset"
    REMOTE_REFUSED_STREAM = "remote refused stream reset"
    CONNECT_ERROR = "remote error with CONNECT request"
    OVERFLOW = "overflow"


class UpstreamConnection(Protocol):
    """A connection that carries one request of ours."""

    @property
    def connection_id(self) -> int:
        """Unique in the worker."""

    def describe(self, info: StreamInfo) -> None:
        """Note in `info` which connection carried the stream."""

    def release(self) -> None:
        """Give the connection back unused."""

    def send_head(self, body: bytes, end_stream: bool) -> None:
        """Write the head of the request that the connection carries, with what there is of its body."""

    def send_data(self, data: bytes, end_stream: bool) -> None:
        """Write body bytes; `end_stream` completes the request (then `data` may be empty)."""

    def send_trailers(self, trailers: HeaderMap) -> None:
        """Complete the request with trailers."""

    def pause_reading(self) -> None:
        """Stop the response; counted, each call needs its `resume_reading`."""

    def resume_reading(self) -> None:
        """Undo one `pause_reading`."""

    def abandon(self) -> None:
        """Give up the request: HTTP/1 closes the connection unless the response was complete."""


class OutgoingHead(Protocol):
    """A request head in the form for the upstream, before it is known which version of HTTP carries it.

    `chunked` tells that a body would need chunks in HTTP/1. `request_id` is b"" where the head has none of ours.
    """

    chunked: bool

    def origin(self) -> str:
        """What a URL of the request begins with, such as "http://example.com"."""

    def http1_head(self, request_id: bytes) -> bytes:
        """The bytes of an HTTP/1.1 head."""

    def http2_block(self, request_id: bytes) -> bytes:
        """The header block of HTTP/2."""


class PoolRequest(Protocol):
    """One try of one request, as the pool sees it."""

    head: OutgoingHead
    request_id: bytes

    #: HEAD has no response body, CONNECT turns into a tunnel; "" is anything else.
    method: str
    #: What a connection without HTTP sends in place of the head, such as a header of the PROXY protocol.
    preamble: bytes
    #: The protocol that the request asks to change to (so 101 opens a tunnel), else "".
    upgrading: str
    #: Raised by the connection with every byte of the response, heads and framing included.
    wire_bytes_received: int
    #: The same for the request.
    wire_bytes_sent: int
    #: Set by the connection: the size of the fields that it sent, as Envoy counts it.
    header_bytes_sent: int

    @property
    def proxied(self) -> ProxyData | None:
        """The client that a host is told of by a header of the PROXY protocol, None for nobody."""

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

    def on_stale(self) -> bool:
        """The connection, which has carried other requests, went before a byte of the response.

        Only for requests that may be repeated. True if this one finds itself another; else it hears of the reset.
        """

    def on_write_paused(self) -> None:
        """The connection's write buffer is above its high mark."""

    def on_write_resumed(self) -> None:
        """The write buffer is below its low mark again."""
