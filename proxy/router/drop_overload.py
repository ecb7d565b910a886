"""Refusing a share of the requests to a cluster because its control plane says so (`drop_overloads`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from proxy.base.headers import HeaderMap
from proxy.base.response_flags import ResponseFlag


class DropReply(NamedTuple):
    """The local reply of a request that is refused, with status 503; `header` is set to "true"."""

    body: str
    details: str
    flags: int
    header: str

    def mark(self, headers: HeaderMap) -> None:
        """Say in the response why."""
        headers.set(self.header, "true")


_SOME = DropReply("drop overload", "drop_overload", ResponseFlag.DROP_OVERLOAD, "x-envoy-drop-overload")
_ALL = DropReply(
    "unconditional drop overload",
    "unconditional_drop_overload",
    ResponseFlag.UNCONDITIONAL_DROP_OVERLOAD,
    "x-envoy-unconditional-drop-overload",
)


def drop_reply(share: float, draw: Callable[[], int]) -> DropReply | None:
    """What a request gets when `share` (0.0 to 1.0) of them are refused; None if it is none of them."""
    if share >= 1.0:
        return _ALL
    return _SOME if draw() % 1_000_000 < share * 1_000_000 else None
