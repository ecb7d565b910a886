"""The Connect protocol (https://connectrpc.com) as far as counting needs it.

Streams have the frames of gRPC; the last one of a response has a flag and tells the outcome as JSON.
"""

from __future__ import annotations

import json
import struct
from typing import Final

from proxy.base.messages import RequestHead, ResponseHead

_PREFIX: Final = struct.Struct("!BI")
_END_FLAG: Final = 2
_STREAMING: Final = "application/connect+"
#: A longer outcome counts as none.
_MAX_END_BYTES: Final = 65536


def is_unary_request(head: RequestHead) -> bool:
    """Whether the client says that it speaks the protocol; streams need not."""
    return "connect-protocol-version" in head.headers


def is_streaming_request(head: RequestHead) -> bool:
    """Whether the request is a stream of messages."""
    return head.headers.get("content-type", "").startswith(_STREAMING)


def is_streaming_response(head: ResponseHead) -> bool:
    """Whether the response is a stream of messages."""
    return head.status == 200 and head.headers.get("content-type", "").startswith(_STREAMING)


class ResponseCounter:
    """Counts the messages of a response stream and reads the outcome at its end."""

    __slots__ = ("_end", "_left", "_prefix", "_seen_end", "count")

    def __init__(self) -> None:
        self.count = 0
        self._prefix = b""
        self._left = 0
        self._seen_end = False
        self._end: bytearray = bytearray()

    def feed(self, data: bytes) -> int:
        """How many messages begin in `data`; the last frame is none."""
        before = self.count
        at = 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                self._left -= len(piece)
                at += len(piece)
                if self._seen_end:
                    self._end += piece[: _MAX_END_BYTES + 1 - len(self._end)]
                continue
            if self._seen_end and not self._prefix:
                break
            if not self._prefix:
                if data[at] & _END_FLAG:
                    self._seen_end = True
                else:
                    self.count += 1
            taken = data[at : at + _PREFIX.size - len(self._prefix)]
            at += len(taken)
            self._prefix += taken
            if len(self._prefix) == _PREFIX.size:
                self._left = _PREFIX.unpack(self._prefix)[1]
                self._prefix = b""
        return self.count - before

    @property
    def success(self) -> bool:
        """Whether the end has come, whole, and names no error."""
        if not self._seen_end or self._left or self._prefix or len(self._end) > _MAX_END_BYTES:
            return False
        try:
            outcome = json.loads(bytes(self._end))
        except (ValueError, RecursionError):
            return False
        return isinstance(outcome, dict) and "error" not in outcome
