"""Whether a request is traced. The reason is one digit of its x-request-id, so that later hops decide alike.

Source: `Http::ConnectionManagerUtility::mutateTracingRequestHeader`, `UUIDRequestIDExtension`; the docs of
`HttpConnectionManager.Tracing`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

from msgspec import Struct

from proxy.base.digits import request_number
from proxy.base.headers import HeaderMap
from proxy.base.runtime import Runtime

_UUID_LENGTH: Final = 36
_REASON_PLACE: Final = 14


class Reason(Enum):
    """Why a request is traced or not; the values are the digits of ids, the names those of stats."""

    not_traceable = "4"
    random_sampling = "9"
    service_forced = "a"
    client_enabled = "b"

    @property
    def traced(self) -> bool:
        """Whether a span is to be recorded, if nobody says otherwise."""
        return self is not Reason.not_traceable


_BY_DIGIT: Final = {reason.value: reason for reason in Reason}


class Sampling(Struct, frozen=True):
    """Three fractions as (numerator, denominator), by the runtime keys that replace them."""

    client: tuple[int, int] = (100, 100)
    random: tuple[int, int] = (10_000, 10_000)
    overall: tuple[int, int] = (100, 100)


def reason_in(request_id: str) -> Reason:
    """What the id says already."""
    if len(request_id) != _UUID_LENGTH:
        return Reason.not_traceable
    return _BY_DIGIT.get(request_id[_REASON_PLACE], Reason.not_traceable)


def with_reason(request_id: str, reason: Reason) -> str:
    """The id with another reason in it; one that is no UUID stays as it is."""
    if len(request_id) != _UUID_LENGTH:
        return request_id
    return f"{request_id[:_REASON_PLACE]}{reason.value}{request_id[_REASON_PLACE + 1 :]}"


def decide(
    request_id: str | None,
    headers: HeaderMap,
    sampling: Sampling,
    runtime: Runtime,
    draw: Callable[[], int],
) -> Reason:
    """Decide about a request with this id; `draw` gives integers from 0 to 2**64-1 for `client_sampling`.

    The other fractions go by the number that the id begins with, so that all hops choose the same requests.
    """
    number = request_number(request_id)
    if request_id is None or number is None:
        return Reason.not_traceable
    reason = reason_in(request_id)
    if reason is Reason.not_traceable:
        if "x-client-trace-id" in headers and runtime.feature_enabled(
            "tracing.client_enabled", *sampling.client, draw
        ):
            reason = Reason.client_enabled
        elif "x-envoy-force-trace" in headers:
            reason = Reason.service_forced
        elif runtime.feature_enabled("tracing.random_sampling", *sampling.random, lambda: number):
            reason = Reason.random_sampling
    if reason.traced and not runtime.feature_enabled(
        "tracing.global_enabled", *sampling.overall, lambda: number
    ):
        reason = Reason.not_traceable
    return reason
