"""A request head in the form for the upstream, rendered once the version of HTTP is known."""

from __future__ import annotations

from typing import Final

from proxy.base.messages import RequestHead
from proxy.codec.http1_render import NameFormatter, render_request_head
from proxy.codec.http2_render import render_request_block

#: Methods whose requests have no body by definition, so that no length is sent (Envoy:
#: `HeaderUtility::requestShouldHaveNoBody`).
_BODILESS_METHODS: Final = frozenset({"GET", "HEAD", "DELETE", "TRACE", "CONNECT"})
_NO_BODY: Final = ("content-length", "0")
_CHUNKED: Final = ("transfer-encoding", "chunked")

#: A field that HTTP/1 needs to tell where a body ends, as (name, value).
Framing = tuple[str, str]


def http1_framing(head: RequestHead, *, end_stream: bool, upgrade: bool) -> Framing | None:
    """What an HTTP/1 head needs besides its own fields; None if they suffice (RFC 9112 section 6)."""
    if upgrade or "content-length" in head.headers:
        return None
    if not end_stream:
        return _CHUNKED
    return None if head.method in _BODILESS_METHODS else _NO_BODY


class SingleHead:
    """The head of one request that shares nothing with others; see `OutgoingHead`."""

    __slots__ = ("_formatter", "_framing", "chunked", "head")

    def __init__(
        self,
        head: RequestHead,
        *,
        end_stream: bool,
        upgrade: bool = False,
        formatter: NameFormatter | None = None,
    ) -> None:
        self.head = head
        self._framing = http1_framing(head, end_stream=end_stream, upgrade=upgrade)
        self._formatter = formatter
        self.chunked = self._framing is _CHUNKED

    def origin(self) -> str:
        """See `OutgoingHead`."""
        return self.head.origin()

    def http1_head(self, request_id: bytes) -> bytes:  # noqa: ARG002
        """See `OutgoingHead`."""
        return render_request_head(self.head, self._formatter, self._framing)

    def http2_block(self, request_id: bytes) -> bytes:  # noqa: ARG002
        """See `OutgoingHead`."""
        return render_request_block(self.head)
