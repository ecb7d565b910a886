"""`strict_check_headers` of the router filter: requests whose own Envoy fields make no sense are refused (400)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.base.digits import UINT64, whole_number
from proxy.base.headers import HeaderMap

_RETRY_ON: Final = frozenset(
    (
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "envoy-ratelimited",
        "refused-stream",
        "retriable-4xx",
        "retriable-status-codes",
        "retriable-headers",
        "http3-post-connect-failure",
    )
)
_RETRY_GRPC_ON: Final = frozenset(
    ("cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable")
)


def failed_check(headers: HeaderMap, names: tuple[str, ...]) -> str | None:
    """The first of `names` that is present with a value which Envoy would ignore; None if all are well."""
    for name in names:
        value = headers.get(name)
        if value is not None and not _CHECKS[name](value):
            return name
    return None


def _is_number(text: str) -> bool:
    return whole_number(text.removeprefix("+"), UINT64) is not None


def _are_policies(known: frozenset[str]) -> Callable[[str], bool]:
    return lambda text: all(part.strip() in known for part in text.split(",") if part)


_CHECKS: Final[dict[str, Callable[[str], bool]]] = {
    "x-envoy-upstream-rq-timeout-ms": _is_number,
    "x-envoy-upstream-rq-per-try-timeout-ms": _is_number,
    "x-envoy-max-retries": _is_number,
    "x-envoy-retry-on": _are_policies(_RETRY_ON),
    "x-envoy-retry-grpc-on": _are_policies(_RETRY_GRPC_ON),
}
