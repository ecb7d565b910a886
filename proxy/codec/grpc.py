"""gRPC as it looks on the wire: content types, length-prefixed messages, statuses, the `grpc-message` encoding.

Source: the gRPC HTTP/2 protocol and its mapping of HTTP statuses, read as in Envoy's `Grpc::Common`. Sans-IO.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from proxy.base.digits import UINT64, whole_number
from proxy.base.headers import HeaderMap
from proxy.base.messages import ResponseHead

CONTENT_TYPE: Final = "application/grpc"
#: Flag byte and length before each message.
PREFIX_BYTES: Final = 5

_PREFIX: Final = struct.Struct("!BI")


class GrpcStatus(IntEnum):
    """The statuses of the protocol, as they stand in `grpc-status`."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_OF_HTTP: Final = {
    400: GrpcStatus.INTERNAL,
    401: GrpcStatus.UNAUTHENTICATED,
    403: GrpcStatus.PERMISSION_DENIED,
    404: GrpcStatus.UNIMPLEMENTED,
    429: GrpcStatus.UNAVAILABLE,
    502: GrpcStatus.UNAVAILABLE,
    503: GrpcStatus.UNAVAILABLE,
    504: GrpcStatus.UNAVAILABLE,
}
_TO_HTTP: Final[dict[int, int]] = {
    GrpcStatus.OK: 200,
    GrpcStatus.CANCELLED: 499,
    GrpcStatus.INVALID_ARGUMENT: 400,
    GrpcStatus.DEADLINE_EXCEEDED: 504,
    GrpcStatus.NOT_FOUND: 404,
    GrpcStatus.ALREADY_EXISTS: 409,
    GrpcStatus.PERMISSION_DENIED: 403,
    GrpcStatus.RESOURCE_EXHAUSTED: 429,
    GrpcStatus.FAILED_PRECONDITION: 400,
    GrpcStatus.ABORTED: 409,
    GrpcStatus.OUT_OF_RANGE: 400,
    GrpcStatus.UNIMPLEMENTED: 501,
    GrpcStatus.UNAVAILABLE: 503,
    GrpcStatus.UNAUTHENTICATED: 401,
}


def is_grpc(content_type: str) -> bool:
    """`application/grpc` or `application/grpc+proto`, but not `application/grpc-web`."""
    return content_type.startswith(CONTENT_TYPE) and content_type[16:17] in {"", "+"}


def is_grpc_response(head: ResponseHead, *, end_stream: bool) -> bool:
    """Whether a response is one of gRPC; one that ends with its head needs a status there and nothing else."""
    if end_stream:
        return "grpc-status" in head.headers
    return head.status == 200 and is_grpc(head.headers.get("content-type", ""))


def status_of_http(status: int) -> GrpcStatus:
    """The gRPC status that stands for an HTTP status; every success is UNKNOWN too, for it has no meaning."""
    return _OF_HTTP.get(status, GrpcStatus.UNKNOWN)


def http_of_status(status: int) -> int:
    """The HTTP status that stands for a gRPC status; 500 for those that are none."""
    return _TO_HTTP.get(status, 500)


def grpc_status(fields: HeaderMap) -> int | None:
    """The `grpc-status` of a head or of trailers: None if absent or empty, -1 if it is no number."""
    text = fields.get("grpc-status")
    if not text:
        return None
    number = whole_number(text, UINT64)
    return -1 if number is None else number


def service_and_method(path: str) -> tuple[str, str] | None:
    """`/package.Service/Method`, with or without a query, taken apart; None if it has another shape."""
    parts = [part for part in path.partition("?")[0].split("/") if part]
    return (parts[0], parts[1]) if len(parts) == 2 else None


def encode_message(text: bytes) -> str:
    """The form of a status message in `grpc-message`: percent-encoded, the tilde too, as in Envoy."""
    return "".join(chr(byte) if 0x20 <= byte < 0x7E and byte != 0x25 else f"%{byte:02X}" for byte in text)


def prefix(length: int, flags: int = 0) -> bytes:
    """What stands before a message of `length` bytes."""
    return _PREFIX.pack(flags, length)


class MessageCounter:
    """Counts the messages that begin in a stream of bytes, without keeping any of them."""

    __slots__ = ("_left", "_prefix", "count")

    def __init__(self) -> None:
        self.count = 0
        self._left = 0
        self._prefix = b""

    def feed(self, data: bytes) -> int:
        """How many messages begin in `data`; a first byte is a beginning."""
        before = self.count
        at, end = 0, len(data)
        while at < end:
            if self._left:
                step = min(self._left, end - at)
                self._left -= step
                at += step
                continue
            if not self._prefix:
                self.count += 1
            taken = data[at : at + PREFIX_BYTES - len(self._prefix)]
            at += len(taken)
            self._prefix += taken
            if len(self._prefix) == PREFIX_BYTES:
                self._left = _PREFIX.unpack(self._prefix)[1]
                self._prefix = b""
        return self.count - before
