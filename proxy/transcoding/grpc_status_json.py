"""`google.rpc.Status` made of what a failed call says in its trailers."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from proxy.base.headers import HeaderMap
from proxy.transcoding.http_template import unescape


def status_message(status: int, fields: HeaderMap) -> Any:
    """The status in `grpc-status-details-bin`, or one of `grpc-status` and `grpc-message`."""
    details = fields.get("grpc-status-details-bin")
    if details is not None:
        try:
            return status_pb2.Status.FromString(
                base64.b64decode(details + "=" * (-len(details) % 4), validate=True)
            )
        except (binascii.Error, DecodeError, ValueError):
            pass
    message = unescape(fields.get("grpc-message", ""))
    return status_pb2.Status(
        code=status, message=message.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    )
