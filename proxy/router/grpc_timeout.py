"""The `grpc-timeout` field: how long a gRPC client is willing to wait.

Source: the gRPC HTTP/2 protocol ("Timeout → 1 to 8 digits and a unit"), read as Envoy's
`Grpc::Common::getGrpcTimeout` does.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.base.headers import HeaderMap
from proxy.router.cluster_action import ClusterAction

_TIMEOUT: Final = re.compile(r"([0-9]{1,8})([HMSmun])")
_TOO_LONG: Final = 10**8
_SECONDS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def grpc_timeout(headers: HeaderMap) -> float | None:
    """Seconds; None if the field is absent or malformed."""
    text = headers.get("grpc-timeout")
    match = _TIMEOUT.fullmatch(text) if text is not None else None
    return int(match[1]) * _SECONDS[match[2]] if match is not None else None


def format_grpc_timeout(seconds: float) -> str:
    """The value of the field: milliseconds as long as eight digits hold them."""
    value, unit = round(seconds * 1000), "m"
    for longer, factor in (("S", 1000), ("M", 60), ("H", 60)):
        if value < _TOO_LONG:
            break
        value, unit = value // factor, longer
    return f"{value}{unit}"


def stream_duration(headers: HeaderMap, action: ClusterAction) -> float | None:
    """How long a stream may take by a route with `max_stream_duration`; 0.0 for ever, None if it does not say.

    What a gRPC client asks for counts if the route lets it; then 0.0 would mean at once and is made 1 us.
    """
    limit = action.grpc_timeout_header_max
    wanted = grpc_timeout(headers) if limit is not None else None
    if limit is None or wanted is None:
        return action.max_stream_duration
    duration = min(wanted, limit) if limit else wanted
    offset = action.grpc_timeout_header_offset
    if offset is not None:
        duration -= offset
    return max(duration, 1e-6)
