"""`envoy.filters.http.grpc_web`: lets browsers, which see no trailers, talk to gRPC servers.

Source: envoy.extensions.filters.http.grpc_web.v3 and the gRPC-Web protocol. The request becomes plain gRPC; in the
response the trailers become a last frame of the body. `application/grpc-web-text` has the body in base64.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import Any, Final

from proxy.base.headers import HeaderMap
from proxy.base.messages import RequestHead, ResponseHead
from proxy.base.services import WorkerServices
from proxy.base.stats import StatRegistry
from proxy.codec.grpc import (
    CONTENT_TYPE,
    PREFIX_BYTES,
    encode_message,
    is_grpc_response,
    prefix,
    service_and_method,
    status_of_http,
)
from proxy.config.context import CompileContext
from proxy.filters.api import FilterStatus, HttpFilter, HttpFilterFactory, StreamCallbacks
from proxy.filters.http.grpc_charges import MethodCounts, charges_of

_BINARY: Final = frozenset({"application/grpc-web", "application/grpc-web+proto"})
_TEXT: Final = frozenset({"application/grpc-web-text", "application/grpc-web-text+proto"})
_PROTO_RESPONSE: Final = "application/grpc-web+proto"
_TEXT_RESPONSE: Final = "application/grpc-web-text+proto"
_ACCEPTED_ENCODINGS: Final = "identity"
_TRAILER_FLAG: Final = 0x80
#: How much of a response that is no gRPC becomes its message, if it came in pieces (Envoy's number).
_MAX_MESSAGE_BYTES: Final = 16384
#: The only flag of a message: that it is compressed.
_KNOWN_FLAGS: Final = 1
_BAD_BASE64: Final = "Bad gRPC-web request, invalid base64 data."


class TextEncoder:
    """Puts messages into base64, each for itself with its padding, without keeping more than a few bytes.

    What follows a flag byte that the protocol does not know is dropped.
    """

    __slots__ = ("_carry", "_left", "_prefix")

    def __init__(self) -> None:
        self._carry = b""
        self._prefix = b""
        self._left = 0

    def feed(self, data: bytes) -> bytes:
        """The base64 of whole groups of three bytes, and of whole messages."""
        encoded = []
        at, end = 0, len(data)
        while at < end:
            if not self._left:
                taken = data[at : at + PREFIX_BYTES - len(self._prefix)]
                self._prefix += taken
                if self._prefix[0] & ~_KNOWN_FLAGS:
                    self._prefix = self._prefix[:1]
                    break
                at += len(taken)
                if len(self._prefix) < PREFIX_BYTES:
                    break
                self._left = int.from_bytes(self._prefix[1:], "big")
                piece, self._prefix = self._prefix, b""
            else:
                piece = data[at : at + self._left]
                self._left -= len(piece)
                at += len(piece)
            run = self._carry + piece
            whole = len(run) if not self._left else len(run) // 3 * 3
            self._carry = run[whole:]
            encoded.append(binascii.b2a_base64(run[:whole], newline=False))
        return b"".join(encoded)


class GrpcWebFilter(HttpFilter):
    """One request; does nothing to one that is no gRPC-Web."""

    def __init__(self, callbacks: StreamCallbacks, registry: StatRegistry) -> None:
        super().__init__(callbacks)
        self._registry = registry
        self._active = False
        self._text_request = False
        self._text_response = False
        self._undecoded = b""
        self._counts: MethodCounts | None = None
        self._encoder: TextEncoder | None = None
        #: Of a response that is no gRPC and waits for its body, which becomes the message.
        self._foreign: ResponseHead | None = None

    def decode_headers(self, head: RequestHead, end_stream: bool) -> FilterStatus:  # noqa: ARG002
        """See `HttpFilter`."""
        headers = head.headers
        content_type = headers.get("content-type", "")
        self._text_request = content_type in _TEXT
        if not self._text_request and content_type not in _BINARY:
            return FilterStatus.CONTINUE
        self._active = True
        # The length is that of the base64, or counts what HTTP/2 frames count for themselves.
        headers.remove("content-length")
        cluster = self.callbacks.route_cluster()
        names = service_and_method(head.path)
        if cluster is not None and names is not None:
            self._counts = charges_of(self._registry, cluster).method("grpc-web", names)
        headers.set("content-type", CONTENT_TYPE)
        self._text_response = headers.get("accept", "") in _TEXT
        headers.set("te", "trailers")
        if "grpc-accept-encoding" not in headers:
            headers["grpc-accept-encoding"] = _ACCEPTED_ENCODINGS
        return FilterStatus.CONTINUE

    def decode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:
        """See `HttpFilter`."""
        if not self._text_request:
            return FilterStatus.CONTINUE, data
        data = self._undecoded + data
        whole = len(data) & ~3
        if end_stream:
            if not data:
                return FilterStatus.CONTINUE, b""
            if whole != len(data):
                return self._refuse("grpc_base_64_decode_failed_bad_size")
        self._undecoded = data[whole:]
        if not whole:
            return FilterStatus.STOP, b""
        decoded = _decode(data[:whole])
        if decoded is None:
            return self._refuse("grpc_base_64_decode_failed")
        return FilterStatus.CONTINUE, decoded

    def _refuse(self, details: str) -> tuple[FilterStatus, bytes]:
        self.callbacks.local_reply(400, _BAD_BASE64, details)
        return FilterStatus.STOP, b""

    def encode_headers(self, head: ResponseHead, end_stream: bool) -> FilterStatus:
        """See `HttpFilter`."""
        if not self._active:
            return FilterStatus.CONTINUE
        headers = head.headers
        if self._counts is not None:
            self._counts.charge(headers.get("grpc-status"))
        foreign = not is_grpc_response(head, end_stream=end_stream) and not _is_grpc_web_response(head)
        headers.remove("content-length")
        headers.set("content-type", _TEXT_RESPONSE if self._text_response else _PROTO_RESPONSE)
        if end_stream or not foreign:
            return FilterStatus.CONTINUE
        self._foreign = head
        return FilterStatus.STOP

    def encode_data(self, data: bytes, end_stream: bool) -> tuple[FilterStatus, bytes]:
        """See `HttpFilter`."""
        if self._foreign is not None:
            if end_stream:
                self._tell_by_status(self._foreign, data)
                return FilterStatus.CONTINUE, b""
            if len(self.encoding_buffer() or b"") >= _MAX_MESSAGE_BYTES:
                return FilterStatus.STOP, b""
            return FilterStatus.STOP_AND_BUFFER, data
        if not self._text_response:
            return FilterStatus.CONTINUE, data
        if self._encoder is None:
            self._encoder = TextEncoder()
        encoded = self._encoder.feed(data)
        if encoded or end_stream:
            return FilterStatus.CONTINUE, encoded
        return FilterStatus.STOP, b""

    def encode_trailers(self, trailers: HeaderMap) -> FilterStatus:
        """See `HttpFilter`."""
        if not self._active:
            return FilterStatus.CONTINUE
        if self._counts is not None:
            self._counts.charge(trailers.get("grpc-status"))
        if self._foreign is not None:
            self._tell_by_status(self._foreign, b"")
            return FilterStatus.CONTINUE
        block = "".join(f"{name}:{value}\r\n" for name, value in trailers.fields()).encode("latin-1")
        trailers.clear()
        frame = prefix(len(block), _TRAILER_FLAG) + block
        self.add_encoded_data(
            binascii.b2a_base64(frame, newline=False) if self._text_response else frame, streaming=True
        )
        return FilterStatus.CONTINUE

    def _tell_by_status(self, head: ResponseHead, last: bytes) -> None:
        """Let status and message stand for a response that a gRPC client would not understand."""
        self._foreign = None
        kept = self.encoding_buffer()
        message = last
        if kept is not None:
            message = (kept + last)[:_MAX_MESSAGE_BYTES]
            self.replace_encoding_buffer(b"")
        headers = head.headers
        headers.set("grpc-message", encode_message(message))
        headers.set("grpc-status", str(int(status_of_http(head.status))))
        headers.set("content-length", "0")


def _decode(text: bytes) -> bytes | None:
    """Base64 with padding, and none of its freedoms; None if it is not that."""
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return None
    # Bits that stand for nothing must be 0.
    return data if binascii.b2a_base64(data, newline=False) == text else None


def _is_grpc_web_response(head: ResponseHead) -> bool:
    content_type = head.headers.get("content-type", "").partition(";")[0].rstrip(" \t")
    return head.status == 200 and content_type.lower() in _BINARY


def _compile(message: Any, path: str, context: CompileContext) -> None:
    """The filter has no settings."""


def _create(
    config: None,  # noqa: ARG001
    services: WorkerServices,
    stat_prefix: str,  # noqa: ARG001
) -> Callable[[StreamCallbacks], HttpFilter]:
    registry = services.stats
    return lambda callbacks: GrpcWebFilter(callbacks, registry)


FACTORY = HttpFilterFactory(
    name="envoy.filters.http.grpc_web",
    type_name="envoy.extensions.filters.http.grpc_web.v3.GrpcWeb",
    terminal=False,
    compile=_compile,
    create=_create,
)
