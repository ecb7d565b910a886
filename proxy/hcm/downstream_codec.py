"""What a stream asks of the client's side of it, whatever the version of HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from proxy.base.headers import HeaderMap
from proxy.base.messages import ResponseHead
from proxy.base.stream_info import ConnectionInfo

if TYPE_CHECKING:
    from proxy.hcm.stream import Stream


class DownstreamCodec(Protocol):
    """An HTTP/1 connection, or one stream of an HTTP/2 connection.

    `chunked` is how an HTTP/1 body is framed; HTTP/2 does not look at it.
    """

    @property
    def http2(self) -> bool:
        """Whether heads are header blocks and bodies frame themselves."""

    @property
    def info(self) -> ConnectionInfo:
        """The client's connection."""

    def now(self) -> float:
        """Monotonic seconds."""

    def arm(self, when: float) -> None:
        """Have the stream looked after at `when` or earlier."""

    def write_interim(self, head: ResponseHead) -> None:
        """Pass on a 1xx response."""

    def write_head(self, head: ResponseHead, body: bytes, end_stream: bool, chunked: bool) -> None:
        """Render and send a head, with what there is of the body."""

    def write_rendered(self, head: bytes, body: bytes, end_stream: bool, chunked: bool) -> None:
        """Send a rendered head (a header block for HTTP/2), with what there is of the body."""

    def write_body(self, data: bytes, end_stream: bool, *, chunked: bool) -> None:
        """Send body bytes."""

    def write_trailers(self, trailers: HeaderMap | None, *, chunked: bool) -> None:
        """End the response, with trailers if the client may have them."""

    def close_after_response(self) -> None:
        """The two sides may no longer understand each other; HTTP/1 announces the end and closes."""

    def drain_after_response(self) -> None:
        """Take no further requests on the connection than those under way."""

    def abort_response(self) -> None:
        """The response that has begun will not be completed: `on_stream_done` follows."""

    def enter_tunnel(self) -> None:
        """From now on bytes pass in both directions until one side closes."""

    def pause_reading(self) -> None:
        """Take no more of the request; counted, each call needs its `resume_reading`."""

    def resume_reading(self) -> None:
        """Undo one `pause_reading`."""

    def on_stream_done(self, stream: Stream, now: float) -> None:
        """The stream has ended."""
