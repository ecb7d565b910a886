"""The `grpc-timeout` field: how long a gRPC client is willing to wait.

Source: the gRPC HTTP/2 protocol ("Timeout → 1 to 8 digits and a unit"), read as Envoy's
`Grpc::Common::getGrpcTimeout` does.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.base.headers import HeaderMap

_TIMEOUT: Final = re.compile(r"([0-9]{1,8})([HMSmun])")
_SECONDS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def grpc_timeout(headers: HeaderMap) -> float | None:
    """Seconds; None if the field is absent or malformed."""
    text = headers.get("grpc-timeout")
    match = _TIMEOUT.fullmatch(text) if text is not None else None
    return int(match[1]) * _SECONDS[match[2]] if match is not None else None


def is_grpc(content_type: str) -> bool:
    """`application/grpc` or `application/grpc+proto`, but not `application/grpc-web`."""
    return content_type.startswith("application/grpc") and content_type[16:17] in {"", "+"}
