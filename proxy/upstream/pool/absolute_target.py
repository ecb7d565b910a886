"""HTTP/1 connections whose requests name their whole URL (`Http1ProtocolOptions.send_fully_qualified_url`).

Forward proxies as upstreams want it (RFC 9112 section 3.2.2).
"""

from __future__ import annotations

from proxy.upstream.pool.api import OutgoingHead
from proxy.upstream.pool.http1_connection import Http1UpstreamConnection


class AbsoluteTargetHead:
    """A request head in whose HTTP/1 form scheme and authority stand before the path; CONNECT has neither."""

    __slots__ = ("_head", "chunked")

    def __init__(self, head: OutgoingHead) -> None:
        self._head = head
        self.chunked = head.chunked

    def origin(self) -> str:
        """See `OutgoingHead`."""
        return self._head.origin()

    def http1_head(self, request_id: bytes) -> bytes:
        """See `OutgoingHead`."""
        method, space, rest = self._head.http1_head(request_id).partition(b" ")
        if method == b"CONNECT":
            return method + space + rest
        return b"%b %b%b" % (method, self._head.origin().encode("latin-1"), rest)

    def http2_block(self, request_id: bytes) -> bytes:
        """See `OutgoingHead`."""
        return self._head.http2_block(request_id)


class AbsoluteTargetConnection(Http1UpstreamConnection):
    """See module."""

    def send_head(self, body: bytes, end_stream: bool) -> None:
        """See `UpstreamConnection`."""
        request = self.request
        assert request is not None
        # A request that could not be sent on another connection has its target already.
        if not isinstance(request.head, AbsoluteTargetHead):
            request.head = AbsoluteTargetHead(request.head)
        super().send_head(body, end_stream)
